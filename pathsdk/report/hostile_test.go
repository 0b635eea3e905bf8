package report_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/report"
	"github.com/pavedpaths/paths/pathsdk/report/reporttest"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// hostile tries to leave each context in which text may stand: elements,
// attributes in either quotes, comments, scripts, styles, SVG, templates,
// addresses; and it turns the direction of what follows.
const hostile = "x\"'><script>alert(1)</script></title></style></svg><img src=//evil.invalid/x onerror=alert(2)>" +
	"--><!--{{.Digest}}`${alert(3)}` javascript:alert(4) &lt;b&gt; style=\"color:red\" \u202egnp.exe\u2066\u200b\u0007\x00\u2028"

// TestHostileEvidence is an image whose names are all hostile.
func TestHostileEvidence(t *testing.T) {
	d := reporttest.Data(t, reporttest.Image{Packages: 6, Vulns: 6, Bad: true, Name: hostile, Platforms: []string{"linux/amd64", "linux/arm64"}})
	harmless(t, write(t, d), 20)
}

// TestHostileVerdict poisons every string of a verdict, a path and timings,
// which no image can do, but a page must bear.
func TestHostileVerdict(t *testing.T) {
	d := reporttest.Data(t, reporttest.Image{Packages: 6, Vulns: 6, Bad: true, Platforms: []string{"linux/amd64", "linux/arm64"}})
	d.Verdict.Evidence = append(d.Verdict.Evidence, policy.EvidenceStatus{Status: policy.StatusUsed, Type: "https://in-toto.io/x", Predicate: json.RawMessage("{}")})
	poison(reflect.ValueOf(&d.Verdict), false)
	poison(reflect.ValueOf(&d.Timings), false)
	poison(reflect.ValueOf(&d.Path), false)
	harmless(t, write(t, d), 50)
}

// TestHostileAddress links nothing that is not a plain https page.
func TestHostileAddress(t *testing.T) {
	for _, address := range []string{"javascript:alert(1)", "data:text/html,<script>", "http://example.com/", "https://", "//evil.invalid", "https://user:pass@example.com/", "JaVaScRiPt:alert(1)", " https://example.com", "file:///etc/passwd"} {
		d := withVuln(t, map[string]any{"package": "p", "url": address})
		for _, a := range find(parse(t, write(t, d)), "a") {
			if h := attr(a, "href"); !strings.HasPrefix(h, "#") {
				t.Errorf("%q became the link %q", address, h)
			}
		}
	}
	d := withVuln(t, map[string]any{"package": "p", "url": "https://example.com/a?b=\"><script>"})
	if !strings.Contains(string(write(t, d)), `href="https://example.com/a?b=%22%3e%3cscript%3e" rel="noopener noreferrer"`) {
		t.Error("a page on https is no link")
	}
}

// TestOddAnnotations are of kinds that nobody expects.
func TestOddAnnotations(t *testing.T) {
	for _, a := range []map[string]any{
		nil, {"package": 1, "version": []any{}}, {"aliases": "GHSA-1"}, {"vex": "not_affected"}, {"vex": map[string]any{"status": 5}}, {"url": map[string]any{}},
	} {
		if got := len(rows(parse(t, write(t, withVuln(t, a))), "vulnerabilities-table")); got != 1 {
			t.Errorf("%v: %d rows", a, got)
		}
	}
}

// withVuln is an image with one finding that has these annotations.
func withVuln(t testing.TB, a map[string]any) report.Data {
	t.Helper()
	raw, err := evidence.VulnsV02{
		Scanner: evidence.VulnScanner{URI: "pkg:x/y", DB: evidence.VulnDB{LastUpdate: reporttest.Now()}, Result: []evidence.VulnResult{
			{ID: "CVE-1", Severity: []evidence.VulnSeverity{{Method: "nvd", Score: "high"}}, Annotations: []map[string]any{a}},
		}},
		Metadata: evidence.VulnMetadata{ScanStartedOn: reporttest.Now(), ScanFinishedOn: reporttest.Now()},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return report.Data{Verdict: policy.Verdict{Evidence: []policy.EvidenceStatus{{Type: evidence.Vulns.URI, Status: policy.StatusUsed, Predicate: raw}}}}
}

// poison appends to every string below v. What the page takes for a class or a
// type stays, once in a while.
func poison(v reflect.Value, keep bool) {
	switch v.Kind() {
	case reflect.Pointer:
		poison(v.Elem(), keep)
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			poison(v.Field(i), v.Type() == reflect.TypeFor[policy.EvidenceStatus]() && (name == "Type" || name == "Status" || name == "Subject"))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			// Every fifth has its types poisoned as well.
			poison(v.Index(i), keep)
			if e, ok := v.Index(i).Addr().Interface().(*policy.EvidenceStatus); ok && i%5 == 4 {
				e.Type, e.Status, e.Subject = e.Type+hostile, e.Status+hostile, e.Subject+hostile
			}
		}
	case reflect.Map:
		out := reflect.MakeMap(v.Type())
		for _, k := range v.MapKeys() {
			x := reflect.New(v.Type().Elem()).Elem()
			x.Set(v.MapIndex(k))
			poison(x, keep)
			out.SetMapIndex(k, x)
		}
		if v.Len() > 0 {
			v.Set(out)
		}
	case reflect.Interface:
		if s, ok := v.Interface().(string); ok {
			v.Set(reflect.ValueOf(s + hostile))
		}
	case reflect.String:
		if !keep && v.CanSet() {
			v.SetString(v.String() + hostile)
		}
	}
}

