package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// skew is how far a signer's clock may be ahead of ours.
const skew = 5 * time.Minute

// item is one attestation on its way through judgement.
type item struct {
	*Attestation
	typ      evidence.Type
	platform string
	tier     evidence.Tier // effective
	fact     fact          // parsed predicate
	status   string
	code     string
	why      string
	from     string  // another place than the image's own
	waiver   *Waiver // that it holds, if that is what it is
}

// Codes of evidence whose signature holds, and that is refused all the same.
const (
	codeImage     = "wrong-image"
	codeSubject   = "wrong-subject"
	codeRole      = "wrong-role"
	codeTier      = "low-tier"
	codePredicate = "malformed-predicate"
	codeFuture    = "future-date"
	codeStale     = "stale"
	codeSource    = "wrong-source"
)

func (it *item) reject(status, code, format string, args ...any) {
	it.status, it.code, it.why = status, code, fmt.Sprintf(format, args...)
}

// usable reports whether nothing speaks against the item so far.
func (it *item) usable() bool { return it.status == "" }

// highest is the best tier that a predicate of that type can have: test results
// come from the producer whoever signs them, and an attester can observe only
// what a system of record holds.
func highest(t evidence.Type) evidence.Tier {
	switch {
	case t.URI == evidence.TestResult.URI:
		return evidence.Reported
	case t.Observed:
		return evidence.Observed
	}
	return evidence.Derived
}

// effective is the tier that counts: never above the claim.
func effective(claimed, signer, typ evidence.Tier) evidence.Tier {
	return slices.MinFunc([]evidence.Tier{claimed, signer, typ}, func(a, b evidence.Tier) int {
		return cmp.Compare(a.Rank(), b.Rank())
	})
}

// admit looks at each attestation by itself: who signed it, what it is about,
// whether it can be read. What it rejects is reported, and changes nothing.
func (j *judgement) admit() {
	j.items = make([]*item, 0, len(j.in.Attestations))
	for i := range j.in.Attestations {
		it := &item{Attestation: &j.in.Attestations[i]}
		j.items = append(j.items, it)
		j.admitOne(it)
	}
	// The order in which a registry lists referrers decides nothing.
	slices.SortStableFunc(j.items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.typ.Name, b.typ.Name), cmp.Compare(a.Type, b.Type),
			cmp.Compare(a.Image, b.Image), cmp.Compare(a.Digest, b.Digest))
	})
}

func (j *judgement) admitOne(it *item) {
	t, known := evidence.Lookup(it.Type)
	// Lookup also knows short names; a signed type is a URI, byte for byte.
	if known = known && t.URI == it.Type; known {
		it.typ = t
	}
	switch {
	case it.Foreign:
		why := "nobody in the trust root signed it"
		if it.Err != nil {
			why = it.Err.Error()
		}
		it.reject(StatusForeign, it.Code, "%s", why)
		return
	case it.Err != nil:
		it.reject(StatusInvalid, it.Code, "%s", it.Err)
		return
	case !known:
		it.reject(StatusUnused, "", "no policy reads this predicate type")
		return
	}
	it.tier = effective(it.Tier, it.MaxTier, highest(t))
	image, ok := j.image(it.Image)
	if !ok {
		it.reject(StatusInvalid, codeImage, "hangs on %s, which is not part of the image", it.Image)
		return
	}
	it.platform = image.Platform
	if t == evidence.Waiver {
		j.admitWaiver(it)
		return
	}
	req := j.require(t)
	if req == nil {
		it.reject(StatusUnused, "", "the policy does not ask for it")
		return
	}
	if req.About != AboutSource && it.Subject != it.Image {
		it.reject(StatusInvalid, codeSubject, "is about %s, but hangs on %s", it.Subject, it.Image)
		return
	}
	if req.About == AboutPlatforms && image.Index {
		it.reject(StatusUnused, "", "is about the index; the policy asks for it on each platform")
		return
	}
	if req.Role != rolePlatform && slices.Contains(it.Roles, rolePlatform) {
		it.reject(StatusUnused, "", "is the platform's own; the policy asks for one by role %s", req.Role)
		return
	}
	if !slices.Contains(it.Roles, req.Role) {
		it.reject(StatusInvalid, codeRole, "signer %q has not the role %s", it.Signer, req.Role)
		return
	}
	// Whether another builder agrees is not known yet.
	if least := req.Tier; it.tier.Rank() < least.Rank() && !(least == evidence.Reproduced && it.tier == highest(t)) {
		it.reject(StatusInvalid, codeTier, "tier %s is below %s", orNone(it.tier), req.Tier)
		return
	}
	f, err := j.parse(it)
	if err != nil {
		it.reject(StatusInvalid, codePredicate, "%s", err)
		return
	}
	it.fact = f
	for _, at := range f.times {
		if at.After(j.in.Now.Add(skew)) {
			it.reject(StatusInvalid, codeFuture, "is dated in the future: %s", at.UTC().Format(time.RFC3339))
			return
		}
	}
}

// demand rejects provenance that nobody reproduced where the policy asks for that.
func (j *judgement) demand(req *Require) {
	for _, it := range j.items {
		if it.status == StatusUsed && it.typ == req.typ && it.tier.Rank() < req.Tier.Rank() {
			it.reject(StatusInvalid, codeTier, "tier %s is below %s: give a second builder's image to compare with", it.tier, req.Tier)
		}
	}
}

