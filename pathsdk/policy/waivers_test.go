package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var someday = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func waiversOf(from string, list ...Waiver) *waivers {
	w := &waivers{}
	w.add(from, list, someday, 0)
	return w
}

func TestWaiverStates(t *testing.T) {
	ok := Waiver{ID: "CVE-1", Reason: "never called", Expires: "2026-03-02"}
	for name, c := range map[string]struct {
		change  func(*Waiver)
		longest time.Duration
		want    string
	}{
		"good":                {func(*Waiver) {}, 0, WaiverUnused},
		"as long as may be":   {func(*Waiver) {}, 12 * time.Hour, WaiverUnused},
		"a moment too long":   {func(*Waiver) {}, 12*time.Hour - 1, WaiverRefused},
		"on its last day":     {func(w *Waiver) { w.Expires = "2026-03-01" }, 0, WaiverUnused},
		"over":                {func(w *Waiver) { w.Expires = "2026-02-28" }, 0, WaiverExpired},
		"without an id":       {func(w *Waiver) { w.ID = " " }, 0, WaiverInvalid},
		"without a reason":    {func(w *Waiver) { w.Reason = "\t" }, 0, WaiverInvalid},
		"without an end":      {func(w *Waiver) { w.Expires = "" }, 0, WaiverInvalid},
		"refused before":      {func(w *Waiver) { w.Why = "not its signer's" }, 0, WaiverRefused},
		"that calls itself":   {func(w *Waiver) { w.State, w.From, w.Covers = WaiverActive, WaiverFromVerifier, []string{"x"} }, 0, WaiverUnused},
		"invalid and refused": {func(w *Waiver) { w.ID, w.Why = "", "x" }, 0, WaiverInvalid},
	} {
		x := ok
		c.change(&x)
		var w waivers
		w.add(WaiverFromService, []Waiver{x}, someday, c.longest)
		if got := w.list[0]; got.State != c.want || got.From != WaiverFromService || got.Covers != nil {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
	midnight := someday.Truncate(24*time.Hour).AddDate(0, 0, 2)
	var w waivers
	w.add(WaiverFromService, []Waiver{ok}, midnight, 0)
	if w.list[0].State != WaiverExpired {
		t.Errorf("the first moment after its last day: %s", w.list[0].State)
	}
}

func TestCover(t *testing.T) {
	const rule = "vulnerabilities"
	by := func(id string) Waiver { return Waiver{ID: id, Reason: "never called", Expires: "2026-03-02"} }
	late := Waiver{ID: "CVE-1", Reason: "never called", Expires: "2026-02-28"}
	for name, c := range map[string]struct {
		w    *waivers
		ids  []string
		ok   bool
		note string
	}{
		"its id":                     {waiversOf(WaiverFromService, by("CVE-1")), []string{"GHSA-1", "CVE-1"}, true, ""},
		"another id":                 {waiversOf(WaiverFromService, by("CVE-2")), []string{"CVE-1"}, false, ""},
		"a whole rule, its own":      {waiversOf(WaiverFromService, by(rule)), []string{"CVE-1"}, false, ""},
		"a whole rule without ids":   {waiversOf(WaiverFromService, by(rule)), nil, true, ""},
		"a whole rule, the judge's":  {waiversOf(WaiverFromVerifier, by(rule)), []string{"CVE-1"}, true, ""},
		"expired":                    {waiversOf(WaiverFromService, late), []string{"CVE-1"}, false, " (its waiver expired on 2026-02-28)"},
		"expired, and a good one":    {waiversOf(WaiverFromService, late, by("CVE-1")), []string{"CVE-1"}, true, ""},
		"expired, after a good one":  {waiversOf(WaiverFromService, by("CVE-1"), late), []string{"CVE-1"}, true, ""},
		"invalid":                    {waiversOf(WaiverFromService, Waiver{ID: "CVE-1"}), []string{"CVE-1"}, false, ""},
		"refused, and one that runs": {waiversOf(WaiverFromService, Waiver{ID: "CVE-1", Reason: "x", Expires: "2026-03-02", Why: "no"}, by("CVE-1")), []string{"CVE-1"}, true, ""},
	} {
		if ok, note := c.w.cover(c.ids, rule, "what"); ok != c.ok || note != c.note {
			t.Errorf("%s: %t %q, want %t %q", name, ok, note, c.ok, c.note)
		}
		for _, x := range c.w.list {
			if (x.State == WaiverInvalid || x.State == WaiverRefused || x.State == WaiverUnused) && x.Covers != nil {
				t.Errorf("%s: what is %s covers %q", name, x.State, x.Covers)
			}
		}
	}

	w := waiversOf(WaiverFromService, by("CVE-1"), by("CVE-2"))
	for i := range MaxDetails + 1 {
		w.cover([]string{"CVE-1"}, rule, fmt.Sprint(i))
		w.cover([]string{"CVE-1"}, rule, fmt.Sprint(i))
	}
	if x := w.list[0]; x.State != WaiverActive || len(x.Covers) != MaxDetails || x.Covers[1] != "1" {
		t.Errorf("%s, covers %d", x.State, len(x.Covers))
	}
	if x := w.list[1]; x.State != WaiverUnused || x.Covers != nil {
		t.Errorf("%+v", x)
	}
}

func TestRefuse(t *testing.T) {
	by := func(id string) Waiver { return Waiver{ID: id, Reason: "never called", Expires: "2026-03-02"} }
	w := &waivers{}
	w.add(WaiverFromService, []Waiver{by("a"), by("b"), {ID: "a"}}, someday, 0)
	w.add(WaiverFromVerifier, []Waiver{by("a"), by("b")}, someday, 0)
	w.refuse("a", false)
	w.refuse("b", true)
	var got []string
	for _, x := range w.list {
		got = append(got, x.State)
	}
	if want := []string{WaiverRefused, WaiverRefused, WaiverInvalid, WaiverRefused, WaiverUnused}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBy(t *testing.T) {
	for want, x := range map[string]Waiver{
		"the service's own paths.yaml":    {From: WaiverFromService, Signer: "x"},
		"the verifier's own file":         {From: WaiverFromVerifier, Signer: "x"},
		"security (security@example.com)": {From: WaiverFromAttestation, Signer: "security", Identity: &Identity{Subject: "security@example.com"}},
		"security":                        {From: WaiverFromAttestation, Signer: "security"},
		"nobody known":                    {},
	} {
		if got := x.By(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestReadWaivers(t *testing.T) {
	one := map[string]any{"id": "CVE-1", "reason": "never called", "expires": "2026-03-02"}
	for name, c := range map[string]struct {
		config map[string]any
		want   int
		ok     bool
	}{
		"none":             {map[string]any{}, 0, true},
		"null":             {map[string]any{"waivers": nil}, 0, true},
		"one":              {map[string]any{"waivers": []any{one}}, 1, true},
		"no list":          {map[string]any{"waivers": one}, 0, false},
		"as many as allow": {map[string]any{"waivers": slices.Repeat([]any{one}, maxWaivers)}, maxWaivers, true},
		"more":             {map[string]any{"waivers": slices.Repeat([]any{one}, maxWaivers+1)}, 0, false},
	} {
		got, err := readWaivers(c.config)
		if len(got) != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %d, %v", name, len(got), err)
		}
	}
	got, err := readWaivers(map[string]any{"waivers": []any{one, "x"}})
	want := []Waiver{{ID: "CVE-1", Reason: "never called", Expires: "2026-03-02"}, {}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
