package policy

import (
	"fmt"
	"slices"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// roleWaiver is the role of who may sign waivers.
const roleWaiver = "waiver"

// codeSelfWaived is the code of a waiver by somebody whose own work it accepts.
const codeSelfWaived = "self-waived"

// admitWaiver looks at a signed waiver by itself. It is about the very digest under
// judgement: that of another image, or of a part of this one, covers nothing here.
func (j *judgement) admitWaiver(it *item) {
	p, err := evidence.ParseWaiver(it.Predicate)
	it.waiver = &Waiver{ID: clip(p.ID, evidence.MaxWaiverText), Reason: clip(p.Reason, evidence.MaxWaiverText), Expires: clip(p.Expires, 40), Signer: it.Signer, Identity: it.Identity}
	switch {
	case err != nil:
		it.reject(StatusInvalid, codePredicate, "%s", err)
	case it.Subject != it.Image:
		it.reject(StatusInvalid, codeSubject, "is about %s, but hangs on %s", it.Subject, it.Image)
	case it.Image != j.in.Digest:
		it.reject(StatusUnused, "", "is about a part of the image: waive findings of %s", j.in.Digest)
	case !slices.Contains(it.Roles, roleWaiver):
		it.reject(StatusInvalid, codeRole, "signer %q has not the role %s", it.Signer, roleWaiver)
	}
}

// signedWaivers are the waivers that hang on the image. Nobody accepts their own work:
// the signer must be neither the producer nor one whose evidence counts.
func (j *judgement) signedWaivers() []Waiver {
	var list []Waiver
	for _, it := range j.items {
		if it.waiver == nil {
			continue
		}
		if it.usable() {
			if whose := j.worker(it); whose != "" {
				it.reject(StatusInvalid, codeSelfWaived, "is signed by %s, who %s: somebody else must waive", it.Signer, whose)
			}
		}
		it.waiver.Why = clip(it.why, 1000)
		list = append(list, *it.waiver)
	}
	return list
}

// worker says what the signer of a waiver did for the image; empty for nothing.
func (j *judgement) worker(waiver *item) string {
	for _, it := range slices.Concat(j.items, j.second) {
		if it == waiver || it.waiver != nil || it.typ.URI == "" || !slices.Contains([]string{"", StatusUsed, StatusReproduces}, it.status) || it.Foreign || it.Err != nil {
			continue
		}
		if it.Signer == waiver.Signer || sameIdentity(it.Identity, waiver.Identity) {
			return fmt.Sprintf("signed its %s", it.typ.Name)
		}
		if it.fact.prov == nil || waiver.Identity == nil {
			continue
		}
		facts := factsOf(it)
		if sameProducer(facts[provenance.FactProducer], waiver.Identity.Subject) && facts[provenance.FactProducerIssuer] == waiver.Identity.Issuer {
			return "built it"
		}
	}
	return ""
}

func sameIdentity(a, b *Identity) bool {
	return a != nil && b != nil && a.Issuer == b.Issuer && sameProducer(a.Subject, b.Subject)
}

// settleWaivers says of each signed waiver what became of it.
func (j *judgement) settleWaivers() {
	next := 0
	for _, w := range j.waivers.list {
		if w.From != WaiverFromAttestation {
			continue
		}
		for next < len(j.items) && j.items[next].waiver == nil {
			next++
		}
		it := j.items[next]
		next++
		switch {
		case !it.usable():
		case w.State == WaiverActive:
			it.status = StatusUsed
		default:
			it.reject(StatusUnused, "", "the waiver is %s", orElse(w.State, "unknown"))
			if w.Why != "" {
				it.why += ": " + w.Why
			}
		}
	}
}
