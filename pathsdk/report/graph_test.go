package report

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func TestGraph(t *testing.T) {
	from := func(ids ...string) map[string]paths.Wire {
		m := map[string]paths.Wire{}
		for _, id := range ids {
			m["from-"+id] = paths.From(id, "x")
		}
		return m
	}
	steps := map[string]step.Spec{
		"build":  {Meta: step.Meta{Zone: step.ZoneBuild}},
		"attest": {Meta: step.Meta{Zone: step.ZoneAttest, Evidence: []string{evidence.SPDX.URI}}},
	}
	tests := []struct {
		name    string
		nodes   []paths.Node
		timings []Timing
		bands   []string
		edges   []string
	}{
		{"nothing but the verdict", nil, nil, []string{"verify"}, nil},
		{"an edge that others imply is left out", []paths.Node{
			{ID: "a", Step: "build"}, {ID: "b", Step: "build", With: from("a")}, {ID: "c", Step: "attest", With: from("a", "b")},
		}, nil, []string{"build", "attest", "verify"}, []string{"a>b wire", "b>c wire", "c>verify evidence"}},
		{"after is no wire, unless there is one", []paths.Node{
			{ID: "a", Step: "build"}, {ID: "b", Step: "build", After: []string{"a"}}, {ID: "c", Step: "build"}, {ID: "d", Step: "build", With: from("c"), After: []string{"c"}},
		}, nil, []string{"build", "verify"}, []string{"a>b after", "c>d wire"}},
		{"signing stands before verification", []paths.Node{{ID: "a", Step: "attest"}}, []Timing{{Node: "sign", Zone: "attest"}, {Node: "verify", Zone: "verify"}},
			[]string{"attest", "verify"}, []string{"a>sign evidence", "sign>verify evidence"}},
		{"cycles, strangers and repeats", []paths.Node{
			{ID: "a", Step: "build", With: from("b", "a", "nobody"), After: []string{"b"}}, {ID: "b", Step: "build", With: from("a")}, {ID: "b", Step: "attest"},
		}, nil, []string{"build", "verify"}, []string{"a>b wire"}},
		{"a step that nobody knows", []paths.Node{{ID: "a", Step: "what"}, {ID: "b", Step: "build", With: from("a")}}, nil,
			[]string{"build", "verify", "none"}, []string{"a>b wire"}},
		{"a step that only the run knows", []paths.Node{{ID: "a", Step: "what"}}, []Timing{{Node: "a", Zone: "fetch"}}, []string{"fetch", "verify"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGraph(Data{Path: paths.Path{Nodes: tt.nodes}, Steps: steps, Timings: tt.timings})
			var bands, edges []string
			for _, b := range g.Bands {
				bands = append(bands, b.Zone)
			}
			for _, e := range g.Edges {
				edges = append(edges, fmt.Sprintf("%s>%s %s", e.From, e.To, e.Kind))
			}
			slices.Sort(edges)
			if d := cmp.Diff(tt.bands, bands) + cmp.Diff(tt.edges, edges); d != "" {
				t.Errorf("bands or edges (-want +got):\n%s", d)
			}
			sound(t, g)
		})
	}
}

// TestWideGraph has more nodes and longer edges than any path.
func TestWideGraph(t *testing.T) {
	var nodes []paths.Node
	for i := range 60 {
		n := paths.Node{ID: fmt.Sprint("node-", i), Step: "build", With: map[string]paths.Wire{}}
		for j := range i {
			if (i*7+j*3)%11 == 0 {
				n.With[fmt.Sprint(j)] = paths.From(fmt.Sprint("node-", j), "x")
			}
		}
		nodes = append(nodes, n)
	}
	sound(t, newGraph(Data{Path: paths.Path{Nodes: nodes}}))
}

// sound checks that no box lies on another or outside of its band.
func sound(t *testing.T, g graph) {
	t.Helper()
	for i, a := range g.Nodes {
		if a.X < 0 || a.Y < bandHead || a.X+a.W > g.Width || a.Y+a.H > g.Height {
			t.Errorf("%s lies outside of the drawing", a.ID)
		}
		if !slices.ContainsFunc(g.Bands, func(b band) bool { return b.Zone == a.Zone && a.X >= b.X && a.X+a.W <= b.X+b.W }) {
			t.Errorf("%s lies outside of its zone", a.ID)
		}
		for _, b := range g.Nodes[:i] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s lies on %s", a.ID, b.ID)
			}
		}
	}
}

func TestTimings(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got := newTimings([]Timing{
		{Node: "b", Result: "passed", Started: at.Add(time.Second), Elapsed: 3 * time.Second},
		{Node: "a", Zone: "fetch", Result: "cached", Started: at, Elapsed: time.Millisecond},
		{Node: "c", Started: at.Add(4 * time.Second), Elapsed: -5},
	})
	want := timings{Total: "4.00 s", Note: "1 passed, 1 cached", Rows: []timingRow{
		{Node: "a", Zone: "fetch", ZoneClass: "fetch", Result: "cached", State: "cached", Elapsed: "1 ms", Start: "< 1 ms", X: 0, W: 5},
		{Node: "b", ZoneClass: "none", Result: "passed", State: "passed", Elapsed: "3.00 s", Start: "1.00 s", X: 250, W: 750},
		{Node: "c", ZoneClass: "none", Result: "did not end", State: "planned", Elapsed: "< 1 ms", Start: "4.00 s", X: 995, W: 5},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSeverity(t *testing.T) {
	s := func(scores ...string) []evidence.VulnSeverity {
		var out []evidence.VulnSeverity
		for _, x := range scores {
			out = append(out, evidence.VulnSeverity{Method: "m", Score: x})
		}
		return out
	}
	for _, tt := range []struct {
		in    []evidence.VulnSeverity
		word  string
		score string
	}{
		{s("HIGH"), "high", ""}, {s("low", "critical"), "critical", ""}, {s("negligible"), "low", ""}, {s("unknown"), "unknown", ""},
		{s("unknown", "9.8"), "unknown", "9.8"}, {s("9.8"), "critical", "9.8"}, {s("7.0"), "high", "7.0"}, {s("4"), "medium", "4.0"}, {s("0.1"), "low", "0.1"}, {s("0"), "none", "0.0"},
		{s("medium", "9.8", "5"), "medium", "9.8"}, {s("11"), "unknown", ""}, {s("NaN"), "unknown", ""}, {s("<b>"), "unknown", ""}, {nil, "unknown", ""},
	} {
		if word, _, score := severity(tt.in); word != tt.word || score != tt.score {
			t.Errorf("%v: got %s %s, want %s %s", tt.in, word, score, tt.word, tt.score)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[time.Duration]string{
		-1: "?", 0: "< 1 ms", 42 * time.Millisecond: "42 ms", 1500 * time.Millisecond: "1.50 s", 125 * time.Second: "2 min 05 s", 200 * time.Minute: "3 h 20 min",
	} {
		if got := elapsed(in); got != want {
			t.Errorf("elapsed(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := number(in); got != want {
			t.Errorf("number(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"a\tb": "a b", "a\u202eb": "a[U+202E]b", "a\xffb": "a\ufffdb", "Größe": "Größe"} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}
