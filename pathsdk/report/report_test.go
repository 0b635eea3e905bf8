package report_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/golden"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/report"
	"github.com/pavedpaths/paths/pathsdk/report/reporttest"
)

func write(t testing.TB, d report.Data) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := report.Write(&out, d); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func images() map[string]reporttest.Image {
	return map[string]reporttest.Image{
		"good": {Packages: 30, Vulns: 4},
		"bad":  {Packages: 30, Vulns: 6, Bad: true, Platforms: []string{"linux/amd64", "linux/arm64"}},
	}
}

// TestOutline compares what a page is made of: landmarks, headings, the graph,
// tables with their columns and rows. Words and looks may change.
func TestOutline(t *testing.T) {
	for name, im := range images() {
		t.Run(name, func(t *testing.T) {
			golden.Equal(t, ".txt", []byte(outline(parse(t, write(t, reporttest.Data(t, im))))))
		})
	}
}

// TestSays looks for what a reader must find.
func TestSays(t *testing.T) {
	good, bad := reporttest.Data(t, images()["good"]), reporttest.Data(t, images()["bad"])
	stripped := reporttest.Data(t, images()["good"])
	stripped.Timings = nil
	older := reporttest.Data(t, images()["good"])
	older.Path.Version = "0.2.0"
	garbled := reporttest.Data(t, images()["good"])
	for i := range garbled.Verdict.Evidence {
		garbled.Verdict.Evidence[i].Predicate = []byte(`{"x":`)
	}
	kev := reporttest.Data(t, images()["good"])
	kev.Verdict.KEV = "checked against kev.json, version 2026.02.28"
	tests := []struct {
		name string
		data report.Data
		want []string
		not  []string
	}{
		{"good", good, []string{
			"Passed", "Policy microservice accepts this image.", string(good.Verdict.Digest), string(good.Verdict.Policy.Digest),
			"SLSA Build level 1", "the build ran on a hosted platform", "not reached",
			"24 passed, 0 failed; 83.1 % of statements covered", "4c76bb580b2736d67751410fa4ab66d2b6b9b27d", "changed since",
			"36 by digest, of which 30 modules", "https://github.com/pavedpaths/paths/builders/workstation/v1",
			"not checked: no list of known exploited vulnerabilities was given", "made for tests and demos",
			"no listener on that port", "expired", "not affected", "vulnerable code not in execute path: the parser is never called",
			"the signature does not fit the statement", "nobody in the trust root signed it", "superseded", "vulnDBMaxAge", "None was found.",
		}, []string{"refuses", "No usable"}},
		{"bad", bad, []string{
			"Failed", "refuses this image: 3 findings. There are 2 warnings and 1 waived finding.", "Not every test passed", "Mend the tests",
			"example.com/team/orders.TestPayment", "aws-access-key-id", "source deploy/.env:3", "on index, linux/amd64, linux/arm64", "1 critical",
		}, []string{"accepts"}},
		{"without timings", stripped, []string{"No timings"}, []string{"Whole run", "2.21 s"}},
		{"of another version of the path", older, []string{"the image was made by microservice 0.1.0"}, nil},
		{"with predicates that can't be read", garbled, []string{"can't be shown: provenance predicate", "No usable SBOM", "No usable scan", "No usable test result", "No usable provenance", "No usable secret scan"}, nil},
		{"with nothing found by a small database", reporttest.Data(t, reporttest.Image{Packages: 1}), []string{"this says nothing about the image", "0 open", "by a small database"}, []string{"The scanner knows no vulnerability"}},
		{"with a KEV list", kev, []string{"checked against kev.json, version 2026.02.28"}, []string{"not checked"}},
		{"of nothing", report.Data{}, []string{"Failed", "No evidence was found", "No usable SBOM", "Known exploited"}, []string{"accepts"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := visible(parse(t, write(t, tt.data)))
			for _, w := range tt.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not on the page", w)
				}
			}
			for _, w := range tt.not {
				if strings.Contains(text, w) {
					t.Errorf("%q is on the page", w)
				}
			}
		})
	}
}

func TestSameDataSameBytes(t *testing.T) {
	d := reporttest.Data(t, reporttest.Image{Packages: 50, Vulns: 9, Name: hostile, Platforms: []string{"linux/arm64", "linux/amd64"}})
	before, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	first := write(t, d)
	for range 5 {
		if !bytes.Equal(first, write(t, d)) {
			t.Fatal("the same data gave other bytes")
		}
	}
	after, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Errorf("writing a report changed its data:\n%s", diff)
	}
}

