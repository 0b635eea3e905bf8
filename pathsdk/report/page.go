package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// The most rows that a table on the page has. The page must open at once on any
// machine; the evidence itself has everything.
const (
	maxPackages     = 2000
	maxVulns        = 1000
	maxEvidence     = 500
	maxFindings     = 200
	maxListed       = 500
	maxDependencies = 500
)

// page is the view: plain values in the order in which the page shows them.
type page struct {
	Reference string
	Name      string // the reference without its digest
	Passed    bool
	Outcome   string
	Headline  string
	Verified  moment
	Generated moment
	Images    []imageRow
	Policy    policy.PolicyRef
	Tiles     []tile

	Findings     []findingRow
	FindingsNote string
	Rules        []policy.RuleResult
	Held         int

	Build  int
	Levels []levelGroup

	Graph   graph
	Timings timings

	Evidence     []evidenceRow
	EvidenceNote string
	Counts       []tally

	KEV     string
	Vulns   vulnTable
	Waivers []waiverRow
	Secrets secretTable

	Packages packageTable
	Tests    []testRow
	Origin   origin
	Params   []paramRow
}

// moment is a time for people and for machines.
type moment struct{ Text, Machine string }

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return moment{Text: "unknown"}
	}
	return moment{Text: stamp(t), Machine: machineTime(t)}
}

// tile is one number at the top.
type tile struct {
	Label, Value, Note string
	Tone               string // a class: good, bad, warn or plain
	Href               string // a section of the page
}

type imageRow struct {
	Digest step.Digest
	What   string
}

type findingRow struct {
	Rule, Reason, Fix string
	State             string // error, warning or waived; also a class
	On                string
	Details           []string
}

type levelGroup struct {
	Level   int
	Reached bool
	Reasons []policy.Reason
}

type tally struct {
	N    int
	What string
}

type waiverRow struct {
	policy.Waiver
	Tone string
}

type paramRow struct{ Name, Value, From string }

func newPage(d Data) *page {
	v := d.Verdict
	r := read(v)
	name, _, _ := strings.Cut(v.Reference, "@sha256:")
	p := &page{
		Name:      name,
		Reference: v.Reference, Passed: v.Passed,
		Outcome: "Failed", Verified: momentOf(v.VerifiedOn), Generated: momentOf(d.Generated),
		Policy: v.Policy, Build: v.Level.Build, KEV: v.KEV,
		Levels: levels(v.Level), Graph: newGraph(d), Timings: newTimings(d.Timings),
		Vulns: r.vulnTable(v), Secrets: r.secrets, Packages: r.packageTable(), Tests: r.tests, Origin: r.origin,
	}
	if v.Passed {
		p.Outcome = "Passed"
	}
	for _, im := range v.Images {
		p.Images = append(p.Images, imageRow{im.Digest, platformOf(im)})
	}
	p.findings(v)
	p.rules(v)
	p.evidence(v, r)
	for _, w := range v.Waivers {
		w.Covers = slices.Clone(w.Covers)
		p.Waivers = append(p.Waivers, waiverRow{w, waiverTone(w.State)})
	}
	for _, x := range v.Params {
		p.Params = append(p.Params, paramRow{x.Name, value(x.Value), x.From})
	}
	p.Graph.Drawn = drawnFrom(d, r.origin)
	p.tiles(v)
	return p
}

func platformOf(im policy.Image) string {
	switch {
	case im.Index:
		return "index"
	case im.Platform != "":
		return im.Platform
	}
	return "image"
}

// drawnFrom says when the drawing is of another version than what ran.
func drawnFrom(d Data, o origin) string {
	if o.Path == "" || o.Version == "" || o.Path == d.Path.Name && o.Version == d.Path.Version {
		return ""
	}
	return fmt.Sprintf("Drawn from %s %s, which this pathctl knows; the image was made by %s %s.", d.Path.Name, d.Path.Version, o.Path, o.Version)
}

func (p *page) headline(v policy.Verdict) string {
	failed, warned, waived := 0, 0, 0
	for _, f := range p.Findings {
		switch f.State {
		case "waived":
			waived++
		case policy.SeverityWarning:
			warned++
		default:
			failed++
		}
	}
	text := fmt.Sprintf("Policy %s refuses this image: %s.", v.Policy.Name, count(failed, "finding", "findings"))
	if v.Passed {
		text = fmt.Sprintf("Policy %s accepts this image.", v.Policy.Name)
	}
	var more []string
	if warned > 0 {
		more = append(more, count(warned, "warning", "warnings"))
	}
	if waived > 0 {
		more = append(more, count(waived, "waived finding", "waived findings"))
	}
	if len(more) > 0 {
		text += " There " + isAre(warned+waived) + " " + strings.Join(more, " and ") + "."
	}
	return text
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func (p *page) findings(v policy.Verdict) {
	for _, f := range v.Findings {
		row := findingRow{Rule: f.Rule, Reason: f.Reason, Fix: f.Fix, State: policy.SeverityError, Details: slices.Clone(f.Details)}
		switch {
		case f.Waived:
			row.State = "waived"
		case f.Severity == policy.SeverityWarning:
			row.State = policy.SeverityWarning
		}
		row.On = platform(v, f.Subject)
		// What holds of several platforms is said once.
		same := slices.IndexFunc(p.Findings, func(x findingRow) bool {
			return x.Rule == row.Rule && x.State == row.State && x.Reason == row.Reason && x.Fix == row.Fix && slices.Equal(x.Details, row.Details)
		})
		if same >= 0 {
			p.Findings[same].On = addPlatform(p.Findings[same].On, row.On)
			continue
		}
		p.Findings = append(p.Findings, row)
	}
	order := []string{policy.SeverityError, policy.SeverityWarning, "waived"}
	slices.SortStableFunc(p.Findings, func(a, b findingRow) int {
		return cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State))
	})
	p.Headline = p.headline(v)
	if n := len(p.Findings); n > maxFindings {
		p.Findings = p.Findings[:maxFindings]
		p.FindingsNote = fmt.Sprintf("%s of %s findings are shown. All of them: pathctl verify %s -o json", number(maxFindings), number(n), v.Reference)
	}
	for i := range p.Findings {
		p.Findings[i].Reason, p.Findings[i].Fix = sentence(p.Findings[i].Reason), sentence(p.Findings[i].Fix)
	}
}

// rules lists those that did not hold first.
func (p *page) rules(v policy.Verdict) {
	p.Rules = slices.Clone(v.Rules)
	slices.SortStableFunc(p.Rules, func(a, b policy.RuleResult) int {
		switch {
		case a.Held == b.Held:
			return 0
		case b.Held:
			return -1
		}
		return 1
	})
	p.Rules = p.Rules[:min(len(p.Rules), maxListed)]
	for _, r := range v.Rules {
		if r.Held {
			p.Held++
		}
	}
}

func levels(l policy.Level) []levelGroup {
	var out []levelGroup
	for _, r := range l.Reasons {
		i := slices.IndexFunc(out, func(g levelGroup) bool { return g.Level == r.Level })
		if i < 0 {
			i = len(out)
			out = append(out, levelGroup{Level: r.Level, Reached: l.Build >= r.Level})
		}
		out[i].Reasons = append(out[i].Reasons, r)
	}
	slices.SortStableFunc(out, func(a, b levelGroup) int { return cmp.Compare(a.Level, b.Level) })
	return out
}

func waiverTone(state string) string {
	switch state {
	case policy.WaiverActive:
		return "warn"
	case policy.WaiverExpired, policy.WaiverRefused, policy.WaiverInvalid:
		return "bad"
	}
	return "plain"
}
