// Package report writes what is known about an image as one HTML page: verdict,
// level, graph, timings, evidence, vulnerabilities, packages. The page is one
// file that loads nothing. Everything on it comes from outside (names of
// packages, texts of advisories, a service's waivers), so all of it is escaped
// by html/template, and its content security policy allows the page's own script
// and style only, by digest.
package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Data is everything that a report shows.
type Data struct {
	// Verdict with its evidence. The predicates of what was used are read for
	// packages, vulnerabilities, tests and provenance.
	Verdict policy.Verdict
	// Path whose nodes and wires are drawn, the service's own steps included.
	Path paths.Path
	// Steps are the specs of the path's steps, by name: they say which zone a
	// node is in. A node without one is drawn outside of the zones.
	Steps map[string]step.Spec
	// Timings of the run that made the image, if they are known.
	Timings []Timing
	// Generated is when the report was made.
	Generated time.Time
}

// Timing is how one node of a run went.
type Timing struct {
	Node string `json:"node"`
	Zone string `json:"zone"`
	// Result is passed, failed, cached or cancelled; empty if the node never
	// ended.
	Result  string        `json:"result"`
	Started time.Time     `json:"started"`
	Elapsed time.Duration `json:"elapsed"` // nanoseconds
}

// Bounds of a file of timings.
const (
	MaxTimings     = 1 << 20 // bytes
	maxTimingCount = 500
)

// ParseTimings reads a file of timings: a JSON list, as ship leaves it.
func ParseTimings(raw []byte) ([]Timing, error) {
	if len(raw) > MaxTimings {
		return nil, fmt.Errorf("timings: %d bytes are more than the limit of %d", len(raw), MaxTimings)
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("timings: not valid UTF-8")
	}
	var list []Timing
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("timings: not a list of node, zone, result, started and elapsed: %w", err)
	}
	if len(list) > maxTimingCount {
		return nil, fmt.Errorf("timings: %d entries are more than the limit of %d", len(list), maxTimingCount)
	}
	return list, nil
}

//go:embed page.html.tmpl
var pageSource string

//go:embed page.css
var style string

//go:embed page.js
var script string

// Write writes the report. The same data gives the same bytes.
func Write(w io.Writer, d Data) error {
	t, err := parse()
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	p := newPage(d)
	scrub(p)
	// Whoever reads w gets a whole page or none.
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func parse() (*template.Template, error) {
	// Style and script are ours, and the only parts that are not escaped.
	funcs := template.FuncMap{
		"style":  func() template.CSS { return template.CSS(style) },
		"script": func() template.JS { return template.JS(script) },
		"n":      number,
	}
	source := strings.Replace(pageSource, "CONTENT-SECURITY-POLICY", securityPolicy(), 1)
	return template.New("page").Funcs(funcs).Parse(source)
}

// securityPolicy lets the page run its own script and style, and load nothing.
func securityPolicy() string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", integrity(script), integrity(style))
}

// integrity is a source expression of CSP Level 3, section 2.3.1.
func integrity(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
