package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// timings are the bars: one node a row, on one scale.
type timings struct {
	Rows  []timingRow
	Total string
	Note  string
}

type timingRow struct {
	Node, Zone, Result, Elapsed, Start string
	ZoneClass, State                   string
	// X and W are in thousandths of the whole.
	X, W int
}

func newTimings(list []Timing) timings {
	var t timings
	if len(list) == 0 {
		return t
	}
	list = slices.Clone(list[:min(len(list), maxTimingCount)])
	slices.SortStableFunc(list, func(a, b Timing) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Node, b.Node))
	})
	first := list[0].Started
	var total time.Duration
	results := map[string]int{}
	for i := range list {
		// Time may have been set back meanwhile.
		list[i].Elapsed = max(list[i].Elapsed, 0)
		total = max(total, list[i].Started.Sub(first)+list[i].Elapsed)
		results[list[i].Result]++
	}
	for _, x := range list {
		start := x.Started.Sub(first)
		row := timingRow{
			Node: x.Node, Zone: x.Zone, ZoneClass: zoneClass(step.Zone(x.Zone)),
			Result: x.Result, State: "planned", Elapsed: elapsed(x.Elapsed), Start: elapsed(start),
			X: share(start, total), W: share(x.Elapsed, total),
		}
		switch x.Result {
		case "passed", "failed", "cached", "cancelled":
			row.State = x.Result
		default:
			row.Result = "did not end"
		}
		row.X = min(row.X, 995)
		row.W = min(max(row.W, 5), 1000-row.X)
		t.Rows = append(t.Rows, row)
	}
	t.Total = elapsed(total)
	var parts []string
	for _, r := range []string{"passed", "cached", "failed", "cancelled"} {
		if results[r] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", results[r], r))
		}
	}
	t.Note = strings.Join(parts, ", ")
	return t
}

// share is d of total in thousandths.
func share(d, total time.Duration) int {
	if d <= 0 || total <= 0 {
		return 0
	}
	return int(min(float64(d)/float64(total), 1) * 1000)
}
