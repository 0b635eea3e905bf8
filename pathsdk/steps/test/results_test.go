package test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func collect(stream string, timedOut bool) *results {
	r := newResults()
	w := &lineWriter{line: r.add, max: maxLine}
	for len(stream) > 0 { // in small pieces, as a pipe gives them
		n := min(7, len(stream))
		_, _ = w.Write([]byte(stream[:n]))
		stream = stream[n:]
	}
	w.close()
	r.close(timedOut)
	return r
}

func TestResults(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		timedOut     bool
		passed       []string
		failed       []string
		findings     []string
	}{
		{"nothing", "", false, nil, nil, nil},
		{"noise", "warning: x\n{\"no\":\"event\"}\n{broken\n\xff\xfe\n[1]\n\"s\"\n", false, nil, nil, nil},
		{"interleaved", `{"Action":"start","Package":"a"}
{"Action":"start","Package":"b"}
{"Action":"run","Package":"a","Test":"T"}
{"Action":"run","Package":"b","Test":"T"}
{"Action":"output","Package":"b","Test":"T","Output":"    b_test.go:1: no\n"}
{"Action":"pass","Package":"a","Test":"T","Elapsed":1}
not json
{"Action":"fail","Package":"b","Test":"T"}
{"Action":"fail","Package":"b"}
{"Action":"pass","Package":"a"}`, false, []string{"a.T"}, []string{"b.T"}, []string{"b.T: b_test.go:1: no"}},
		{"cut off", `{"Action":"run","Package":"a","Test":"T"}
{"Action":"pass","Package":"a","Te`, false, nil, []string{"a [no result]", "a.T"}, []string{"a [no result]: {\"Action\":\"pass\",\"Package\":\"a\",\"Te", "a.T: the test did not end; its process did"}},
		{"timed out", `{"Action":"run","Package":"a","Test":"T"}`, true, nil, []string{"a [time limit exceeded]", "a.T"}, []string{"a [time limit exceeded]", "a.T: the test did not end; its process did"}},
		{"passes without a word", `{"Action":"run","Package":"a","Test":"T"}
{"Action":"pass","Package":"a"}`, false, nil, []string{"a.T"}, []string{"a.T: the test did not end; its process did"}},
		{"failure is final", `{"Action":"fail","Package":"a","Test":"T"}
{"Action":"pass","Package":"a","Test":"T"}
{"Action":"pass","Package":"a"}`, false, nil, []string{"a.T"}, []string{"a.T"}},
		{"build", `{"ImportPath":"a [a.test]","Action":"build-output","Output":"# a\n"}
{"ImportPath":"a [a.test]","Action":"build-output","Output":"a.go:1: bad\n"}
{"ImportPath":"a [a.test]","Action":"build-fail"}
{"Action":"output","Package":"a","Output":"FAIL\ta [build failed]\n"}
{"Action":"fail","Package":"a","FailedBuild":"a [a.test]"}`, false, nil, []string{"a [build failed]"}, []string{"a [build failed]: a.go:1: bad"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := collect(c.stream, c.timedOut)
			if d := cmp.Diff([3][]string{c.passed, c.failed, c.findings}, [3][]string{r.passed, r.failed, r.findings()}); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// TestBounds feeds more than anybody should print.
func TestBounds(t *testing.T) {
	r := newResults()
	w := &lineWriter{line: r.add, max: maxLine}
	write := func(e event) {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(append(raw, '\n'))
	}
	chunk := strings.Repeat("x", 1<<18)
	for i := range 200 {
		pkg := fmt.Sprintf("p%d", i%5)
		write(event{Action: "output", Package: pkg, Test: "T", Output: chunk})
	}
	write(event{Action: "output", Package: strings.Repeat("p", maxName+1), Output: "x"})
	_, _ = w.Write([]byte(strings.Repeat("y", 3*maxLine) + "\n{\"Action\":\"fail\",\"Package\":\"after\"}\n"))
	for i := range maxTests + 10 {
		write(event{Action: "pass", Package: "many", Test: fmt.Sprint(i)})
	}
	write(event{Action: "pass", Package: "many"})
	w.close()
	r.close(false)
	if n := len(r.log()); n > 8<<20 {
		t.Errorf("%d bytes are kept of 50 MiB", n)
	}
	if r.suites["after"] == nil || r.suites["after"].result != fail {
		t.Error("the event after a line without end is lost")
	}
	if r.failed[0] != tooMany && r.findings()[0] != tooMany {
		t.Errorf("a suite with too many tests passes: %q", r.failed)
	}
	if !strings.Contains(string(r.log()), "left out") {
		t.Error("the log does not say that something is missing")
	}
}

func FuzzResults(f *testing.F) {
	f.Add([]byte(`{"Action":"run","Package":"a","Test":"T"}` + "\n" + `{"Action":"fail","Package":"a","Test":"T","Output":"x"}`))
	f.Add([]byte("{\"Action\":\"output\",\"Package\":\"a\",\"Output\":\"\\u0000]]>\\u001b[2J\"}\nnoise\n{"))
	f.Add([]byte(`{"ImportPath":"a","Action":"build-fail"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := collect(string(b), false)
		if failed, found := len(r.failed) > 0, len(r.findings()) > 0; failed != found {
			t.Errorf("%d failed, %d findings", len(r.failed), len(r.findings()))
		}
		if err := xml.Unmarshal(r.junit(), new(struct{})); err != nil {
			t.Errorf("JUnit: %v\n%s", err, r.junit())
		}
	})
}

func TestCoverage(t *testing.T) {
	for _, c := range []struct {
		name, profile, percent string
		min                    int
		ok, err                bool
	}{
		{name: "empty", profile: "mode: set\n"},
		{name: "rounds down", profile: "mode: set\na.go:1.1,2.1 5999 1\na.go:3.1,4.1 4001 0\n", percent: "59.9", min: 60},
		{name: "exactly", profile: "mode: set\na.go:1.1,2.1 3 1\na.go:3.1,4.1 2 0\n", percent: "60.0", min: 60, ok: true},
		{name: "merged", profile: "mode: set\na.go:1.1,2.1 3 0\na.go:1.1,2.1 3 1\nb.go:1.1,2.1 3 0\n", percent: "50.0", min: 50, ok: true},
		{name: "all", profile: "mode: atomic\na.go:1.1,2.1 3 7\n", percent: "100.0", min: 100, ok: true},
		{name: "garbage", profile: "mode: set\nwhat?\n", err: true},
		{name: "overflow", profile: "mode: set\na.go:1.1,2.1 9223372036854775807 1\nb.go:1.1,2.1 9223372036854775807 1\n", err: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseCoverage(strings.NewReader(c.profile))
			if (err != nil) != c.err {
				t.Fatalf("error: %v", err)
			}
			if got.percent() != c.percent || got.atLeast(c.min) != c.ok {
				t.Errorf("got %q, at least %d: %v", got.percent(), c.min, got.atLeast(c.min))
			}
		})
	}
}

func FuzzCoverage(f *testing.F) {
	f.Add("mode: set\na.go:1.1,2.1 3 1\n")
	f.Add("mode: count\na.go:1.1,2.1 -3 1\n")
	f.Fuzz(func(t *testing.T, profile string) {
		c, err := parseCoverage(strings.NewReader(profile))
		if err != nil {
			return
		}
		if c.covered < 0 || c.covered > c.total || c.atLeast(100) && c.covered != c.total {
			t.Errorf("covered %d of %d", c.covered, c.total)
		}
	})
}

func TestExecFlag(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want string
	}{
		{[]string{"/bin/pathctl", "confine-exec", "abc", "--"}, "-exec=/bin/pathctl confine-exec abc --"},
		{[]string{"/my tools/pathctl", "it's", ""}, `-exec='/my tools/pathctl' "it's" ''`},
		{[]string{`a'b"c`}, ""},
	} {
		got, err := execFlag(c.in)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q: got %q, %v", c.in, got, err)
		}
	}
}
