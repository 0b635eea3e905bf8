package test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// results collects what `go test -json` says: the events of cmd/test2json and
// of `go help buildjson`, mixed, and text that is neither.
type results struct {
	suites map[string]*suite
	builds map[string]*clip // what the compiler printed, by package id
	stray  clip
	kept   int
	tests  int
	// tooMany says that some results are not known, so that it can't pass.
	tooMany bool
	// firstTest is called once, when a test starts.
	firstTest func()

	// Names of tests, PACKAGE.TEST, sorted; set by close.
	passed, failed, skipped []string
}

// suite is one package.
type suite struct {
	name    string
	result  string // pass, fail, skip; empty without a last word
	build   string // id of the package that did not compile
	elapsed float64
	output  clip
	cases   map[string]*testcase
	// broken says why the package failed, when no test of it tells.
	broken string
}

// testcase is one test or subtest.
type testcase struct {
	result  string
	elapsed float64
	output  []byte // the end of it; none of a test that passed
}

// The outcomes of a test, as cmd/test2json calls them.
const (
	pass = "pass"
	fail = "fail"
	skip = "skip"
)

// event is a line of the stream (cmd/test2json and go help buildjson).
type event struct {
	Action      string
	Package     string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
	ImportPath  string
}

func newResults() *results {
	return &results{suites: map[string]*suite{}, builds: map[string]*clip{}}
}

// add takes one line.
func (r *results) add(line []byte) {
	var e event
	if line[0] != '{' || json.Unmarshal(line, &e) != nil || e.Action == "" {
		r.stray.Write(append(bytes.Clone(line), '\n'))
		return
	}
	if e.Action == "build-output" || e.Action == "build-fail" {
		b := r.builds[e.ImportPath]
		if b == nil {
			b = new(clip)
			if len(e.ImportPath) > maxName || !r.spend(len(e.ImportPath)+256) {
				return
			}
			r.builds[e.ImportPath] = b
		}
		if r.spend(len(e.Output)) {
			b.Write([]byte(e.Output))
		}
		return
	}
	if e.Package == "" || len(e.Package) > maxName || len(e.Test) > maxName {
		r.stray.Write([]byte(e.Output))
		return
	}
	s := r.suites[e.Package]
	if s == nil {
		if r.tests++; r.tests > maxTests {
			r.tooMany = true
			return
		}
		s = &suite{name: e.Package, cases: map[string]*testcase{}}
		r.suites[e.Package] = s
	}
	if e.Action == "output" && r.spend(len(e.Output)) {
		s.output.Write([]byte(e.Output))
	}
	if e.Test != "" {
		r.addTest(s, e)
		return
	}
	switch e.Action {
	case pass, fail, skip:
		s.result, s.elapsed, s.build = e.Action, e.Elapsed, e.FailedBuild
	}
}

func (r *results) addTest(s *suite, e event) {
	c := s.cases[e.Test]
	if c == nil {
		if e.Action == "run" && r.firstTest != nil {
			r.firstTest()
			r.firstTest = nil
		}
		if r.tests++; r.tests > maxTests {
			r.tooMany = true
			return
		}
		c = &testcase{}
		s.cases[e.Test] = c
	}
	switch e.Action {
	case "output":
		c.output = append(c.output, e.Output...)
		if over := len(c.output) - maxTail; over > maxTail {
			c.output = bytes.Clone(c.output[over:])
		}
	case pass, fail, skip:
		// A test has one outcome. One that prints another, as if it were the
		// testing package, may only make it worse.
		if c.result != fail {
			c.result = e.Action
		}
		c.elapsed = e.Elapsed
		if c.result == pass {
			c.output = nil
		}
	}
}

// spend reports whether n more bytes may be kept.
func (r *results) spend(n int) bool {
	if r.kept+n > maxKept {
		return false
	}
	r.kept += n
	return true
}

