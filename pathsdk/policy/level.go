package policy

import (
	"fmt"
	"slices"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// rolePlatform is the role of a build platform that signs provenance of its own runs.
const rolePlatform = "platform"

// level computes the SLSA Build level of the image: the lowest over all its
// manifests of what the facts in the provenance support, capped by what the
// verifier trusts its signer for.
func (j *judgement) level() Level {
	var lowest *Level
	covered := 0
	for _, it := range j.items {
		if it.status != StatusUsed || it.typ != evidence.Provenance {
			continue
		}
		covered++
		trusted := provenance.Trusted{
			Level: it.MaxBuildLevel, Issuers: it.RunIssuers, Platform: slices.Contains(it.Roles, rolePlatform),
			Separation: provenance.Separation{From: j.policy.Separation.From, Excepted: j.policy.Separation.excepted},
		}
		if it.Identity != nil {
			trusted.Signer = provenance.Identity(*it.Identity)
		}
		build, reasons := provenance.Level(*it.fact.prov, trusted)
		l := Level{Build: build, Reasons: make([]Reason, len(reasons))}
		for i, r := range reasons {
			l.Reasons[i] = Reason(r)
		}
		if lowest == nil || l.Build < lowest.Build {
			lowest = &l
		}
	}
	if lowest == nil || covered < len(j.in.Images) {
		return Level{Reasons: []Reason{{
			Level: 1,
			Need:  "provenance for every manifest of the image",
			Why:   fmt.Sprintf("%d of %d have usable provenance", covered, len(j.in.Images)),
		}}}
	}
	return *lowest
}
