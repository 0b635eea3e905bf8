package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// graph is the drawing of a run: zones as bands from left to right, nodes in
// columns inside them. A column is one step further from the zone's start.
type graph struct {
	Width, Height int
	Bands         []band
	Edges         []edge
	Nodes         []box
	// Drawn says that the path has changed since the image was made, if it has.
	Drawn string
}

type band struct {
	X, Y, W, H, Mid int
	Zone            string // a class
	Name, Note      string
}

type box struct {
	X, Y, W, H int
	ID, Label  string
	Zone       string // a class
	State      string // a class: passed, failed, cached, cancelled, or planned
	Detail     string
	Title      string
}

type edge struct {
	Path pathData
	Kind string // wire, after or evidence
	// From and To are for those who read the page by program.
	From, To string
}

// pathData is an SVG path, made of numbers.
type pathData string

// The measures of the drawing, in pixels.
const (
	boxWidth   = 104
	boxHeight  = 46
	boxGap     = 18
	laneHeight = 10
	columnGap  = 34
	bandPad    = 14
	bandHead   = 46
	bandGap    = 12
)

// drawn is a node to draw.
type drawn struct {
	paths.Node
	zone     step.Zone
	evidence bool
	title    string
	// needs maps the ids of nodes to the kind of the edge.
	needs map[string]string
}

// zoneNotes say of each zone what keeps it apart.
func zoneNotes() map[step.Zone]string {
	return map[step.Zone]string{
		step.ZoneFetch:   "no user code",
		step.ZoneBuild:   "runs user code",
		step.ZonePublish: "hand-over",
		step.ZoneAttest:  "checks anew, and signs what it found",
		step.ZoneVerify:  "judges",
		step.ZoneDeploy:  "verified only",
	}
}

// zoneRank orders zones; what is in none comes last.
func zoneRank(z step.Zone) int {
	if i := slices.Index(step.Zones(), z); i >= 0 {
		return i
	}
	return len(step.Zones())
}

// zoneClass is the zone as a class of ours.
func zoneClass(z step.Zone) string {
	if zoneRank(z) == len(step.Zones()) {
		return "none"
	}
	return string(z)
}

func newGraph(d Data) graph {
	nodes := draw(d)
	columns, spans := place(nodes)
	vertices := route(nodes, columns)
	arrange(vertices)
	return render(d, nodes, vertices, spans)
}

// draw lists the path's nodes, and after them what the run did besides: signing,
// and the verification that this report is about.
func draw(d Data) []*drawn {
	var nodes []*drawn
	seen := map[string]bool{}
	for _, n := range d.Path.Nodes {
		if seen[n.ID] {
			continue
		}
		seen[n.ID] = true
		spec := d.Steps[n.Step]
		x := &drawn{Node: n, zone: spec.Zone, evidence: len(spec.Evidence) > 0, title: spec.Summary, needs: map[string]string{}}
		if t, ok := d.timing(n.ID); ok && x.zone == "" {
			x.zone = step.Zone(t.Zone)
		}
		for _, w := range n.With {
			// A node needs those before it in the path; anything else would be a
			// cycle.
			if w.Node != n.ID && seen[w.Node] {
				x.needs[w.Node] = "wire"
			}
		}
		for _, id := range n.After {
			if id != n.ID && seen[id] && x.needs[id] == "" {
				x.needs[id] = "after"
			}
		}
		nodes = append(nodes, x)
	}
	extra := []*drawn{}
	for _, t := range d.Timings {
		if !seen[t.Node] && t.Node != "verify" {
			seen[t.Node] = true
			extra = append(extra, &drawn{Node: paths.Node{ID: t.Node}, zone: step.Zone(t.Zone), title: "Part of the run, besides the path's nodes."})
		}
	}
	if !seen["verify"] {
		extra = append(extra, &drawn{Node: paths.Node{ID: "verify"}, zone: step.ZoneVerify, title: "Judges the evidence by the policy: what this report shows."})
	}
	for _, x := range extra {
		x.needs = closing(nodes, x.zone)
		x.evidence = x.zone == step.ZoneAttest
		nodes = append(nodes, x)
	}
	reduce(nodes)
	return nodes
}

