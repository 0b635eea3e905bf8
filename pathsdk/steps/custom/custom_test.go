package custom

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
)

func inputs(t *testing.T, command ...string) map[string]any {
	t.Helper()
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "main.go"), []byte("package main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	return map[string]any{"source": src, "sourceDigest": "sha256:" + strings.Repeat("a", 64), "name": "lint", "command": command}
}

func TestConformance(t *testing.T) {
	in := inputs(t, "/bin/sh", "-c", "cat main.go; echo changed > main.go; echo $HOME | wc -l; env | grep -c SECRET; test -L link")
	t.Setenv("SECRET", "x")
	failing := inputs(t, "/bin/sh", "-c", "echo one; echo two >&2; exit 3")
	steptest.Run(t, New(),
		steptest.Case{In: in, Check: func(t *testing.T, r step.Result, _ step.Env) {
			var out Output
			if err := json.Unmarshal(r.Output, &out); err != nil {
				t.Fatal(err)
			}
			log, err := os.ReadFile(string(out.Log))
			if d := cmp.Diff("package main\n1\n0\n", string(log)); d != "" || err != nil {
				t.Errorf("log: %v -want +got:\n%s", err, d)
			}
			p, err := evidence.ParseTestResult(r.Evidence[0].Predicate)
			if err != nil {
				t.Fatal(err)
			}
			if p.Result != "PASSED" || !cmp.Equal(p.PassedTests, []string{"lint"}) || p.Configuration[1].Name != "lint" || !bytes.HasPrefix(p.Configuration[1].Content, []byte(`["/bin/sh","-c",`)) {
				t.Errorf("predicate: %+v", p)
			}
		}},
		steptest.Case{Name: "fails", In: failing, Gate: true, Check: func(t *testing.T, r step.Result, _ step.Env) {
			p, err := evidence.ParseTestResult(r.Evidence[0].Predicate)
			if err != nil || p.Result != "FAILED" || !cmp.Equal(p.FailedTests, []string{"lint"}) {
				t.Errorf("predicate: %v %+v", err, p)
			}
		}},
	)
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name     string
		in       map[string]any
		findings []string
		text     string
		usage    bool
	}{
		{name: "exit", in: inputs(t, "/bin/sh", "-c", "printf 'one\\n\\033[2Jtwo\\377'; exit 3"), findings: []string{"/bin/sh: exit status 3", "one", "[2Jtwo\uFFFD"}},
		{name: "signal", in: inputs(t, "/bin/sh", "-c", "kill -9 $$"), findings: []string{"/bin/sh: signal: killed"}},
		{name: "endless", in: with(inputs(t, "/bin/sleep", "600"), "timeout", "50ms"), findings: []string{"/bin/sleep did not end within 50ms"}},
		{name: "missing", in: inputs(t, "/usr/bin/nope"), text: `input "command": `, usage: true},
		{name: "bad name", in: with(inputs(t, "/bin/true"), "name", "../x"), text: `input "name"`, usage: true},
		{name: "empty program", in: inputs(t, "", "x"), text: `input "command"`, usage: true},
		{name: "no source", in: with(inputs(t, "/bin/true"), "source", "/does/not/exist"), text: "copy the source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := json.Marshal(c.in)
			if err != nil {
				t.Fatal(err)
			}
			_, err = New().Run(t.Context(), steptest.Env(t), raw)
			if c.findings != nil {
				var gate *step.GateError
				if !errors.As(err, &gate) {
					t.Fatalf("got %v, want a GateError", err)
				}
				if d := cmp.Diff(c.findings, gate.Findings); d != "" || gate.Gate != "lint" {
					t.Errorf("gate %s, -want +got:\n%s", gate.Gate, d)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.text) || errors.Is(err, step.ErrUsage) != c.usage {
				t.Errorf("got %v, want %q, usage=%v", err, c.text, c.usage)
			}
		})
	}
}

func with(in map[string]any, name string, v any) map[string]any {
	in[name] = v
	return in
}

func TestClip(t *testing.T) {
	var c clip
	for range 3 * (logHead + logTail) / 1000 {
		_, _ = c.Write(bytes.Repeat([]byte("x"), 1000))
	}
	_, _ = c.Write([]byte("end"))
	got := c.bytes()
	if len(got) > logHead+logTail+100 || !bytes.HasSuffix(got, []byte("end")) || !bytes.Contains(got, []byte("left out")) {
		t.Errorf("%d bytes are kept", len(got))
	}
	if cap(c.last) > 4*logTail {
		t.Errorf("%d bytes are held", cap(c.last))
	}
}
