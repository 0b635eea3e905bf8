package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// reading is what the predicates of the evidence say, taken together.
type reading struct {
	platforms int
	// says sums up each predicate, by the referrer's digest.
	says     map[step.Digest]string
	scans    []scan
	sboms    []bill
	packages []packageRow
	vulns    []vulnRow
	secrets  secretTable
	tests    []testRow
	origin   origin
	// seen are test results by their bytes: the same hangs on every image.
	seen map[string]bool
}

// read reads the predicates of whatever the verdict used. They were judged
// before; one that can't be read here is shown as such, and no more.
func read(v policy.Verdict) *reading {
	r := &reading{says: map[step.Digest]string{}, seen: map[string]bool{}}
	for _, im := range v.Images {
		if !im.Index {
			r.platforms++
		}
	}
	for _, e := range v.Evidence {
		if e.Status != policy.StatusUsed || len(e.Predicate) == 0 {
			continue
		}
		says, err := r.one(v, e)
		if err != nil {
			says = "can't be shown: " + err.Error()
		}
		r.says[e.Digest] = says
	}
	r.mergePackages()
	r.mergeVulns()
	return r
}

func (r *reading) one(v policy.Verdict, e policy.EvidenceStatus) (string, error) {
	on := platform(v, e.Subject)
	switch e.Type {
	case evidence.Signature.URI:
		return "this digest is signed", nil
	case evidence.Provenance.URI:
		return r.provenance(e.Predicate, e.Subject == v.Digest)
	case evidence.TestResult.URI:
		return r.test(e.Predicate)
	case evidence.SPDX.URI:
		b, err := evidence.ParseSPDX(e.Predicate)
		return r.sbom(b, on, err)
	case evidence.CycloneDX.URI:
		b, err := evidence.ParseCycloneDX(e.Predicate)
		return r.sbom(b, on, err)
	case evidence.Vulns.URI:
		return r.scan(e.Predicate, on)
	case evidence.SCAI.URI:
		return r.secretScan(e.Predicate, on)
	}
	return "", nil
}

// platform names the image that a digest is of.
func platform(v policy.Verdict, d step.Digest) string {
	for _, im := range v.Images {
		if im.Digest == d {
			return platformOf(im)
		}
	}
	return ""
}

// evidenceRow is one referrer.
type evidenceRow struct {
	Type, URI      string
	On             string
	Tier, Claimed  string
	TierClass      string
	Signer, Status string
	Says           string
	Digest         step.Digest
	Subject        step.Digest
}

// statuses in the order in which they are shown.
func statuses() []string {
	return []string{policy.StatusUsed, policy.StatusReproduces, policy.StatusInvalid, policy.StatusForeign, policy.StatusSuperseded, policy.StatusUnused}
}

func (p *page) evidence(v policy.Verdict, r *reading) {
	types := evidence.Types()
	n := map[string]int{}
	for _, e := range v.Evidence {
		n[e.Status]++
		row := evidenceRow{
			Type: e.Type, URI: e.Type, On: cmp.Or(platform(v, e.Subject), "another image"), Tier: string(e.Tier), Claimed: string(e.Claimed),
			TierClass: "none", Signer: e.Signer, Status: e.Status, Says: cmp.Or(e.Why, r.says[e.Digest]), Digest: e.Digest, Subject: e.Subject,
		}
		if t, ok := evidence.Lookup(e.Type); ok {
			row.Type = t.Name
		} else if i := strings.LastIndex(strings.TrimRight(e.Type, "/"), "//"); i >= 0 {
			row.Type = e.Type[i+2:]
		}
		if row.Type == "" {
			row.Type = "unreadable"
		}
		if e.Tier.Rank() > 0 {
			row.TierClass = string(e.Tier)
		}
		p.Evidence = append(p.Evidence, row)
	}
	rank := func(uri string) int {
		if i := slices.IndexFunc(types, func(t evidence.Type) bool { return t.URI == uri }); i >= 0 {
			return i
		}
		return len(types)
	}
	slices.SortStableFunc(p.Evidence, func(a, b evidenceRow) int {
		return cmp.Or(cmp.Compare(slices.Index(statuses(), a.Status), slices.Index(statuses(), b.Status)),
			cmp.Compare(rank(a.URI), rank(b.URI)), cmp.Compare(a.On, b.On), cmp.Compare(a.Digest, b.Digest))
	})
	for _, s := range statuses() {
		if n[s] > 0 {
			p.Counts = append(p.Counts, tally{n[s], s})
		}
	}
	if total := len(p.Evidence); total > maxEvidence {
		p.Evidence = p.Evidence[:maxEvidence]
		p.EvidenceNote = fmt.Sprintf("%s of %s referrers are shown. All of them: pathctl evidence ls %s", number(maxEvidence), number(total), v.Reference)
	}
}
