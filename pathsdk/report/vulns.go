package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/policy"
)

// vulnTable is what the scans found, merged.
type vulnTable struct {
	Scanned bool
	Scans   []scan
	Rows    []vulnRow
	Total   int
	// Open are those that neither VEX nor a waiver answers; Worst is the rank of
	// the worst of them.
	Open, Worst int
	Summary     string
	// Small is true if a database was made for tests and demos.
	Small     bool
	Platforms bool
	Cut       bool
}

// scan is one scan's own description.
type scan struct {
	Scanner, DB, DBVersion string
	Updated, Finished      moment
	Small                  bool
}

type vulnRow struct {
	ID, URL, Title          string
	Aliases                 string
	Severity                string // critical, high, medium, low, none or unknown; also a class
	Score                   string
	Package, Version, Fixed string
	State                   string // open, waived, or what VEX says
	Answered                bool
	Why                     string
	On                      string

	rank int
	ids  []string
	purl string
	vex  string
}

// notes are the annotations of a finding, as the scan step writes them. Others
// may write others: what is missing stays empty.
type notes struct {
	Package      string   `json:"package"`
	Version      string   `json:"version"`
	PURL         string   `json:"purl"`
	FixedVersion string   `json:"fixedVersion"`
	Title        string   `json:"title"`
	URL          string   `json:"url"`
	Aliases      []string `json:"aliases"`
	VEX          *struct {
		Status        string `json:"status"`
		Justification string `json:"justification"`
		Statement     string `json:"statement"`
		Author        string `json:"author"`
	} `json:"vex"`
}

func notesOf(list []map[string]any) notes {
	var n notes
	for _, m := range list {
		raw, err := json.Marshal(m)
		if err != nil {
			continue
		}
		// A field of another kind than expected leaves the others readable.
		_ = json.Unmarshal(raw, &n)
	}
	return n
}

func (r *reading) scan(raw json.RawMessage, on string) (string, error) {
	p, err := evidence.ParseVulns(raw)
	if err != nil {
		return "", err
	}
	db := p.Scanner.DB
	s := scan{
		Scanner: strings.TrimSpace(cmp.Or(p.Scanner.URI, "unknown")), DB: db.URI, DBVersion: db.Version,
		Updated: momentOf(db.LastUpdate), Finished: momentOf(p.Metadata.ScanFinishedOn),
		Small: strings.HasSuffix(db.URI, "#small"),
	}
	if !slices.Contains(r.scans, s) {
		r.scans = append(r.scans, s)
	}
	for _, f := range p.Scanner.Result {
		r.vulns = append(r.vulns, finding(f, on))
	}
	return fmt.Sprintf("%s, by a database of %s", count(len(p.Scanner.Result), "finding", "findings"), s.Updated.Text), nil
}

func finding(f evidence.VulnResult, on string) vulnRow {
	a := notesOf(f.Annotations)
	row := vulnRow{
		ID: f.ID, URL: link(a.URL), Title: a.Title, Aliases: strings.Join(a.Aliases, ", "),
		Package: a.Package, Version: a.Version, Fixed: a.FixedVersion, purl: a.PURL,
		State: "open", On: on, ids: append([]string{f.ID}, a.Aliases...),
	}
	row.Severity, row.rank, row.Score = severity(f.Severity)
	if a.VEX != nil {
		row.vex = a.VEX.Status
		row.State = strings.ReplaceAll(a.VEX.Status, "_", " ")
		row.Answered = a.VEX.Status == "not_affected" || a.VEX.Status == "fixed"
		why := []string{strings.ReplaceAll(a.VEX.Justification, "_", " "), a.VEX.Statement}
		row.Why = strings.Join(slices.DeleteFunc(why, func(s string) bool { return s == "" }), ": ")
	}
	return row
}

// severity is the worst that any method gives, as policies judge it: words
// decide, CVSS scores only where there is no word (CVSS v3.1, section 5).
func severity(list []evidence.VulnSeverity) (word string, rank int, score string) {
	ranks := []string{"none", "low", "medium", "high", "critical"}
	rank, best := -1, -1.0
	for _, s := range list {
		w := strings.ToLower(s.Score)
		if w == "negligible" {
			w = "low"
		}
		if i := slices.Index(ranks, w); i > rank {
			word, rank = w, i
		} else if w == "unknown" && rank < 0 {
			word, rank = w, 0
		}
		if f, err := strconv.ParseFloat(s.Score, 64); err == nil && f >= 0 && f <= 10 {
			best = max(best, f)
		}
	}
	if best >= 0 {
		score = strconv.FormatFloat(best, 'f', 1, 64)
	}
	if rank >= 0 {
		return word, rank, score
	}
	switch {
	case best < 0:
		return "unknown", 0, ""
	case best >= 9:
		rank = 4
	case best >= 7:
		rank = 3
	case best >= 4:
		rank = 2
	case best > 0:
		rank = 1
	default:
		rank = 0
	}
	return ranks[rank], rank, score
}

// mergeVulns makes one row of what was found on several platforms.
func (r *reading) mergeVulns() {
	type key struct{ id, pkg, version, purl, severity, vex, why string }
	at := map[key]int{}
	merged := r.vulns[:0:0]
	for _, v := range r.vulns {
		k := key{v.ID, v.Package, v.Version, v.purl, v.Severity, v.vex, v.Why}
		i, ok := at[k]
		if !ok {
			at[k] = len(merged)
			merged = append(merged, v)
			continue
		}
		merged[i].On = addPlatform(merged[i].On, v.On)
	}
	r.vulns = merged
}

func (r *reading) vulnTable(v policy.Verdict) vulnTable {
	t := vulnTable{Scanned: len(r.scans) > 0, Scans: r.scans, Rows: r.vulns, Total: len(r.vulns), Worst: -1, Platforms: r.platforms > 1}
	by := map[string]int{}
	for i := range t.Rows {
		row := &t.Rows[i]
		for _, w := range v.Waivers {
			if !row.Answered && w.State == policy.WaiverActive && slices.Contains(row.ids, w.ID) {
				row.State, row.Answered, row.Why = "waived", true, "until "+w.Expires+": "+w.Reason
			}
		}
		if !row.Answered {
			t.Open++
			t.Worst = max(t.Worst, row.rank)
			by[row.Severity]++
		}
	}
	slices.SortStableFunc(t.Rows, func(a, b vulnRow) int {
		if a.Answered != b.Answered {
			if a.Answered {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package),
			cmp.Compare(a.Version, b.Version), cmp.Compare(a.purl, b.purl), cmp.Compare(a.On, b.On))
	})
	var parts []string
	for _, s := range []string{"critical", "high", "medium", "low", "none", "unknown"} {
		if by[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", by[s], s))
		}
	}
	if answered := t.Total - t.Open; answered > 0 {
		parts = append(parts, fmt.Sprintf("%d answered", answered))
	}
	t.Small = slices.ContainsFunc(t.Scans, func(s scan) bool { return s.Small })
	if t.Small {
		parts = append(parts, "by a small database")
	}
	t.Summary = cmp.Or(strings.Join(parts, ", "), "nothing known")
	if t.Total > maxVulns {
		t.Rows, t.Cut = t.Rows[:maxVulns], true
	}
	return t
}