// TestLoadsNothing checks that the page is one file, and that its security
// policy names its own script and style and nothing else.
func TestLoadsNothing(t *testing.T) {
	doc := parse(t, write(t, reporttest.Data(t, images()["bad"])))
	digest := func(tag string) string {
		all := find(doc, tag)
		if len(all) != 1 || attr(all[0], "src") != "" {
			t.Fatalf("%d elements %s, want one inline", len(all), tag)
		}
		sum := sha256.Sum256([]byte(content(all[0])))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	want := fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; base-uri 'none'; form-action 'none'", digest("script"), digest("style"))
	got := ""
	for _, m := range find(doc, "meta") {
		if attr(m, "http-equiv") == "Content-Security-Policy" {
			got = attr(m, "content")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content security policy (-want +got):\n%s", diff)
	}
	css := content(find(doc, "style")[0])
	for _, bad := range []string{"url(", "@import", "@font-face", "//"} {
		if strings.Contains(css, bad) {
			t.Errorf("the style has %s", bad)
		}
	}
	for _, tag := range []string{"img", "link", "iframe", "object", "embed", "audio", "video", "image", "use", "foreignobject", "base", "form"} {
		if n := len(find(doc, tag)); n > 0 {
			t.Errorf("%d elements %s", n, tag)
		}
	}
}

// TestLarge bounds the page, and says how to get what it leaves out.
func TestLarge(t *testing.T) {
	d := reporttest.Data(t, reporttest.Image{Packages: 5000, Vulns: 2500})
	for i := range 600 {
		d.Verdict.Evidence = append(d.Verdict.Evidence, policy.EvidenceStatus{Digest: reporttest.Digest(fmt.Sprint(i)), Status: policy.StatusForeign, Why: strings.Repeat("long ", 1000)})
	}
	for i := range 700 {
		d.Verdict.Findings = append(d.Verdict.Findings, policy.Finding{Rule: fmt.Sprint("rule-", i), Severity: policy.SeverityWarning, Reason: strings.Repeat("x", 100_000)})
	}
	page := write(t, d)
	if limit := 4 << 20; len(page) > limit {
		t.Errorf("%d bytes are more than %d", len(page), limit)
	}
	doc := parse(t, page)
	for table, want := range map[string]int{"packages-table": 2000, "vulnerabilities-table": 1000, "evidence-table": 500, "dependencies-table": 500} {
		if got := len(rows(doc, table)); got != want {
			t.Errorf("%s has %d rows, want %d", table, got, want)
		}
	}
	text := visible(doc)
	for _, want := range []string{
		"The first 2,000 of 5,000 by name are shown. All of them: pathctl evidence get " + d.Verdict.Reference + " spdx",
		"The worst 1,000 of 2,500 are shown. All of them: pathctl evidence get " + d.Verdict.Reference + " vulns",
		"500 of 610 referrers are shown. All of them: pathctl evidence ls " + d.Verdict.Reference,
		"There are 702 warnings and 1 waived finding.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
}

func TestParseTimings(t *testing.T) {
	got, err := report.ParseTimings([]byte(`[{"node":"build","zone":"build","result":"passed","started":"2026-03-01T12:00:00Z","elapsed":1500000000}]`))
	want := []report.Timing{{Node: "build", Zone: "build", Result: "passed", Started: reporttest.Now(), Elapsed: 1_500_000_000}}
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
	for name, raw := range map[string]string{
		"no JSON":  "{",
		"no list":  `{"node":"build"}`,
		"no UTF-8": "[{\"node\":\"\xff\"}]",
		"no time":  `[{"started":"yesterday"}]`,
		"too many": "[" + strings.Repeat("{},", 500) + "{}]",
		"too long": strings.Repeat(" ", report.MaxTimings) + "[]",
	} {
		if _, err := report.ParseTimings([]byte(raw)); err == nil || !strings.HasPrefix(err.Error(), "timings: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	d := reporttest.Data(b, reporttest.Image{Packages: 300, Vulns: 20})
	b.ReportAllocs()
	for b.Loop() {
		write(b, d)
	}
}