// choose decides which usable items of one requirement count.
func (j *judgement) choose(req *Require) {
	maxAge := j.maxAge(req)
	newest := map[step.Digest]*item{}
	current := map[step.Digest]bool{} // images with a scan of the very source
	for _, it := range j.items {
		if it.usable() && it.typ == req.typ && j.source != "" && scanned(it) == string(j.source) {
			current[it.Image] = true
		}
	}
	for _, it := range j.items {
		if !it.usable() || it.typ != req.typ {
			continue
		}
		at := it.fact.at
		if maxAge > 0 && (at.IsZero() || j.in.Now.Sub(at) > maxAge) {
			it.reject(StatusInvalid, codeStale, "is of %s, older than %s", stamp(at), maxAge)
			continue
		}
		if req.About == AboutSource && it.Subject != j.source {
			it.reject(StatusInvalid, codeSource, "is about source %s, but the provenance names %s", it.Subject, orNone(j.source))
			continue
		}
		if of := scanned(it); of != string(j.source) && current[it.Image] {
			// Sources that differ in tests or papers alone give the same image.
			it.reject(StatusSuperseded, codeSource, "looked at source %s, but the provenance names %s", orNone(of), orNone(j.source))
			continue
		}
		if at.IsZero() {
			// Without a time inside, none is newer: all count.
			it.status = StatusUsed
			continue
		}
		old := newest[it.Image]
		if old == nil || later(it, old) {
			newest[it.Image] = it
		}
	}
	for _, it := range j.items {
		if !it.usable() || it.typ != req.typ {
			continue
		}
		if best := newest[it.Image]; best != it {
			it.reject(StatusSuperseded, "", "%s of %s counts", best.Digest, stamp(best.fact.at))
			continue
		}
		it.status = StatusUsed
	}
}

// scanned is the source that a secret scan looked at; empty for other types.
func scanned(it *item) string {
	if it.typ != evidence.SCAI {
		return ""
	}
	source, _ := it.fact.rec["source"].(string)
	return source
}

// later reports whether a counts instead of b: the signed time decides, then
// the digest of the referrer, then the predicate's bytes.
func later(a, b *item) bool {
	if c := a.fact.at.Compare(b.fact.at); c != 0 {
		return c > 0
	}
	if c := cmp.Compare(a.Digest, b.Digest); c != 0 {
		return c > 0
	}
	return bytes.Compare(a.Predicate, b.Predicate) > 0
}

// missing lists the images that a requirement leaves without evidence.
func (j *judgement) missing(req *Require) []Image {
	has := map[step.Digest]bool{}
	for _, it := range j.items {
		if it.status == StatusUsed && it.typ == req.typ {
			has[it.Image] = true
		}
	}
	var out []Image
	for _, im := range j.in.Images {
		if req.About == AboutPlatforms && im.Index {
			continue
		}
		if !has[im.Digest] {
			out = append(out, im)
		}
	}
	return out
}

// requirement judges one requirement after choose.
func (j *judgement) requirement(req *Require) {
	gaps := j.missing(req)
	j.verdict.Rules = append(j.verdict.Rules, RuleResult{Rule: req.ID(), Held: len(gaps) == 0})
	for _, im := range gaps {
		f := Finding{
			Rule:     req.ID(),
			Severity: SeverityError,
			Subject:  im.Digest,
			Reason:   fmt.Sprintf("there is no usable %s on %s", req.typ.Name, describe(im)),
			Fix:      req.Fix,
		}
		if req.About == AboutSource {
			f.Reason = fmt.Sprintf("there is no usable %s about the source %s on %s", req.typ.Name, orNone(j.source), describe(im))
		}
		for _, it := range j.items {
			if it.typ == req.typ && it.Image == im.Digest && it.why != "" {
				f.Details = append(f.Details, fmt.Sprintf("%s is %s: %s", it.Digest, it.status, it.why))
			}
		}
		f.Details = bound(f.Details)
		j.fail(f)
	}
}

func (j *judgement) image(d step.Digest) (Image, bool) {
	for _, im := range j.in.Images {
		if im.Digest == d {
			return im, true
		}
	}
	return Image{}, false
}

func (j *judgement) require(t evidence.Type) *Require {
	for i := range j.policy.Require {
		if j.policy.Require[i].typ == t {
			return &j.policy.Require[i]
		}
	}
	return nil
}

func (j *judgement) maxAge(req *Require) time.Duration {
	if req.MaxAge == "" {
		return 0
	}
	if d, ok := j.values.val[req.MaxAge].(time.Duration); ok {
		return d
	}
	d, err := time.ParseDuration(req.MaxAge)
	if err != nil {
		return time.Nanosecond // Load checked it; if not, nothing is fresh
	}
	return d
}

func describe(im Image) string {
	if im.Platform == "" {
		return string(im.Digest)
	}
	return fmt.Sprintf("%s (%s)", im.Digest, im.Platform)
}

func orNone[S ~string](s S) string {
	if s == "" {
		return "none"
	}
	return string(s)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}

func bound(details []string) []string {
	for i, d := range details {
		details[i] = clip(d, 1000)
	}
	if len(details) <= MaxDetails {
		return details
	}
	return append(details[:MaxDetails:MaxDetails], fmt.Sprintf("and %d more", len(details)-MaxDetails))
}

// clip shortens text from outside, at a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