// closing are the nodes that one at the end of its zone waits for: those of its
// zone, or else of the attester, whose evidence it takes.
func closing(nodes []*drawn, zone step.Zone) map[string]string {
	for _, z := range []step.Zone{zone, step.ZoneAttest} {
		needs := map[string]string{}
		for _, n := range nodes {
			if n.zone == z && n.evidence {
				needs[n.ID] = "evidence"
			}
		}
		if len(needs) > 0 {
			return needs
		}
	}
	return map[string]string{}
}

// reduce leaves out every edge that others imply: who waits for build waits for
// fetch as well.
func reduce(nodes []*drawn) {
	reach := map[string]map[string]bool{}
	for _, n := range nodes {
		all := map[string]bool{}
		for id := range n.needs {
			for further := range reach[id] {
				all[further] = true
			}
		}
		for id := range n.needs {
			if all[id] {
				delete(n.needs, id)
			}
		}
		for id := range n.needs {
			all[id] = true
		}
		reach[n.ID] = all
	}
}

func render(d Data, nodes []*drawn, all []*vertex, spans []span) graph {
	top, bottom := 0, 0
	for _, v := range all {
		top, bottom = min(top, v.y-v.height()/2), max(bottom, v.y+v.height()/2)
	}
	g := graph{Height: bottom - top + bandHead + bandPad + 2}
	dy := bandHead - top
	left := map[int]int{}
	x := 1
	for _, s := range spans {
		n := s.last - s.first + 1
		w := 2*bandPad + n*boxWidth + (n-1)*columnGap
		b := band{X: x, Y: 1, W: w, H: g.Height - 2, Mid: x + w/2, Zone: zoneClass(s.zone), Name: string(s.zone), Note: zoneNotes()[s.zone]}
		if b.Zone == "none" {
			b.Name = "other"
		}
		g.Bands = append(g.Bands, b)
		for c := s.first; c <= s.last; c++ {
			left[c] = x + bandPad + (c-s.first)*(boxWidth+columnGap)
		}
		x += w + bandGap
	}
	g.Width = max(x-bandGap+1, 1)
	for _, v := range all {
		if v.node == nil {
			continue
		}
		b := box{X: left[v.column], Y: v.y + dy - boxHeight/2, W: boxWidth, H: boxHeight, ID: v.id, Label: fit(v.id, 12), Zone: zoneClass(v.node.zone)}
		b.State, b.Detail = d.state(v.id)
		b.Title = strings.TrimSpace(fmt.Sprintf("%s (%s): %s", v.id, b.Detail, v.node.title))
		g.Nodes = append(g.Nodes, b)
	}
	for _, v := range all {
		if v.node == nil {
			continue
		}
		for _, next := range v.after {
			points := []*vertex{v, next}
			for points[len(points)-1].node == nil {
				points = append(points, points[len(points)-1].after[0])
			}
			to := points[len(points)-1]
			g.Edges = append(g.Edges, edge{Path: curve(points, left, dy), Kind: to.node.needs[v.id], From: v.id, To: to.id})
		}
	}
	return g
}

// curve goes from the right side of the first to the left side of the last.
func curve(points []*vertex, left map[int]int, dy int) pathData {
	var b strings.Builder
	fmt.Fprintf(&b, "M%d %d", left[points[0].column]+boxWidth, points[0].y+dy)
	for i, p := range points[1:] {
		from := points[i]
		x1, y1, x2, y2 := left[from.column]+boxWidth, from.y+dy, left[p.column], p.y+dy
		if p.node != nil {
			x2 -= 5 // the arrow's head
		}
		mid := (x1 + x2) / 2
		fmt.Fprintf(&b, "C%d %d %d %d %d %d", mid, y1, mid, y2, x2, y2)
		if p.node == nil {
			fmt.Fprintf(&b, "H%d", left[p.column]+boxWidth)
		}
	}
	return pathData(b.String())
}

func (d Data) timing(node string) (Timing, bool) {
	for _, t := range d.Timings {
		if t.Node == node {
			return t, true
		}
	}
	return Timing{}, false
}

// state is how a node went: a class, and what to say.
func (d Data) state(node string) (class, detail string) {
	t, ok := d.timing(node)
	switch {
	case !ok && node == "verify" && d.Verdict.Passed:
		return "passed", "passed"
	case !ok && node == "verify":
		return "failed", "refused"
	case !ok:
		return "planned", "no timing"
	}
	switch t.Result {
	case "passed", "failed":
		return t.Result, elapsed(t.Elapsed)
	case "cached", "cancelled":
		return t.Result, t.Result
	}
	return "planned", "did not end"
}
