package steptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

type in struct {
	Text  string      `json:"text" help:"what to copy"`
	Sum   step.Digest `json:"sum,omitempty" help:"its digest"`
	Style string      `json:"style" default:"plain" enum:"plain,loud" help:"how to write it"`
	From  step.Dir    `json:"from,omitempty" help:"a folder to look at"`
}

type out struct {
	Digest step.Digest `json:"digest" help:"digest of the copy"`
	Copy   step.File   `json:"copy" help:"the copy"`
	Note   string      `json:"note" help:"a remark"`
}

func (o out) Subject() step.Subject { return step.Subject{Name: "copy", Digest: o.Digest} }

func meta() step.Meta {
	return step.Meta{
		Name: "copy", Version: "1.0.0", Summary: "Copies a text.", Proves: "That it was copied.",
		Zone: step.ZoneBuild, Evidence: []string{evidence.TestResult.URI},
	}
}

// step1 is a step that conforms, spoilt by each of the faults in spoil.
func step1(spoil string) step.Step {
	m := meta()
	if spoil == "spec" {
		m.Zone = "moon"
	}
	runs := 0
	return step.Define(m, func(ctx context.Context, env step.Env, i in) (out, []step.Evidence, error) {
		runs++
		if err := ctx.Err(); err != nil && spoil != "ignores the context" {
			return out{}, nil, err
		}
		if i.Text == "refuse" {
			e := &step.GateError{Gate: "text", Findings: []string{"it says so"}, Fix: "write another"}
			if spoil == "gate without a fix" {
				e.Fix = ""
			}
			return out{}, nil, e
		}
		sum := sha256.Sum256([]byte(i.Text))
		o := out{Digest: step.Digest("sha256:" + hex.EncodeToString(sum[:])), Copy: step.File(filepath.Join(env.Out, "copy"))}
		text, predicate := i.Text, `{"result":"PASSED"}`
		var err error
		switch spoil {
		case "no digest":
			o.Digest = ""
		case "outside":
			o.Copy = step.File(filepath.Join(env.Work, "copy"))
		case "differs":
			text += fmt.Sprint(runs)
		case "predicate differs":
			predicate = fmt.Sprintf(`{"run":%d}`, runs)
		case "predicate is a list":
			predicate = `[]`
		case "path in predicate":
			predicate = fmt.Sprintf(`{"at":%q}`, env.Work)
		case "the machine's clock":
			predicate = fmt.Sprintf(`{"at":%q}`, time.Now().UTC().Format(time.RFC3339))
		case "path in output":
			o.Note = env.Out
		case "home":
			err = os.WriteFile(filepath.Join(os.Getenv("HOME"), "x"), nil, 0o600)
		case "tmp":
			_, err = os.CreateTemp("", "x")
		case "input":
			err = os.WriteFile(filepath.Join(string(i.From), "x"), nil, 0o600)
		case "foreign evidence":
			return o, []step.Evidence{{Type: evidence.VSA.URI, Predicate: json.RawMessage(`{}`)}}, os.WriteFile(string(o.Copy), nil, 0o644)
		}
		if err == nil {
			err = os.WriteFile(string(o.Copy), []byte(text), 0o644)
		}
		return o, []step.Evidence{{Type: evidence.TestResult.URI, Predicate: json.RawMessage(predicate)}}, err
	})
}

func cases(t *testing.T, check func(*testing.T, step.Result, step.Env)) []Case {
	return []Case{
		{In: map[string]any{"text": "tea", "from": t.TempDir()}, Check: check},
		{Name: "gate", In: map[string]any{"text": "refuse"}, Gate: true},
	}
}

func TestStepThatConforms(t *testing.T) {
	// This package's own source is no step's.
	t.Chdir(copySource(t, "package copy\n"))
	checked := false
	Run(t, step1(""), cases(t, func(t *testing.T, res step.Result, env step.Env) {
		checked = true
		if res.Subject.Name != "copy" || !env.Now().Equal(Now()) {
			t.Errorf("got %+v", res)
		}
	})...)
	if !checked {
		t.Error("Check was not called")
	}
}

// TestSpoilt runs in a child process, in which it must fail.
func TestSpoilt(t *testing.T) {
	spoil := os.Getenv("STEPTEST_SPOIL")
	if spoil == "" {
		return
	}
	dir := copySource(t, "package copy\n")
	if spoil == "source" {
		dir = copySource(t, "package copy\nimport \"os\"\nvar x = os.Environ()\n")
	}
	t.Chdir(dir)
	Run(t, step1(spoil), cases(t, nil)...)
}

func TestSpoiltStepsFail(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for spoil, want := range map[string]string{
		"spec":                `zone "moon"`,
		"source":              "os.Environ",
		"ignores the context": "check ctx.Err()",
		"no digest":           "want a name and a digest",
		"outside":             "not below Env.Out",
		"differs":             "the same inputs gave another result",
		"predicate differs":   "the same inputs gave another result",
		"predicate is a list": "no JSON object",
		"path in predicate":   "a path below Env.Work",
		"the machine's clock": "take the time from Env.Now",
		"path in output":      "a path below Env.Out",
		"home":                "touched HOME",
		"tmp":                 "touched the temporary folder",
		"input":               "touched input from",
		"foreign evidence":    "not in the Spec's list",
		"gate without a fix":  "error is incomplete",
	} {
		t.Run(spoil, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestSpoilt$")
			cmd.Env = append(os.Environ(), "STEPTEST_SPOIL="+spoil)
			var b bytes.Buffer
			cmd.Stdout, cmd.Stderr = &b, &b
			if err := cmd.Run(); err == nil || !strings.Contains(b.String(), want) {
				t.Errorf("the test of a spoilt step ended with %v and without %q:\n%s", err, want, b.String())
			}
		})
	}
}

