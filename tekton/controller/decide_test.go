package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	testDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	testBundle = "registry.example/paths/bundle@" + testDigest
	testUID    = "5f0c7a3e-1111-4222-8333-444455556666"
)

func testConfig() Config {
	return Config{
		Destination: "registry.example:5000/evidence/{tenant}", Verify: true, Signers: 8, Timeout: 30 * time.Minute,
		RetryBase: 15 * time.Second, RetryMax: 10 * time.Minute, RetryWindow: time.Hour, Retention: 24 * time.Hour,
		CollectEvery: time.Hour, Workers: 4, ErrorBackoff: time.Millisecond, ErrorBackoffMax: 20 * time.Millisecond,
	}
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	good := run{
		namespace: "paths-build-a", name: "r", uid: testUID, held: true, done: true, ok: true, ended: ago(5 * time.Minute),
		bundle: testBundle, wanted: "registry.example:5000/evidence/a/orders:v1",
	}
	with := func(change func(*run)) run { r := good; change(&r); return r }
	sign := func(n int, change func(*try)) try {
		t := try{stage: "sign", number: n, created: ago(4 * time.Minute), ended: ago(3 * time.Minute), done: true}
		change(&t)
		return t
	}
	running := func(t *try) { t.done = false }
	worked := func(t *try) { t.ok, t.image = true, testDigest }
	no := func(t *try) { t.refused, t.why = true, "the source is not reviewed" }
	broke := func(t *try) { t.why = "PodEvicted: gone" }
	verify := func(t try) try { t.stage = "verify"; return t }
	settled := "settle signed true"

	for name, tt := range map[string]struct {
		run   run
		tries []try
		want  string
	}{
		"new":                       {with(func(r *run) { r.done, r.held = false, false }), nil, "hold"},
		"running":                   {with(func(r *run) { r.done = false }), nil, "wait"},
		"deleted before it ended":   {with(func(r *run) { r.done, r.deleting = false, true }), nil, "settle released no: the run was deleted before it ended"},
		"deleted and not held":      {with(func(r *run) { r.done, r.deleting, r.held = false, true, false }), nil, "wait"},
		"failed":                    {with(func(r *run) { r.ok = false }), nil, "settle failed no: the run failed"},
		"failed, never held":        {with(func(r *run) { r.ok, r.held = false, false }), nil, "settle failed no: the run failed"},
		"failed and told":           {with(func(r *run) { r.ok, r.held, r.note = false, false, "no: the run failed" }), nil, "wait"},
		"failed, told, still held":  {with(func(r *run) { r.ok, r.note = false, "no: the run failed" }), nil, "settle failed no: the run failed"},
		"failed and says true":      {with(func(r *run) { r.ok, r.held, r.note = false, false, "true" }), nil, "settle failed no: the run failed"},
		"failed and deleted":        {with(func(r *run) { r.ok, r.deleting = false, true }), nil, "settle failed no: the run failed"},
		"succeeded":                 {good, nil, "start sign 0"},
		"no image":                  {with(func(r *run) { r.wanted = "" }), nil, `settle refused no: the parameter image is not HOST/NAME or HOST/NAME:TAG: ""`},
		"an image by digest":        {with(func(r *run) { r.wanted += "@sha256:0" }), nil, `settle refused no: the parameter image is not HOST/NAME or HOST/NAME:TAG: "registry.example:5000/evidence/a/orders:v1@sha256:0"`},
		"a neighbour's image":       {with(func(r *run) { r.wanted = "registry.example:5000/evidence/ab/orders" }), nil, `settle refused no: the parameter image is "registry.example:5000/evidence/ab/orders", and images of paths-build-a go below registry.example:5000/evidence/a/`},
		"a path to the neighbour":   {with(func(r *run) { r.wanted = "registry.example:5000/evidence/a/../b" }), nil, `settle refused no: the parameter image is not HOST/NAME or HOST/NAME:TAG: "registry.example:5000/evidence/a/../b"`},
		"succeeded, never held":     {with(func(r *run) { r.held = false }), nil, "hold"},
		"succeeded, says true":      {with(func(r *run) { r.note = "true" }), nil, "start sign 0"},
		"succeeded and deleted":     {with(func(r *run) { r.deleting = true }), nil, "start sign 0"},
		"deleted by force":          {with(func(r *run) { r.deleting, r.held = true, false }), nil, "start sign 0"},
		"long ago, not held":        {with(func(r *run) { r.held, r.ended = false, ago(25*time.Hour) }), nil, "wait"},
		"long ago, half collected":  {with(func(r *run) { r.held, r.ended = false, ago(25*time.Hour) }), []try{verify(sign(0, worked))}, "wait"},
		"long ago, held":            {with(func(r *run) { r.ended = ago(25 * time.Hour) }), nil, "start sign 0"},
		"signed nobody knows what":  {good, []try{sign(0, func(t *try) { t.ok = true })}, `settle refused no: attest did not say which image it has signed: ""`},
		"signed with an escape":     {good, []try{sign(0, func(t *try) { t.ok, t.image = true, "\x1b]0;x\a" })}, `settle refused no: attest did not say which image it has signed: "]0;x"`},
		"no bundle":                 {with(func(r *run) { r.bundle = "" }), nil, "settle refused no: its Pipeline is not from a bundle"},
		"another bundle":            {with(func(r *run) { r.bundle = "x@" + testDigest }), nil, "settle refused no: its Pipeline is not from a trusted bundle"},
		"signing":                   {good, []try{sign(0, running)}, "wait"},
		"attested":                  {good, []try{sign(0, worked)}, "start verify 0"},
		"verifying":                 {good, []try{sign(0, worked), verify(sign(0, running))}, "wait"},
		"verified":                  {good, []try{sign(0, worked), verify(sign(0, worked))}, settled},
		"verified and told":         {with(func(r *run) { r.held, r.note, r.signed = false, "true", testDigest }), []try{sign(0, worked), verify(sign(0, worked))}, "wait"},
		"verified, told otherwise":  {with(func(r *run) { r.held, r.note = false, "no" }), []try{sign(0, worked), verify(sign(0, worked))}, settled},
		"verified, another image":   {with(func(r *run) { r.held, r.note, r.signed = false, "true", "x" }), []try{sign(0, worked), verify(sign(0, worked))}, settled},
		"verified, finalizer again": {with(func(r *run) { r.note, r.signed = "true", testDigest }), []try{sign(0, worked), verify(sign(0, worked))}, settled},
		"verified and deleted":      {with(func(r *run) { r.deleting = true }), []try{sign(0, worked), verify(sign(0, worked))}, settled},
		"attester says no":          {good, []try{sign(0, no)}, "settle refused no: attest said no: the source is not reviewed"},
		"verifier says no":          {good, []try{sign(0, worked), verify(sign(0, no))}, "settle refused no: verify said no: the source is not reviewed"},
		"no after a break":          {good, []try{sign(0, broke), sign(1, no)}, "settle refused"},
		"broke, time is up":         {good, []try{sign(0, broke)}, "start sign 1 SigningRetried attempt 1 to attest failed and is made again: PodEvicted: gone"},
		"broke just now":            {good, []try{sign(0, func(t *try) { broke(t); t.ended = ago(5 * time.Second) })}, "wait 10s"},
		"broke again":               {good, []try{sign(0, broke), sign(1, func(t *try) { broke(t); t.ended = ago(5 * time.Second) })}, "wait 25s"},
		"broke, then runs":          {good, []try{sign(0, broke), sign(1, running)}, "wait"},
		"broke, then worked":        {good, []try{sign(1, worked), sign(0, broke)}, "start verify 0"},
		"the first is gone":         {good, []try{sign(2, broke)}, "start sign 3"},
		"broke for an hour":         {good, []try{sign(0, func(t *try) { broke(t); t.created = ago(2 * time.Hour) }), sign(9, func(t *try) { broke(t); t.ended = ago(time.Hour) })}, "settle gave_up no: gave up after 10 attempts: PodEvicted: gone"},
		"verifier broke":            {good, []try{sign(0, worked), verify(sign(0, broke))}, "start verify 1"},
		"results gone after it":     {with(func(r *run) { r.bundle = "" }), []try{sign(0, worked), verify(sign(0, worked))}, settled},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			a := decide(tt.run, tt.tries, &cfg, func(b string) bool { return b == testBundle }, now)
			got := [...]string{"wait", "hold", "start", "settle"}[a.do]
			switch {
			case a.do == start:
				got += fmt.Sprintf(" %s %d %s %s", a.stage.prefix, a.number, a.event.reason, a.event.message)
			case a.do == settle:
				got += " " + a.outcome + " " + a.note
			case a.after > 0:
				got += " " + a.after.String()
			}
			if got != tt.want && (a.do < start || !strings.HasPrefix(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if a.do == settle && a.event.id == "" {
				t.Error("nothing is told")
			}
		})
	}
}

func TestDecideWithoutVerifier(t *testing.T) {
	cfg := testConfig()
	cfg.Verify = false
	end := time.Now()
	r := run{held: true, done: true, ok: true, ended: end.Add(-time.Minute)}
	a := decide(r, []try{{stage: "sign", done: true, ok: true, ended: end, image: testDigest}}, &cfg, nil, end)
	if a.do != settle || a.outcome != signed || a.latency != time.Minute || a.image != testDigest {
		t.Errorf("got %+v", a)
	}
}

// TestBackoff: what signing needs may be away for five minutes, and the attempts that are
// made meanwhile are few.
func TestBackoff(t *testing.T) {
	cfg := testConfig()
	var at time.Duration
	var n, early int
	for ; at <= cfg.RetryWindow; n++ {
		if at < 5*time.Minute {
			early++
		}
		at += cfg.backoff(n)
	}
	if n < 8 || n > 15 || early > 6 {
		t.Errorf("%d attempts, %d of them within five minutes", n, early)
	}
	if d := cfg.backoff(1 << 30); d != cfg.RetryMax {
		t.Errorf("backoff ends at %s", d)
	}
}
