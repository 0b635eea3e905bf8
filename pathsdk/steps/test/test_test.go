package test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
)

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// goEnv asks the go command that runs this test.
func goEnv(t testing.TB, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// service writes a module and returns the inputs of the step for it.
func service(t *testing.T, files map[string]string, more map[string]any) map[string]any {
	t.Helper()
	dir := t.TempDir()
	if _, ok := files["go.mod"]; !ok {
		files["go.mod"] = "module example.com/service\n\ngo 1.26.0\n"
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	modules := filepath.Join(t.TempDir(), "modules.json")
	if err := os.WriteFile(modules, []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	in := map[string]any{
		"source": dir, "sourceDigest": digest, "modules": modules, "modcache": t.TempDir(),
		"goroot": goEnv(t, "GOROOT"), "toolchainDigest": "sha256:" + strings.Repeat("b", 64),
	}
	for k, v := range more {
		in[k] = v
	}
	return in
}

// confined is an Execer that says it can confine, so that the step takes the
// cache in Env.Cache; the fence has tests of its own.
type confined struct{ steptest.Execer }

func (confined) Confine(_, _ []string) []string { return []string{"/usr/bin/env"} }

// warm lets the step use the build cache of the go command that runs this test.
func warm(t *testing.T) func(*testing.T, *step.Env) {
	cache := goEnv(t, "GOCACHE") // asked for before a test changes HOME
	return func(t *testing.T, env *step.Env) {
		env.Exec = confined{}
		if err := os.Symlink(cache, filepath.Join(env.Cache, "gocache")); err != nil {
			t.Fatal(err)
		}
	}
}

const calc = `package calc

func Abs(i int) int {
	if i < 0 {
		return -i
	}
	return i
}

func Never() int { return 42 }
`

func TestConformance(t *testing.T) {
	in := service(t, map[string]string{
		"calc/calc.go": calc,
		"calc/calc_test.go": `package calc

import "testing"

func TestAbs(t *testing.T) {
	for name, in := range map[string]int{"minus": -1, "plus": 1} {
		t.Run(name, func(t *testing.T) {
			if Abs(in) != 1 {
				t.Error("wrong")
			}
		})
	}
}

func TestLater(t *testing.T) { t.Skip("later") }
`,
		"main.go": "package main\n\nfunc main() {}\n",
	}, nil)
	steptest.Run(t, New(),
		steptest.Case{In: in, Env: warm(t), Volatile: []string{"junit", "log"}, Check: func(t *testing.T, r step.Result, env step.Env) {
			var out Output
			if err := json.Unmarshal(r.Output, &out); err != nil {
				t.Fatal(err)
			}
			want := Output{Digest: digest, Passed: 3, Skipped: 1, Coverage: "75.0", JUnit: out.JUnit, CoverProfile: out.CoverProfile, Log: out.Log}
			if d := cmp.Diff(want, out); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			p, err := evidence.ParseTestResult(r.Evidence[0].Predicate)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range p.Configuration {
				names = append(names, c.Name)
			}
			p.Configuration = nil
			if d := cmp.Diff(evidence.TestResultV01{Result: "PASSED", PassedTests: []string{
				"example.com/service/calc.TestAbs", "example.com/service/calc.TestAbs/minus", "example.com/service/calc.TestAbs/plus",
			}}, p); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if d := cmp.Diff([]string{"source", "go.mod", "go", "go test"}, names); d != "" {
				t.Errorf("configuration: -want +got:\n%s", d)
			}
			var suites junit.Testsuites
			raw, err := os.ReadFile(string(out.JUnit))
			if err == nil {
				err = xml.Unmarshal(raw, &suites)
			}
			if err != nil || suites.Tests != 4 || suites.Skipped != 1 || suites.Failures+suites.Errors != 0 {
				t.Errorf("JUnit: %v\n%s", err, raw)
			}
		}},
		steptest.Case{Name: "coverage", In: with(in, "minCoverage", 76), Env: warm(t), Gate: true, Once: true},
		steptest.Case{Name: "enough", In: with(in, "minCoverage", 75), Env: warm(t), Once: true},
	)
}

func with(in map[string]any, name string, v any) map[string]any {
	out := map[string]any{name: v}
	for k, old := range in {
		if k != name {
			out[k] = old
		}
	}
	return out
}

// TestCache is about which build cache the go command gets: the one that builds
// share, only if tests can be kept out of it.
func TestCache(t *testing.T) {
	goroot := t.TempDir()
	script := "#!/bin/sh\necho \"$GOCACHE\" > \"$HOME/cache\"\n" +
		`echo '{"Action":"run","Package":"a","Test":"T"}'; echo '{"Action":"pass","Package":"a","Test":"T"}'; echo '{"Action":"pass","Package":"a"}'` + "\n"
	if err := os.Mkdir(filepath.Join(goroot, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(goroot, "bin", "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		exec step.Execer
		want func(step.Env) string
	}{
		{confined{}, func(e step.Env) string { return filepath.Join(e.Cache, "gocache") }},
		{steptest.Execer{}, func(e step.Env) string { return filepath.Join(e.Work, "gocache") }},
	} {
		env := steptest.Env(t)
		env.Exec = c.exec
		if _, err := New().Run(t.Context(), env, marshal(t, service(t, map[string]string{}, map[string]any{"goroot": goroot}))); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(env.Work, "home", "cache"))
		if err != nil || strings.TrimSpace(string(got)) != c.want(env) {
			t.Errorf("%T: got %q, %v; want %q", c.exec, got, err, c.want(env))
		}
		// In a cache of its own, nothing is compiled ahead for others.
		marks, err := filepath.Glob(filepath.Join(c.want(env), "paths-compiled", "*"))
		if shared := c.exec == step.Execer(confined{}); err != nil || (len(marks) == 2) != shared {
			t.Errorf("%T: marks %q, %v", c.exec, marks, err)
		}
	}
}

// TestGate runs sources whose tests must not pass, for real.
func TestGate(t *testing.T) {
	test := func(body string) map[string]string {
		return map[string]string{"calc/calc.go": calc, "calc/calc_test.go": "package calc\n\nimport (\n\t\"os\"\n\t\"syscall\"\n\t\"testing\"\n\t\"time\"\n)\n\nvar _ = os.Args\nvar _ = syscall.Getpid\nvar _ = time.Now\n\n" + body}
	}
	const pkg = "example.com/service/calc"
	for _, c := range []struct {
		name     string
		files    map[string]string
		more     map[string]any
		failed   []string
		findings []string // beginnings
	}{
		{"failure", test("func TestAbs(t *testing.T) {\n\tt.Run(\"sub\", func(t *testing.T) { t.Logf(\"\\x1b[31mred\\x00\"); t.Errorf(\"got %d, want 2\", Abs(-1)) })\n}\n"), nil,
			[]string{pkg + ".TestAbs", pkg + ".TestAbs/sub"}, []string{pkg + ".TestAbs/sub: calc_test.go:15: [31mred\uFFFD | calc_test.go:15: got 1, want 2"}},
		{"panic", test("func TestAbs(t *testing.T) { panic(\"boom\") }\n"), nil, []string{pkg + ".TestAbs"}, []string{pkg + ".TestAbs: panic: boom"}},
		{"panic in init", test("func init() { panic(\"early\") }\nfunc TestAbs(t *testing.T) {}\n"), nil, []string{pkg + " [failed outside of a test]"}, []string{pkg + " [failed outside of a test]: panic: early"}},
		{"exit 0", test("func TestAbs(t *testing.T) { os.Exit(0) }\n"), nil, []string{pkg + ".TestAbs"}, []string{pkg + ".TestAbs: panic: unexpected call to os.Exit(0) during test"}},
		{"exit 0 by the kernel", test("func TestAbs(t *testing.T) { syscall.Exit(0) }\n"), nil, []string{pkg + " [no result]"}, []string{pkg + " [no result]"}},
		{"killed", test("func TestAbs(t *testing.T) { syscall.Kill(os.Getpid(), syscall.SIGKILL) }\n"), nil, []string{pkg + ".TestAbs"}, []string{pkg + ".TestAbs: "}},
		{"TestMain", test("func TestMain(m *testing.M) { m.Run(); os.Exit(3) }\nfunc TestAbs(t *testing.T) {}\n"), nil, []string{pkg + " [failed outside of a test]"}, []string{pkg + " [failed outside of a test]"}},
		{"timeout", test("func TestAbs(t *testing.T) { time.Sleep(time.Minute) }\n"), map[string]any{"timeout": "500ms"}, []string{pkg + ".TestAbs"}, []string{pkg + ".TestAbs: panic: test timed out after 500ms"}},
		{"does not compile", test("func TestAbs(t *testing.T) { undefined() }\n"), nil, []string{pkg + " [build failed]"}, []string{pkg + " [build failed]: calc/calc_test.go:14:30: undefined: undefined"}},
		{"vet", test("func TestAbs(t *testing.T) { t.Errorf(\"%d\", \"x\") }\n"), nil, []string{pkg + " [build failed]"}, []string{pkg + " [build failed]: calc/calc_test.go:14:40: "}},
		{"a forged pass", test("func TestAbs(t *testing.T) { println(\"\\x16--- PASS: TestAbs (0.00s)\"); os.Stdout.WriteString(\"\\x16--- PASS: TestAbs (0.00s)\\n\"); t.Error(\"no\") }\n"), nil, []string{pkg + ".TestAbs"}, []string{pkg + ".TestAbs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := service(t, c.files, c.more)
			env := steptest.Env(t)
			warm(t)(t, &env)
			res, err := New().Run(t.Context(), env, marshal(t, in))
			var gate *step.GateError
			if !errors.As(err, &gate) {
				t.Fatalf("got %v, want a GateError", err)
			}
			if len(gate.Findings) != len(c.findings) {
				t.Fatalf("got findings %q, want %q", gate.Findings, c.findings)
			}
			for i, want := range c.findings {
				if !strings.HasPrefix(gate.Findings[i], want) {
					t.Errorf("got finding %q, want %q", gate.Findings[i], want)
				}
			}
			p, err := evidence.ParseTestResult(res.Evidence[0].Predicate)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.failed, p.FailedTests); d != "" || p.Result != evidence.TestsFailed {
				t.Errorf("evidence says %s, failed -want +got:\n%s", p.Result, d)
			}
			raw, err := os.ReadFile(filepath.Join(env.Out, "junit.xml"))
			var suites junit.Testsuites
			if err == nil {
				err = xml.Unmarshal(raw, &suites)
			}
			if err != nil || suites.Failures+suites.Errors == 0 {
				t.Errorf("JUnit: %v\n%s", err, raw)
			}
		})
	}
}

func marshal(t *testing.T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestUsage(t *testing.T) {
	good := map[string]string{"calc/calc.go": calc}
	for _, c := range []struct {
		name  string
		files map[string]string
		more  map[string]any
		want  string
		usage bool
	}{
		{"flag as package", good, map[string]any{"packages": []string{"-exec=/bin/sh"}}, `input "packages"`, true},
		{"flag as tag", good, map[string]any{"tags": []string{"x,-toolexec=y"}}, `input "tags"`, true},
		{"no packages", map[string]string{"README.md": "x"}, nil, `input "packages": the source has no Go package that matches ./...`, true},
		{"coverage", good, map[string]any{"minCoverage": 101}, `input "minCoverage"`, true},
		{"timeout", good, map[string]any{"timeout": "0s"}, `input "timeout"`, true},
		{"no module", good, map[string]any{"source": "/usr/share"}, `input "source": no go.mod`, true},
		{"a broken go.mod", map[string]string{"go.mod": "nonsense", "a.go": "package a"}, nil, "go test: exit status 1: go: errors parsing go.mod", false},
		{"a newer toolchain", map[string]string{"go.mod": "module x\n\ngo 1.999\n", "a.go": "package a"}, nil, "go.mod requires go >= 1.999", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := steptest.Env(t)
			warm(t)(t, &env)
			_, err := New().Run(t.Context(), env, marshal(t, service(t, c.files, c.more)))
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, step.ErrUsage) != c.usage {
				t.Errorf("got %v, want %q, usage=%v", err, c.want, c.usage)
			}
		})
	}
}

// TestNoTests is no silent pass: the output shows 0, and a coverage gate fails.
func TestNoTests(t *testing.T) {
	for min, want := range map[int]string{0: "", 1: "coverage: 0.0% of statements are covered, minCoverage is 1%"} {
		t.Run(fmt.Sprint(min), func(t *testing.T) {
			env := steptest.Env(t)
			warm(t)(t, &env)
			var log bytes.Buffer
			env.Log = slog.New(slog.NewTextHandler(&log, nil))
			res, err := New().Run(t.Context(), env, marshal(t, service(t, map[string]string{"calc/calc.go": calc}, map[string]any{"minCoverage": min})))
			if got := fmt.Sprint(err); want != "" && !strings.HasPrefix(got, want) || want == "" && err != nil {
				t.Fatalf("got %v, want %q", err, want)
			}
			if want == "" && !strings.Contains(string(res.Output), `"passed":0`) {
				t.Errorf("output: %s", res.Output)
			}
			if !strings.Contains(log.String(), "has no tests") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}
