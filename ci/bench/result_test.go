package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.list); got != c.want {
			t.Errorf("median(%v) is %v, want %v", c.list, got, c.want)
		}
	}
}

func TestLines(t *testing.T) {
	r := round{Alone: usage{Wall: 2 * time.Second}}
	r.Ours.Ship = usage{Wall: 2500 * time.Millisecond, CPU: 4 * time.Second, Peak: 200 << 20}
	r.Ours.Attest = 400 * time.Millisecond
	r.Peers.Total = usage{Wall: 5 * time.Second, CPU: 6 * time.Second, Peak: 100 << 20}
	r.Peers.Attest = usage{Wall: 4 * time.Second}
	r.OursSame.Ship, r.PeersSame.Total = usage{Wall: time.Second, CPU: time.Second}, usage{Wall: 10 * time.Second, CPU: 5 * time.Second}
	var out bytes.Buffer
	for _, l := range (serviceResult{Service: "x", Rounds: []round{r}}).lines() {
		l.write(&out)
	}
	want := []string{
		"edit-wall/x ratio=0.500 ours=2.50s peers=5.00s goal: ratio at most 0.5: met",
		"edit-cpu/x ratio=0.667 ours=4.00s peers=6.00s goal: ratio at most 0.5: MISSED",
		"unchanged-wall/x ratio=0.100 ours=1.00s peers=10.00s goal: ratio at most 0.1: met",
		"unchanged-cpu/x ratio=0.200 ours=1.00s peers=5.00s goal: ratio at most 0.1: MISSED",
		"sbom-to-verify/x ratio=0.100 ours=400ms peers=4.00s goal: ratio at most 0.167: met",
		"over-go/x ratio=1.250 ours=2.50s peers=2.00s goal: at most 1.0s above go build + go test: met (0.50s above; peers' 3.00s)",
		"peak-memory/x ratio=2.000 ours=200MiB peers=100MiB goal: ratio at most 1: MISSED (the largest process of each side)",
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, l := range got {
		if l := strings.Join(strings.Fields(l), " "); i >= len(want) || l != want[i] {
			t.Errorf("line %d: %s", i, l)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
}

func TestStartsCompareWithTheFastestPeer(t *testing.T) {
	runs := map[string][]time.Duration{
		"pathctl version": {20 * time.Millisecond}, "pathctl help": {70 * time.Millisecond},
		"a --version": {90 * time.Millisecond}, "b version": {80 * time.Millisecond},
	}
	lines := coldStart{Warm: runs, Evicted: runs}.lines()
	for i, met := range []bool{true, false, true, true} { // version and help: warm below 60 ms, evicted below 200
		if l := lines[i]; l.Met != met || l.Peers != 0.08 || !strings.Contains(l.Note, "b version") {
			t.Errorf("%+v, want met %v against b version", l, met)
		}
	}
}

func TestModules(t *testing.T) {
	var d spdx
	doc := `{"packages":[{"externalRefs":[
		{"referenceType":"purl","referenceLocator":"pkg:golang/github.com/A/b@v1.0.0?type=module#sub"},
		{"referenceType":"cpe23Type","referenceLocator":"pkg:golang/no"}]},
		{"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/libc6@2"}]}]}`
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatal(err)
	}
	if got := d.modules(); len(got) != 1 || !got["github.com/a/b@v1.0.0"] {
		t.Errorf("got %v", got)
	}
}

// An edit that comes twice, or leaves the code as it was, would measure caches.
func TestEditedDiffers(t *testing.T) {
	a, b := edited([]byte("package x\n"), "1"), edited([]byte("package x\n"), "2")
	if bytes.Equal(a, b) || !bytes.HasPrefix(a, []byte("package x\n")) || !bytes.Contains(a, []byte(`edition = "1"`)) {
		t.Errorf("%s\n%s", a, b)
	}
}
