package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

func (j *judgement) parseVulns(it *item) (fact, error) {
	p, err := evidence.ParseVulns(it.Predicate)
	if err != nil {
		return fact{}, err
	}
	f := fact{
		at:    p.Metadata.ScanFinishedOn,
		times: []time.Time{p.Metadata.ScanStartedOn, p.Metadata.ScanFinishedOn, p.Scanner.DB.LastUpdate},
		rec: record{
			"scanner":   p.Scanner.URI,
			"version":   p.Scanner.Version,
			"db":        p.Scanner.DB.URI,
			"dbUpdated": p.Scanner.DB.LastUpdate,
			"started":   p.Metadata.ScanStartedOn,
			"finished":  p.Metadata.ScanFinishedOn,
			"findings":  int64(len(p.Scanner.Result)),
		},
		findings: make([]record, 0, len(p.Scanner.Result)),
	}
	for i, r := range p.Scanner.Result {
		v, err := j.vuln(it, r)
		if err != nil {
			return fact{}, fmt.Errorf("vulns predicate: scanner.result[%d]: %w", i, err)
		}
		f.findings = append(f.findings, v)
	}
	return f, nil
}

func (j *judgement) vuln(it *item, r evidence.VulnResult) (record, error) {
	severity, rank, err := worst(r.Severity)
	if err != nil {
		return nil, err
	}
	a, err := annotations(r.Annotations)
	if err != nil {
		return nil, err
	}
	ids := []string{r.ID}
	for _, alias := range a.list("aliases") {
		if !slices.Contains(ids, alias) {
			ids = append(ids, alias)
		}
	}
	vex := notes{}
	status := ""
	if _, ok := a.m["vex"]; ok {
		vex = a.object("vex")
		status = vex.text("status")
		if !slices.Contains([]string{"not_affected", "affected", "fixed", "under_investigation"}, status) {
			return nil, fmt.Errorf("vex status %.40q is unknown", status)
		}
	}
	kev := false
	if j.in.KEV != nil {
		kev = slices.ContainsFunc(ids, j.in.KEV.Has)
	}
	v := record{
		"image":    string(it.Image),
		"platform": it.platform,
		"id":       r.ID,
		"ids":      ids,
		"package":  a.text("package"),
		"version":  a.text("version"),
		"purl":     a.text("purl"),
		"fixed":    a.text("fixedVersion"),
		"severity": severity,
		"rank":     int64(rank),
		"vex":      status,
		"vexWhy":   vex.text("justification"),
		"kev":      kev,
	}
	return v, errors.Join(a.err, vex.err)
}

// severities in ascending order; unknown ranks as none.
var severities = [...]string{"none", "low", "medium", "high", "critical"}

func severityRank(s string) (int, bool) {
	if s == "unknown" {
		return 0, true
	}
	i := slices.Index(severities[:], s)
	return max(i, 0), i >= 0
}

// worst is the highest severity that any method gives. Words decide; CVSS
// scores only where there is no word. A score that is neither is refused, since
// nobody can say how bad it is.
func worst(ss []evidence.VulnSeverity) (string, int, error) {
	word, rank := "", -1
	byScore := 0.0
	for _, s := range ss {
		w := strings.ToLower(s.Score)
		if w == "negligible" {
			w = "low"
		}
		if r, ok := severityRank(w); ok {
			if r > rank {
				word, rank = w, r
			}
			continue
		}
		n, err := strconv.ParseFloat(s.Score, 64)
		if err != nil || !(n >= 0 && n <= 10) {
			return "", 0, fmt.Errorf("severity %.40q is neither a word nor a CVSS score", s.Score)
		}
		byScore = max(byScore, n)
	}
	if rank < 0 {
		// The qualitative scale of CVSS v3.1, section 5.
		switch {
		case byScore >= 9:
			rank = 4
		case byScore >= 7:
			rank = 3
		case byScore >= 4:
			rank = 2
		case byScore > 0:
			rank = 1
		default:
			rank = 0
		}
		word = severities[rank]
	}
	return word, rank, nil
}
