package main

import (
	"fmt"
	"io"
	"time"
)

// line is one comparison as it is printed.
type line struct {
	Name  string  `json:"name"`
	Ratio float64 `json:"ratio"`
	Ours  float64 `json:"ours"`
	Peers float64 `json:"peers"`
	Unit  string  `json:"unit"`
	Goal  string  `json:"goal"`
	Met   bool    `json:"met"`
	Note  string  `json:"note,omitempty"`
}

func (l line) write(w io.Writer) {
	met := "met"
	if !l.Met {
		met = "MISSED"
	}
	note := ""
	if l.Note != "" {
		note = "  (" + l.Note + ")"
	}
	fmt.Fprintf(w, "%-24s ratio=%-6.3f ours=%-9s peers=%-9s goal: %s: %s%s\n", l.Name, l.Ratio, figure(l.Ours, l.Unit), figure(l.Peers, l.Unit), l.Goal, met, note)
}

func figure(v float64, unit string) string {
	switch unit {
	case "s":
		if v < 1 {
			return fmt.Sprintf("%.0fms", v*1000)
		}
		return fmt.Sprintf("%.2fs", v)
	case "MiB":
		return fmt.Sprintf("%.0fMiB", v)
	}
	return fmt.Sprintf("%.1f%s", v, unit)
}

// compare makes a line of two amounts of the same unit, where less is better and
// ours is to be at most limit times the peers'.
func compare(name, unit string, ours, peers, limit float64) line {
	l := line{Name: name, Ours: ours, Peers: peers, Unit: unit, Goal: fmt.Sprintf("ratio at most %.3g", limit)}
	if peers > 0 {
		l.Ratio = ours / peers
		l.Met = l.Ratio <= limit
	}
	return l
}

func seconds[T any](list []T, of func(T) time.Duration) float64 {
	all := make([]float64, len(list))
	for i, v := range list {
		all[i] = of(v).Seconds()
	}
	return median(all)
}

func mebibytes[T any](list []T, of func(T) int64) float64 {
	all := make([]float64, len(list))
	for i, v := range list {
		all[i] = float64(of(v)) / (1 << 20)
	}
	return median(all)
}

// round is one edit, and one run without a change after it.
type round struct {
	Ours      shipRun  `json:"ours"`
	Peers     peersRun `json:"peers"`
	Alone     usage    `json:"goAlone"` // go test and go build, with the same edit
	OursSame  shipRun  `json:"oursUnchanged"`
	PeersSame peersRun `json:"peersUnchanged"`
}

// serviceResult is all that was measured with one service.
type serviceResult struct {
	Service  string   `json:"service"`
	Rounds   []round  `json:"rounds"`
	Likeness likeness `json:"likeness"`
}

// lines are the goals of the issue that concern whole runs.
func (r serviceResult) lines() []line {
	name := func(s string) string { return s + "/" + r.Service }
	ship := func(x round) time.Duration { return x.Ours.Ship.Wall }
	alone := func(x round) time.Duration { return x.Alone.Wall }
	over := seconds(r.Rounds, func(x round) time.Duration { return ship(x) - alone(x) })
	d := line{Name: name("over-go"), Unit: "s", Ours: seconds(r.Rounds, ship), Peers: seconds(r.Rounds, alone), Goal: "at most 1.0s above go build + go test",
		Met: over <= 1, Note: fmt.Sprintf("%.2fs above; peers' %.2fs", over, seconds(r.Rounds, func(x round) time.Duration { return x.Peers.Total.Wall - x.Alone.Wall }))}
	if d.Peers > 0 {
		d.Ratio = d.Ours / d.Peers
	}
	peak := compare(name("peak-memory"), "MiB",
		mebibytes(r.Rounds, func(x round) int64 { return x.Ours.Ship.Peak }),
		mebibytes(r.Rounds, func(x round) int64 { return x.Peers.Total.Peak }), 1)
	peak.Note = "the largest process of each side"
	return []line{
		compare(name("edit-wall"), "s", seconds(r.Rounds, ship), seconds(r.Rounds, func(x round) time.Duration { return x.Peers.Total.Wall }), 0.5),
		compare(name("edit-cpu"), "s", seconds(r.Rounds, func(x round) time.Duration { return x.Ours.Ship.CPU }), seconds(r.Rounds, func(x round) time.Duration { return x.Peers.Total.CPU }), 0.5),
		compare(name("unchanged-wall"), "s", seconds(r.Rounds, func(x round) time.Duration { return x.OursSame.Ship.Wall }), seconds(r.Rounds, func(x round) time.Duration { return x.PeersSame.Total.Wall }), 0.1),
		compare(name("unchanged-cpu"), "s", seconds(r.Rounds, func(x round) time.Duration { return x.OursSame.Ship.CPU }), seconds(r.Rounds, func(x round) time.Duration { return x.PeersSame.Total.CPU }), 0.1),
		compare(name("sbom-to-verify"), "s", seconds(r.Rounds, func(x round) time.Duration { return x.Ours.Attest }), seconds(r.Rounds, func(x round) time.Duration { return x.Peers.Attest.Wall }), 1.0/6),
		d,
		peak,
	}
}

// lines are the goals that concern the start of a process.
func (c coldStart) lines() []line {
	var all []line
	for _, cache := range []struct {
		name  string
		runs  map[string][]time.Duration
		limit float64
	}{{"warm", c.Warm, 0.060}, {"evicted", c.Evicted, 0.200}} {
		peer, best := fastest(cache.runs, func(n string) bool { return !isOurs(n) })
		for _, verb := range []string{"version", "help"} {
			l := compare("start-"+verb+"-"+cache.name, "s", median(cache.runs[startOurs+verb]).Seconds(), best.Seconds(), 1)
			l.Goal = fmt.Sprintf("below each peer and %.0fms", cache.limit*1000)
			l.Met = l.Ratio < 1 && l.Ours < cache.limit
			l.Note = "the fastest peer is " + peer
			all = append(all, l)
		}
	}
	return all
}