// harmless checks that a page is only what its template has, whatever stands in
// it, and that the hostile text is there to be read.
func harmless(t testing.TB, page []byte, atLeast int) {
	t.Helper()
	doc := parse(t, page)
	allowed := strings.Fields("html head meta title style body a header div p svg path h1 span dl dt dd time nav main ul li strong section h2 h3 code details summary g rect text defs marker table caption thead tbody tr th td label input output em footer script")
	for _, n := range find(doc, "*") {
		if !slices.Contains(allowed, n.Data) {
			t.Errorf("element %s", n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "src", a.Key == "style", a.Key == "xlink:href", a.Key == "srcdoc":
				t.Errorf("%s has the attribute %s", n.Data, a.Key)
			case a.Key == "href" && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "https://"):
				t.Errorf("link to %q", a.Val)
			case a.Key == "class" && strings.ContainsAny(a.Val, "<>\"'"):
				// Quotes in a class do no harm, but no class of ours has them.
				if !strings.Contains(a.Val, "[U+202E]") {
					t.Errorf("class %q", a.Val)
				}
			}
		}
	}
	if n := len(find(doc, "script")); n != 1 {
		t.Errorf("%d scripts", n)
	}
	for c := range doc.Descendants() {
		if c.Type == html.CommentNode {
			t.Errorf("comment %q", c.Data)
		}
	}
	if i := strings.IndexFunc(string(page), func(r rune) bool {
		return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == unicode.ReplacementChar
	}); i >= 0 {
		t.Errorf("invisible character at %d: %q", i, page[max(i-80, 0):min(i+20, len(page))])
	}
	if n := strings.Count(visible(doc), "<script>alert(1)</script>"); n < atLeast {
		t.Errorf("the hostile text is visible %d times, want %d", n, atLeast)
	}
	if !strings.Contains(visible(doc), "[U+202E]gnp.exe[U+2066][U+200B][U+0007][U+0000]") {
		t.Error("what turns text is not shown")
	}
}

func FuzzPredicate(f *testing.F) {
	d := reporttest.Data(f, reporttest.Image{Packages: 1, Vulns: 1, Name: "<b>"})
	for i, e := range d.Verdict.Evidence {
		f.Add(uint8(i), []byte(e.Predicate))
	}
	f.Add(uint8(1), []byte(`{"attributes":[{"attribute":"x","conditions":{"secrets":[{"line":-1}],"image":{"files":1e3}}}]}`))
	f.Fuzz(func(t *testing.T, i uint8, raw []byte) {
		e := d.Verdict.Evidence[int(i)%len(d.Verdict.Evidence)]
		e.Predicate, e.Status = raw, policy.StatusUsed
		page := write(t, report.Data{Verdict: policy.Verdict{Digest: e.Subject, Evidence: []policy.EvidenceStatus{e}}})
		doc := parse(t, page)
		if len(find(doc, "script")) != 1 || len(find(doc, "b")) != 0 || len(find(doc, "footer")) != 1 {
			t.Errorf("the page is not the template's")
		}
	})
}

func FuzzTimings(f *testing.F) {
	f.Add([]byte(`[{"node":"build","zone":"build","result":"passed","started":"2026-03-01T12:00:00Z","elapsed":1500000000}]`))
	f.Add([]byte(`[{"node":"<b>","zone":"<b>","elapsed":-9223372036854775808},{"node":"x","started":"9999-12-31T23:59:59Z","elapsed":9223372036854775807}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := report.ParseTimings(raw)
		if err != nil {
			return
		}
		page := write(t, report.Data{Timings: list, Path: paths.Path{Nodes: []paths.Node{{ID: "build"}}}, Steps: map[string]step.Spec{}})
		doc := parse(t, page)
		if len(rows(doc, "timings-table")) != len(list) || len(find(doc, "b")) != 0 {
			t.Errorf("timings are not shown as they are")
		}
	})
}
