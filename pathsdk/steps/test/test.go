// Package test is the step that runs the service's own tests. They are hostile
// code: the go command compiles them, and each test binary runs with fewer
// rights than the go command, so that it can't touch what is compiled.
package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Inputs are what test takes.
type Inputs struct {
	Source          step.Dir      `json:"source" help:"the fetched source"`
	SourceDigest    step.Digest   `json:"sourceDigest" help:"digest of the source"`
	Modules         step.File     `json:"modules" help:"the modules of the build list with their sums"`
	ModCache        step.Dir      `json:"modcache" key:"-" help:"the module cache that holds them"`
	GoRoot          step.Dir      `json:"goroot" key:"-" help:"the toolchain's folder"`
	ToolchainDigest step.Digest   `json:"toolchainDigest" help:"digest of the toolchain's files"`
	Packages        []string      `json:"packages" default:"./..." help:"package patterns to test"`
	Timeout         step.Duration `json:"timeout" default:"10m" help:"time limit of all tests together"`
	MinCoverage     int           `json:"minCoverage" default:"0" help:"lowest statement coverage in percent that passes the gate"`
	Tags            []string      `json:"tags,omitempty" help:"Go build tags"`
}

// Output is what test gives.
type Output struct {
	Digest       step.Digest `json:"digest" help:"digest of the source that was tested"`
	Passed       int         `json:"passed" help:"tests and subtests that passed"`
	Failed       int         `json:"failed" help:"tests and subtests that failed; 0, since a failure is an error of the gate"`
	Skipped      int         `json:"skipped" help:"tests and subtests that skipped themselves"`
	Coverage     string      `json:"coverage" help:"covered statements of all packages in percent, such as 83.1; empty when there is no statement"`
	JUnit        step.File   `json:"junit" help:"the results as JUnit XML"`
	CoverProfile step.File   `json:"coverprofile" help:"the coverage as a Go cover profile"`
	Log          step.File   `json:"log" help:"what the tests and the compiler printed"`
}

// Subject is the source.
func (o Output) Subject() step.Subject { return step.Subject{Name: "source", Digest: o.Digest} }

var _ step.Output = Output{}

// New returns the step.
func New() step.Step {
	return step.Define(step.Meta{
		Name:     "test",
		Version:  "0.1.0",
		Summary:  "Runs the service's tests with coverage, without network, and refuses failures.",
		Proves:   "The producer says that these tests of this source passed, with that coverage.",
		Zone:     step.ZoneBuild,
		Needs:    step.Needs{UserCode: true},
		Evidence: []string{evidence.TestResult.URI},
	}, run)
}

func run(ctx context.Context, env step.Env, in Inputs) (Output, []step.Evidence, error) {
	if err := check(in); err != nil {
		return Output{}, nil, err
	}
	if err := ctx.Err(); err != nil {
		return Output{}, nil, err
	}
	g := goTest{env: env, in: in}
	got, err := g.run(ctx)
	if err != nil {
		return Output{}, nil, err
	}
	out := Output{
		Digest: in.SourceDigest, Passed: len(got.passed), Failed: len(got.failed), Skipped: len(got.skipped),
		JUnit:        step.File(filepath.Join(env.Out, "junit.xml")),
		CoverProfile: step.File(filepath.Join(env.Out, "cover.out")),
		Log:          step.File(filepath.Join(env.Out, "test.log")),
	}
	cov, err := readCoverage(g.profile())
	if err != nil {
		// A profile comes from hostile code; one that can't be read covers
		// nothing.
		env.Log.Warn("the coverage profile is unusable and counts as no coverage", "error", err)
		cov = coverage{}
	}
	out.Coverage = cov.percent()
	err = errors.Join(
		writeFile(string(out.JUnit), got.junit()),
		writeFile(string(out.CoverProfile), cov.profile()),
		writeFile(string(out.Log), got.log()),
	)
	if err != nil {
		return Output{}, nil, err
	}
	ev, err := predicate(in, g.arguments(), got, out.Coverage)
	if err != nil {
		return Output{}, nil, err
	}
	if out.Passed+out.Failed+out.Skipped == 0 {
		env.Log.Warn("the source has no tests: nothing was shown to work")
	}
	if gate := judge(in, got, cov); gate != nil {
		return Output{}, ev, gate
	}
	return out, ev, nil
}

func check(in Inputs) error {
	if in.MinCoverage < 0 || in.MinCoverage > 100 {
		return step.Usagef("input %q: %d is no percentage; give 0 to 100", "minCoverage", in.MinCoverage)
	}
	if in.Timeout <= 0 {
		return step.Usagef("input %q: %s is no time limit; give one such as 10m", "timeout", in.Timeout)
	}
	for _, p := range in.Packages {
		// The go command would take it for a flag, such as -exec or -toolexec.
		if p == "" || p[0] == '-' {
			return step.Usagef("input %q: %q is no package pattern; give one such as ./...", "packages", p)
		}
	}
	for _, t := range in.Tags {
		if !isTag(t) {
			return step.Usagef("input %q: %q is no build tag; a tag has letters, digits, dots and underscores", "tags", t)
		}
	}
	if _, err := os.Stat(filepath.Join(string(in.Source), "go.mod")); err != nil {
		return step.Usagef("input %q: no go.mod in the source (%w); run go mod init there, or name the folder of the module", "source", err)
	}
	return nil
}

func isTag(s string) bool {
	for _, r := range s {
		if r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return s != ""
}

// judge is the gate: no failure, and enough coverage.
func judge(in Inputs, got *results, cov coverage) error {
	if f := got.findings(); len(f) > 0 {
		return &step.GateError{Gate: "tests", Findings: f,
			Fix: fmt.Sprintf("make them pass: go test %s; they run without network, and may write to t.TempDir() and $HOME alone", joined(in.Packages))}
	}
	if in.MinCoverage > 0 && !cov.atLeast(in.MinCoverage) {
		have := "there is no statement to cover"
		if p := cov.percent(); p != "" {
			have = p + "% of statements are covered"
		}
		return &step.GateError{Gate: "coverage", Findings: []string{fmt.Sprintf("%s, minCoverage is %d%%", have, in.MinCoverage)},
			Fix: "test more of the code (go test -cover ./... shows what is missing), or lower minCoverage in paths.yaml"}
	}
	return nil
}

func writeFile(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// grace is how much later than the tests' own time limit everything is killed:
// a test binary that ends itself says what it was doing.
const grace = 5 * time.Second
