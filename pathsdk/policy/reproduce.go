package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// ruleReproduced is the rule that a second builder was asked for. As a property it is
// Reproduced.
const ruleReproduced = "reproduced"

// Reproduced is the property of an image that two independent builders made of the
// same source, bit for bit: in a VSA's verifiedLevels and in an SVR.
const Reproduced = PropertyPrefix + "REPRODUCED"

// Reproduction is what another place says of the same image: the second builder's
// evidence.
type Reproduction struct {
	// Reference is the place, for people.
	Reference    string
	Attestations []Attestation
}

// reproduce looks for a second provenance of every manifest, from the same source, by
// a builder that has nothing to do with the first. Where one stands for each, the tier
// of the first is reproduced; no signer can claim that.
func (j *judgement) reproduce(prov *Require) {
	if j.in.Reproduction == nil {
		return
	}
	if prov == nil {
		j.verdict.Rules = append(j.verdict.Rules, RuleResult{Rule: ruleReproduced})
		j.fail(Finding{Rule: ruleReproduced, Severity: SeverityError, Subject: j.in.Digest,
			Reason: "the policy asks for no provenance, so there is nothing that a second builder could agree with",
			Fix:    "require provenance in the policy"})
		return
	}
	second := &judgement{policy: j.policy, in: j.in, values: j.values}
	second.in.Attestations = j.in.Reproduction.Attestations
	second.admit()
	reasons := map[step.Digest]string{}
	found := map[*item]*item{}
	for _, it := range j.items {
		if it.status != StatusUsed || it.typ != evidence.Provenance {
			continue
		}
		why := "there is no usable provenance of it"
		for _, other := range second.items {
			if other.typ != evidence.Provenance || other.Image != it.Image {
				continue
			}
			if !other.usable() {
				why = fmt.Sprintf("%s is %s: %s", other.Digest, other.status, other.why)
				continue
			}
			if why = dependent(it, other); why == "" {
				found[it] = other
				break
			}
			why = fmt.Sprintf("%s is no independent one: %s", other.Digest, why)
		}
		if found[it] == nil {
			reasons[it.Image] = why
		}
	}
	f := Finding{
		Rule: ruleReproduced, Severity: SeverityError, Subject: j.in.Digest,
		Reason: "no second, independent builder made the same image from the same source, says " + orNone(j.in.Reproduction.Reference),
		Fix:    "build the same revision on another platform, attest it as another identity of the trust root, and give where that image is",
	}
	for _, im := range j.in.Images {
		if why := reasons[im.Digest]; why != "" {
			f.Details = append(f.Details, describe(im)+": "+why)
		}
	}
	held := len(reasons) == 0 && len(found) > 0
	j.verdict.Rules = append(j.verdict.Rules, RuleResult{Rule: ruleReproduced, Held: held})
	if !held {
		j.fail(f)
		return
	}
	for first, other := range found {
		first.tier = evidence.Reproduced
		other.status, other.why = StatusReproduces, "made "+string(other.Image)+" of the same source, too"
		other.from = j.in.Reproduction.Reference
		j.second = append(j.second, other)
	}
	j.verdict.Reproduced = true
}

// dependent says why two provenances of one image are not by independent builders of
// the same source; empty if they are.
func dependent(a, b *item) string {
	fa, fb := factsOf(a), factsOf(b)
	for _, it := range []*item{a, b} {
		if why := unvouched(it); why != "" {
			return why
		}
	}
	switch source := sourceOf(a.fact.prov); {
	case source == "" || source != sourceOf(b.fact.prov):
		return fmt.Sprintf("it names source %s, the first names %s", orNone(sourceOf(b.fact.prov)), orNone(source))
	case a.Signer == b.Signer:
		return fmt.Sprintf("%s signed both", a.Signer)
	case sameIdentity(a.Identity, b.Identity):
		return fmt.Sprintf("%s signed both", a.Identity.Subject)
	case sameProducer(fa[provenance.FactProducer], fb[provenance.FactProducer]):
		return fmt.Sprintf("%s built both", fa[provenance.FactProducer])
	case fa[provenance.FactRun] == fb[provenance.FactRun]:
		return fmt.Sprintf("both are of run %s", fa[provenance.FactRun])
	}
	return ""
}

// unvouched says why nobody but the producer knows who built; empty if a platform does
// whose word the trust root takes. Who reports of itself could report two builders.
func unvouched(it *item) string {
	facts := factsOf(it)
	switch {
	case slices.Contains(it.Roles, rolePlatform):
		return fmt.Sprintf("%s signs as a platform of its own, which says nothing of who built", it.Signer)
	case facts[provenance.FactSource] != provenance.SourceControlPlane || facts[provenance.FactProducer] == "" || facts[provenance.FactRun] == "":
		return fmt.Sprintf("no platform vouches for who built it, as %s attests", it.Signer)
	case !slices.Contains(it.RunIssuers, facts[provenance.FactProducerIssuer]):
		return fmt.Sprintf("the trust root does not take the word of %s from %s", orNone(facts[provenance.FactProducerIssuer]), it.Signer)
	}
	return ""
}

// sameProducer compares identities of producers. A workflow is the same on every branch:
// whoever can push one can push another.
func sameProducer(a, b string) bool {
	a, _, _ = strings.Cut(a, "@refs/")
	b, _, _ = strings.Cut(b, "@refs/")
	return a == b
}

func factsOf(it *item) map[string]string {
	out := map[string]string{}
	facts, err := provenance.Facts(*it.fact.prov)
	if err != nil {
		return out
	}
	for _, f := range facts {
		out[f.Name] = f.Value
	}
	return out
}
