package report

import (
	"cmp"
	"slices"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// vertex is a node, or a place where an edge passes a column.
type vertex struct {
	id     string
	node   *drawn // nil where an edge passes
	column int
	y      int // middle
	before []*vertex
	after  []*vertex
}

func (v *vertex) height() int {
	if v.node == nil {
		return laneHeight
	}
	return boxHeight
}

// span is the columns of one zone.
type span struct {
	zone        step.Zone
	first, last int
}

// place gives every node its column: zones one after the other, and inside a
// zone one further than what it needs there.
func place(nodes []*drawn) (map[string]int, []span) {
	depth := map[string]int{}
	for _, n := range nodes {
		for _, m := range nodes {
			if _, ok := n.needs[m.ID]; ok && zoneRank(m.zone) == zoneRank(n.zone) {
				depth[n.ID] = max(depth[n.ID], depth[m.ID]+1)
			}
		}
	}
	columns := map[string]int{}
	var spans []span
	next := 0
	for rank := 0; rank <= len(step.Zones()); rank++ {
		width := 0
		s := span{first: next}
		for _, n := range nodes {
			if zoneRank(n.zone) == rank {
				columns[n.ID] = next + depth[n.ID]
				width = max(width, depth[n.ID]+1)
				s.zone = n.zone
			}
		}
		if width > 0 {
			next += width
			s.last = next - 1
			spans = append(spans, s)
		}
	}
	return columns, spans
}

// route makes vertices, with one in every column that an edge passes.
func route(nodes []*drawn, columns map[string]int) []*vertex {
	var all []*vertex
	at := map[string]*vertex{}
	for _, n := range nodes {
		v := &vertex{id: n.ID, node: n, column: columns[n.ID]}
		at[n.ID] = v
		all = append(all, v)
	}
	for _, n := range nodes {
		for _, m := range nodes {
			if _, ok := n.needs[m.ID]; !ok {
				continue
			}
			last := at[m.ID]
			for c := last.column + 1; c < columns[n.ID]; c++ {
				lane := &vertex{id: m.ID + "\x00" + n.ID, column: c}
				connect(last, lane)
				all = append(all, lane)
				last = lane
			}
			connect(last, at[n.ID])
		}
	}
	return all
}

func connect(a, b *vertex) {
	a.after = append(a.after, b)
	b.before = append(b.before, a)
}

// arrange orders each column so that edges are short, by a few sweeps of the
// barycentre method, and puts it around the middle.
func arrange(all []*vertex) {
	columns := map[int][]*vertex{}
	last := 0
	for _, v := range all {
		columns[v.column] = append(columns[v.column], v)
		last = max(last, v.column)
	}
	for c := 0; c <= last; c++ {
		settle(columns[c])
	}
	for sweep := range 6 {
		for i := 0; i <= last; i++ {
			c, near := i, func(v *vertex) []*vertex { return v.before }
			if sweep%2 == 1 {
				c, near = last-i, func(v *vertex) []*vertex { return v.after }
			}
			slices.SortStableFunc(columns[c], func(a, b *vertex) int {
				return cmp.Compare(centre(a, near(a)), centre(b, near(b)))
			})
			settle(columns[c])
		}
	}
}

func centre(v *vertex, near []*vertex) int {
	if len(near) == 0 {
		return v.y
	}
	sum := 0
	for _, n := range near {
		sum += n.y
	}
	return sum / len(near)
}

// settle stacks a column around 0.
func settle(column []*vertex) {
	total := (len(column) - 1) * boxGap
	for _, v := range column {
		total += v.height()
	}
	y := -total / 2
	for _, v := range column {
		v.y = y + v.height()/2
		y += v.height() + boxGap
	}
}
