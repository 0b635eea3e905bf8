package main

import (
	"context"
	"fmt"
	"slices"
)

// repeats is how often each image stands in our list. Nothing that pathctl
// learns about one reference is kept for the next, so that the same image costs
// the same again; a longer list shows what a process does once it has started.
const repeats = 50

// throughput compares one process that judges all images with one process for
// each attestation, which is what cosign offers.
type throughput struct {
	Service string  `json:"service"`
	Images  int     `json:"images"`
	Ours    []usage `json:"ours"`
	Peers   []usage `json:"peers"`
}

// passes bounds how often ours judges the whole list; it takes seconds.
const passes = 3

// verifyAll measures some passes of ours over the images, and one of the peers,
// whose many processes even out by themselves.
func verifyAll(ctx context.Context, o *ours, p *peers, name string, n int, mine, theirs []string) (throughput, error) {
	r := throughput{Service: name, Images: len(mine)}
	list := slices.Repeat(mine, repeats)
	for range min(n, passes) {
		u, err := o.verify(ctx, list)
		if err != nil {
			return r, err
		}
		r.Ours = append(r.Ours, u)
	}
	for _, ref := range theirs {
		for _, a := range predicates {
			u, err := p.verifyAttestation(ctx, ref, a.typ)
			if err != nil {
				return r, err
			}
			r.Peers = append(r.Peers, u)
		}
	}
	return r, nil
}

func (t throughput) line() line {
	var ours []float64
	for _, u := range t.Ours {
		ours = append(ours, float64(t.Images*repeats)/u.Wall.Seconds())
	}
	l := line{Name: "verify-rate/" + t.Service, Unit: "/s", Ours: median(ours), Goal: "ratio at least 50"}
	if all := sum("", t.Peers).Wall.Seconds(); all > 0 {
		l.Peers = float64(len(t.Peers)/len(predicates)) / all
		l.Ratio = l.Ours / l.Peers
		l.Met = l.Ratio >= 50
	}
	l.Note = fmt.Sprintf("images with %d attestations each, %d of ours in a process", len(predicates), t.Images*repeats)
	return l
}
