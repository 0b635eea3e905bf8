package test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"
)

// junit is the results as JUnit XML: one suite for each package.
func (r *results) junit() []byte {
	var all junit.Testsuites
	for id, s := range r.sorted() {
		suite := junit.Testsuite{ID: id, Name: s.name, Package: s.name, Time: seconds(s.elapsed)}
		for _, name := range slices.Sorted(maps.Keys(s.cases)) {
			c := s.cases[name]
			tc := junit.Testcase{Name: clean(name), Classname: s.name, Time: seconds(c.elapsed)}
			switch c.result {
			case fail:
				tc.Failure = &junit.Result{Message: "Failed", Data: clean(string(c.output))}
			case skip:
				tc.Skipped = &junit.Result{Message: first(lastWords(string(c.output)), "Skipped")}
			}
			suite.AddTestcase(tc)
		}
		if s.broken != "" {
			detail := s.output.tail(maxTail)
			if b := r.builds[s.build]; b != nil {
				detail = b.String()
			}
			suite.AddTestcase(junit.Testcase{Name: s.broken, Classname: s.name, Time: seconds(0),
				Error: &junit.Result{Message: s.broken, Data: clean(detail)}})
		}
		all.AddSuite(suite)
	}
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	if err := all.WriteXML(&b); err != nil {
		panic(err) // strings and numbers into memory
	}
	return b.Bytes()
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// clean makes text of what a program printed: without what XML can't hold, and
// without what moves a terminal's cursor (XML 1.0, section 2.2).
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return r
		case r == '\r' || r == 0x1b:
			return -1
		case r < 0x20, r >= 0x7f && r < 0xa0, r == 0xfffe, r == 0xffff:
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
