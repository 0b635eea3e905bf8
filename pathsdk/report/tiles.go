package report

import (
	"cmp"
	"fmt"

	"github.com/pavedpaths/paths/pathsdk/policy"
)

// tiles are the few numbers that a reader looks for first.
func (p *page) tiles(v policy.Verdict) {
	tone := func(bad, warn bool) string {
		switch {
		case bad:
			return "bad"
		case warn:
			return "warn"
		}
		return "good"
	}
	p.Tiles = append(p.Tiles,
		tile{"Build level", fmt.Sprintf("SLSA L%d", v.Level.Build), "computed from facts, never claimed", tone(v.Level.Build == 0, false), "#level"},
		tile{"Rules that hold", fmt.Sprintf("%d / %d", p.Held, len(v.Rules)), "policy " + v.Policy.Name, tone(!v.Passed, p.Held < len(v.Rules)), "#findings"},
	)
	switch vs := p.Vulns; {
	case !vs.Scanned:
		p.Tiles = append(p.Tiles, tile{"Vulnerabilities", "no scan", "no usable scan on this image", "bad", "#vulnerabilities"})
	default:
		p.Tiles = append(p.Tiles, tile{"Vulnerabilities", number(vs.Open) + " open", vs.Summary, tone(vs.Worst >= 3, vs.Open > 0 || vs.Small), "#vulnerabilities"})
	}
	if p.Packages.Total > 0 {
		p.Tiles = append(p.Tiles, tile{"Packages", number(p.Packages.Total), p.Packages.Source, "plain", "#packages"})
	} else {
		p.Tiles = append(p.Tiles, tile{"Packages", "no SBOM", "no usable SBOM on this image", "bad", "#packages"})
	}
	passed, failed, coverage := 0, 0, ""
	for _, t := range p.Tests {
		passed, failed = passed+t.PassedCount, failed+t.FailedCount
		if t.Coverage != "" {
			coverage = t.Coverage + " % of statements covered"
		}
	}
	switch {
	case len(p.Tests) == 0:
		p.Tiles = append(p.Tiles, tile{"Tests", "no result", "no usable test result", "bad", "#tests"})
	case failed > 0:
		p.Tiles = append(p.Tiles, tile{"Tests", number(failed) + " failed", count(passed, "test", "tests") + " passed", "bad", "#tests"})
	default:
		p.Tiles = append(p.Tiles, tile{"Tests", number(passed) + " passed", cmp.Or(coverage, "coverage not measured"), "good", "#tests"})
	}
	if p.Timings.Total != "" {
		p.Tiles = append(p.Tiles, tile{"Run", p.Timings.Total, p.Timings.Note, "plain", "#pipeline"})
	}
}
