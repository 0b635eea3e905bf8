package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The states of a waiver.
const (
	WaiverActive  = "active"
	WaiverExpired = "expired"
	WaiverUnused  = "unused"
	WaiverRefused = "refused"
	WaiverInvalid = "invalid"
)

// maxWaivers bounds how many a paths.yaml may hold.
const maxWaivers = 1000

// maxWaiverParam is the policy's parameter that bounds how far ahead a service
// may waive.
const maxWaiverParam = "maxWaiver"

// Where a waiver stands.
const (
	WaiverFromService     = "paths.yaml"
	WaiverFromVerifier    = "verifier"
	WaiverFromAttestation = "attestation"
)

// waivers are the waivers of one judgement.
type waivers struct{ list []Waiver }

// add checks each waiver by itself, at now. A longest of 0 is no bound.
func (w *waivers) add(from string, list []Waiver, now time.Time, longest time.Duration) {
	for _, x := range list {
		x.From, x.State, x.Covers = from, WaiverUnused, nil
		until, err := time.Parse(time.DateOnly, x.Expires)
		switch {
		case err != nil || strings.TrimSpace(x.ID) == "" || strings.TrimSpace(x.Reason) == "":
			x.State = WaiverInvalid
		case x.Why != "":
			x.State = WaiverRefused
		case !now.Before(until.AddDate(0, 0, 1)):
			x.State = WaiverExpired
		case longest > 0 && until.After(now.Add(longest)):
			x.State, x.Why = WaiverRefused, fmt.Sprintf("it ends more than %s ahead, the policy's %s", longest, maxWaiverParam)
		}
		w.list = append(w.list, x)
	}
}

// By says in words who waives.
func (x Waiver) By() string {
	switch {
	case x.From == WaiverFromService:
		return "the service's own paths.yaml"
	case x.From == WaiverFromVerifier:
		return "the verifier's own file"
	case x.Identity != nil:
		return x.Signer + " (" + x.Identity.Subject + ")"
	}
	return orElse(x.Signer, "nobody known")
}

// own is true for the service's own waivers: they cover findings, one by one, never
// all that a rule will ever find.
func (x *Waiver) own() bool { return x.From == WaiverFromService }

// cover looks for active waivers of one of a finding's ids, or of all that its rule
// finds, and notes that they cover what. note says what to add to a finding that an
// expired one would have covered.
func (w *waivers) cover(ids []string, rule, what string) (ok bool, note string) {
	for i := range w.list {
		x := &w.list[i]
		whole := x.ID == rule && (len(ids) == 0 || !x.own())
		if !whole && !slices.Contains(ids, x.ID) {
			continue
		}
		switch x.State {
		case WaiverUnused, WaiverActive:
			x.State = WaiverActive
			ok = true
		case WaiverExpired:
			note = fmt.Sprintf(" (its waiver expired on %s)", x.Expires)
		default:
			continue
		}
		if !slices.Contains(x.Covers, what) && len(x.Covers) < MaxDetails {
			x.Covers = append(x.Covers, what)
		}
	}
	if ok {
		note = ""
	}
	return ok, note
}

// refuse marks waivers of an id that can't be waived, or not by the service itself.
func (w *waivers) refuse(id string, ownOnly bool) {
	for i := range w.list {
		if x := &w.list[i]; x.ID == id && x.State == WaiverUnused && (!ownOnly || x.own()) {
			x.State = WaiverRefused
		}
	}
}

// readWaivers reads the waivers of a paths.yaml from the decoded config of a
// provenance. One that is not understood is kept as invalid: it covers nothing,
// and is shown.
func readWaivers(config map[string]any) ([]Waiver, error) {
	raw, ok := config["waivers"]
	if !ok || raw == nil {
		return nil, nil
	}
	list, ok := raw.([]any)
	if !ok {
		return nil, errors.New("waivers is no list")
	}
	if len(list) > maxWaivers {
		return nil, fmt.Errorf("%d waivers are more than %d", len(list), maxWaivers)
	}
	var out []Waiver
	for _, e := range list {
		m, _ := e.(map[string]any)
		field := func(k string) string { s, _ := m[k].(string); return clip(s, 500) }
		out = append(out, Waiver{ID: field("id"), Reason: field("reason"), Expires: field("expires")})
	}
	return out, nil
}