func copySource(t *testing.T, code string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "copy.go"), []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheckSpec(t *testing.T) {
	good := step1("").Spec()
	if found := CheckSpec(good); len(found) > 0 {
		t.Fatalf("a good spec: %q", found)
	}
	for want, change := range map[string]func(*step.Spec){
		`name "Copy"`:             func(s *step.Spec) { s.Name = "Copy" },
		`version ""`:              func(s *step.Spec) { s.Version = "" },
		`summary "copies"`:        func(s *step.Spec) { s.Summary = "copies" },
		"both or none":            func(s *step.Spec) { s.Proves = "" },
		"no such predicate type":  func(s *step.Spec) { s.Evidence = []string{"test-result"} },
		"only zone build may run": func(s *step.Spec) { s.Zone, s.Needs.UserCode = step.ZoneAttest, true },
		"has no network":          func(s *step.Spec) { s.Needs.Network = true },
		"lower camel":             func(s *step.Spec) { s.Inputs[0].Name = "some_text" },
		"has no help":             func(s *step.Spec) { s.Inputs[0].Help = "" },
		"full stop":               func(s *step.Spec) { s.Inputs[0].Help = "what to copy." },
		"start in lower case":     func(s *step.Spec) { s.Inputs[0].Help = "The text" },
		"default: ":               func(s *step.Spec) { s.Inputs[2].Default = "shouting" },
		"keyless digest":          func(s *step.Spec) { s.Inputs[1].Keyless = true },
		"keyless string":          func(s *step.Spec) { s.Outputs[2].Keyless = true },
		"a secret is":             func(s *step.Spec) { s.Outputs[1].Kind = step.KindSecret },
		"an output has no":        func(s *step.Spec) { s.Outputs[2].Default = "x" },
		"declared twice":          func(s *step.Spec) { s.Outputs[2].Name = "copy" },
	} {
		s := good
		s.Inputs, s.Outputs = slices.Clone(good.Inputs), slices.Clone(good.Outputs)
		change(&s)
		found := strings.Join(CheckSpec(s), "\n")
		if !strings.Contains(found, want) {
			t.Errorf("want %q, got %q", want, found)
		}
	}
}

func TestCheckSource(t *testing.T) {
	for code, want := range map[string]string{
		`import "os"; var x, _ = os.ReadFile("x")`:                                    "",
		`import "fmt"; var x = fmt.Sprint("x")`:                                       "",
		`import "os"; var x = os.Getenv("x")`:                                         "copy.go:1: uses os.Getenv; a step reads no environment",
		`import e "os"; var x = e.Getenv("x")`:                                        "uses e.Getenv",
		`import . "os"; var x = Getenv("x")`:                                          "with a dot",
		`import "fmt"; func f() { fmt.Println() }`:                                    "uses fmt.Println",
		`import "os"; var w = os.Stdout`:                                              "uses os.Stdout",
		`func f() { println() }`:                                                      "calls println",
		`func init() {}`:                                                              "init function",
		`import "log"; var l = log.Default()`:                                         "imports log",
		`import "os/exec"; var c = exec.Command("x")`:                                 "children run through Env.Exec",
		`import _ "github.com/pavedpaths/paths/pathsdk/steps/scan"`:                   "imports the step",
		`import _ "github.com/pavedpaths/paths/pathsdk/attest"`:                       "a step knows nothing of what runs",
		`import _ "github.com/pavedpaths/paths/pathsdk/internal/policyless"`:          "",
		"import \"os\"; type t struct{ os int }; func (t t) Getenv() { os.Getuid() }": "",
	} {
		found := strings.Join(CheckSource(copySource(t, "package copy; "+code)), "\n")
		if want == "" && found != "" || !strings.Contains(found, want) {
			t.Errorf("%s: got %q, want %q", code, found, want)
		}
	}
	exempt := filepath.Join(t.TempDir(), "build")
	if err := os.Mkdir(exempt, 0o755); err != nil {
		t.Fatal(err)
	}
	for want, name := range []string{"ko.go", "other.go"} {
		if err := os.WriteFile(filepath.Join(exempt, name), []byte("package build\nimport \"log\"\nvar l = log.Default()\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if found := CheckSource(exempt); len(found) != want {
			t.Errorf("with %s: %q, want %d", name, found, want)
		}
	}
	if found := CheckSource(t.TempDir()); len(found) != 1 {
		t.Errorf("no source: %q", found)
	}
	if found := CheckSource(copySource(t, "package")); len(found) != 1 {
		t.Errorf("broken source: %q", found)
	}
}

func TestExecerInheritsNothing(t *testing.T) {
	t.Setenv("STEPTEST_SECRET", "x")
	var b bytes.Buffer
	if err := (Execer{}).Exec(t.Context(), step.Command{Args: []string{"/usr/bin/env"}, Stdout: &b}); err != nil {
		t.Fatal(err)
	}
	if b.Len() != 0 {
		t.Errorf("a child without environment got %q", b.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := (Execer{}).Exec(ctx, step.Command{Args: []string{"sleep", "60"}}); err == nil {
		t.Error("a child outlived its context")
	}
}