// close draws the conclusions. It must be called once, at the end.
func (r *results) close(timedOut bool) {
	for _, s := range r.suites {
		failures := 0
		for name, c := range s.cases {
			if c.result == "" {
				// Not one word about its end: the process went away.
				c.result = fail
				c.output = append(c.output, "the test did not end; its process did\n"...)
			}
			full := s.name + "." + name
			switch c.result {
			case pass:
				r.passed = append(r.passed, full)
			case skip:
				r.skipped = append(r.skipped, full)
			default:
				failures++
				r.failed = append(r.failed, full)
			}
		}
		switch {
		case s.broken != "":
		case s.result == fail && s.build != "":
			s.broken = "build failed"
		case s.result == fail && failures == 0:
			s.broken = "failed outside of a test"
		case s.result == "" && timedOut:
			s.broken = "time limit exceeded"
		case s.result == "":
			s.broken = "no result"
		}
		if s.broken != "" {
			r.failed = append(r.failed, s.label())
		}
	}
	if r.tooMany {
		r.failed = append(r.failed, tooMany)
	}
	for _, names := range [][]string{r.passed, r.failed, r.skipped} {
		slices.Sort(names)
	}
}

const tooMany = "[too many tests to keep their results]"

// label names a package that failed as a whole.
func (s *suite) label() string { return s.name + " [" + s.broken + "]" }

// sorted lists the packages by name.
func (r *results) sorted() []*suite {
	var all []*suite
	for _, name := range slices.Sorted(maps.Keys(r.suites)) {
		all = append(all, r.suites[name])
	}
	return all
}

// findings has a line for each failure: its name and the end of what it
// printed. A test that failed only because a subtest did has none.
func (r *results) findings() []string {
	var lines []string
	if r.tooMany {
		lines = append(lines, tooMany)
	}
	for _, s := range r.sorted() {
		if s.broken != "" {
			lines = append(lines, finding(s.label(), r.reason(s)))
		}
		for _, name := range slices.Sorted(maps.Keys(s.cases)) {
			c := s.cases[name]
			if c.result == fail && !s.failedBelow(name) {
				lines = append(lines, finding(s.name+"."+name, lastWords(string(c.output))))
			}
		}
	}
	return lines
}

func (s *suite) failedBelow(name string) bool {
	for other, c := range s.cases {
		if c.result == fail && strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

// reason is what there is to say of a package that failed as a whole.
func (r *results) reason(s *suite) string {
	if b := r.builds[s.build]; b != nil {
		return firstWords(b.String())
	}
	if w := lastWords(s.output.String()); w != "" {
		return w
	}
	return lastWords(r.stray.String())
}

func finding(name, text string) string {
	if text == "" {
		return name
	}
	return name + ": " + text
}

// lastWords are the last lines that say something; of a panic, its first one.
func lastWords(output string) string {
	lines := telling(output)
	for _, l := range lines {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") {
			return l
		}
	}
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// firstWords are the first lines that say something: a compiler's first error
// causes the others.
func firstWords(output string) string {
	lines := telling(output)
	return strings.Join(lines[:min(3, len(lines))], " | ")
}

// telling are the lines that are no frame of the testing package.
func telling(output string) []string {
	var lines []string
	for l := range strings.Lines(clean(output)) {
		l = strings.TrimSpace(l)
		skipped := l == "" || l == "FAIL" || l == "PASS"
		for _, p := range []string{"=== ", "--- ", "# ", "FAIL\t", "ok  \t", "exit status ", "coverage: "} {
			skipped = skipped || strings.HasPrefix(l, p)
		}
		if skipped {
			continue
		}
		if r := []rune(l); len(r) > 300 {
			l = string(r[:300]) + "..."
		}
		lines = append(lines, l)
	}
	return lines
}

// log is everything that was printed, package by package.
func (r *results) log() []byte {
	var b bytes.Buffer
	b.Write(r.stray.bytes())
	for _, id := range slices.Sorted(maps.Keys(r.builds)) {
		b.Write(r.builds[id].bytes())
	}
	for _, s := range r.sorted() {
		b.Write(s.output.bytes())
	}
	return bytes.ToValidUTF8(b.Bytes(), []byte("\uFFFD"))
}
