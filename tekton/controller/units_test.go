package controller

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/tekton"
)

func TestNames(t *testing.T) {
	for _, pair := range [][2]string{
		{SigningNamespace, tekton.SigningNamespace}, {signingPriority, tekton.SigningPriority}, {SystemNamespace, tekton.SystemNamespace},
		{BuildPrefix, tekton.BuildPrefix}, {ZoneLabel, tekton.ZoneLabel}, {Finalizer, tekton.Finalizer}, {SignedAnnotation, tekton.SignedAnnotation},
		{attesterAccount, tekton.AttesterAccount}, {verifierAccount, tekton.VerifierAccount},
		{refusalResult, tekton.ResultRefusal}, {imageResult, tekton.ResultSigned},
	} {
		ours, theirs := pair[0], pair[1]
		if ours != theirs {
			t.Errorf("%q is %q in package tekton", ours, theirs)
		}
	}
}

func TestRefusal(t *testing.T) {
	step := func(code int64, reason, termination, message string) map[string]any {
		return map[string]any{"terminated": map[string]any{"exitCode": code, "reason": reason, "message": message}, "terminationReason": termination}
	}
	done := step(0, "Completed", "", "")
	for name, tt := range map[string]struct {
		reason  string
		results []any
		steps   []any
		refused bool
		why     string
	}{
		"no":                 {"StepFailed", nil, []any{done, step(3, "Error", "Error", "says why")}, true, "says why"},
		"no, older Tekton":   {"Failed", nil, []any{step(3, "Error", "", "")}, true, "Failed: m"},
		"usage":              {"StepFailed", nil, []any{step(2, "Error", "Error", "")}, true, "StepFailed: m"},
		"broke":              {"StepFailed", nil, []any{step(1, "Error", "Error", "")}, false, "StepFailed: m"},
		"killed":             {"StepFailed", nil, []any{step(137, "Error", "Error", "")}, false, "StepFailed: m"},
		"memory":             {"StepOOM", nil, []any{step(3, "OOMKilled", "Error", "")}, false, "StepOOM: m"},
		"memory, by step":    {"Failed", nil, []any{step(3, "OOMKilled", "Error", "")}, false, "Failed: m"},
		"evicted":            {"PodEvicted", nil, []any{step(3, "Error", "Error", "")}, false, "PodEvicted: m"},
		"deadline":           {"TaskRunTimeout", nil, []any{step(3, "Error", "Error", "")}, false, "TaskRunTimeout: m"},
		"step's deadline":    {"StepFailed", nil, []any{step(3, "Error", "TimeoutExceeded", "")}, false, "StepFailed: m"},
		"no Task":            {"TaskRunResolutionFailed", nil, nil, false, "TaskRunResolutionFailed: m"},
		"no steps":           {"Failed", nil, nil, false, "Failed: m"},
		"skipped after":      {"StepFailed", nil, []any{step(1, "Error", "Error", ""), step(3, "Error", "Skipped", "")}, false, "StepFailed: m"},
		"result":             {"StepFailed", []any{param("refusal", "why")}, []any{step(3, "Error", "Error", "[]")}, true, "why"},
		"result of a step":   {"StepFailed", nil, []any{step(3, "Error", "Error", `[{"key":"refusal","value":"why","type":1}]`)}, true, "why"},
		"another of a step":  {"StepFailed", nil, []any{step(3, "Error", "Error", `[{"key":"x","value":"y","type":1}]`)}, true, "StepFailed: m"},
		"garbage for steps":  {"StepFailed", nil, []any{"x", nil, step(3, "Error", "Error", "")}, true, "StepFailed: m"},
		"code is no integer": {"StepFailed", nil, []any{map[string]any{"terminated": map[string]any{"exitCode": "3"}}}, false, "StepFailed: m"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"steps": tt.steps, "results": tt.results}}}
			refused, why := refusal(u, end{done: true, reason: tt.reason, message: "m"})
			if refused != tt.refused || why != tt.why {
				t.Errorf("got %v %q, want %v %q", refused, why, tt.refused, tt.why)
			}
		})
	}
}

func TestTryNames(t *testing.T) {
	for name, want := range map[string]bool{
		"sign-" + testUID + "-0": true, "verify-" + testUID + "-12": true,
		"sign-" + testUID: false, "sign-" + testUID + "-01": false, "other-" + testUID + "-0": false, "sign--0": false, "sign-x-99999": false,
	} {
		u := &unstructured.Unstructured{}
		u.SetName(name)
		got, ok := readTry(u)
		if ok != want || ok && got.uid != testUID {
			t.Errorf("%s: %v %q", name, ok, got.uid)
		}
	}
}

func TestSlots(t *testing.T) {
	now := time.Now()
	s := newSlots(2)
	s.now = func() time.Time { return now }
	r := func(tenant, name string, age int) run {
		return run{namespace: tenant, name: name, ended: now.Add(-time.Duration(age) * time.Minute)}
	}
	claim := func(r run, want bool) {
		t.Helper()
		if s.claim(r, r.key()) != want {
			t.Errorf("claim of %s: want %v", r.key(), want)
		}
	}
	claim(r("a", "1", 9), true)
	claim(r("a", "2", 8), true)
	claim(r("a", "3", 7), false)
	claim(r("a", "4", 8), false)
	claim(r("b", "1", 1), false)
	claim(r("a", "1", 9), false) // it runs
	s.free("a/1")
	if diff := cmp.Diff([]string{"b/1"}, s.next()); diff != "" {
		t.Errorf("a tenant without a signer is before one with: %s", diff)
	}
	claim(r("a", "4", 8), false)
	claim(r("b", "1", 1), true)
	s.free("a/2")
	if diff := cmp.Diff([]string{"a/4"}, s.next()); diff != "" {
		t.Errorf("the one that ended first is first: %s", diff)
	}
	s.leave("a/4")
	claim(r("a", "3", 7), true)

	// A TaskRun that no watch tells of does not hold its slot for ever; one that is seen does.
	s.hold("a/3", "a")
	now = now.Add(unseen + time.Second)
	claim(r("a", "4", 8), true)
	claim(r("a", "5", 8), false)
	if s.runs() != 2 || s.waits() != 1 {
		t.Errorf("%d run, %d wait", s.runs(), s.waits())
	}
}

func TestVerb(t *testing.T) {
	for call, want := range map[string]string{
		"GET /apis/tekton.dev/v1/namespaces/a/pipelineruns":                 "list pipelineruns",
		"GET /apis/tekton.dev/v1/namespaces/a/pipelineruns?watch=true":      "watch pipelineruns",
		"PATCH /apis/tekton.dev/v1/namespaces/a/pipelineruns/r":             "patch pipelineruns",
		"POST /apis/tekton.dev/v1/namespaces/a/taskruns":                    "create taskruns",
		"DELETE /apis/tekton.dev/v1/namespaces/a/taskruns/r":                "delete taskruns",
		"GET /api/v1/namespaces":                                            "list namespaces",
		"GET /api/v1/namespaces?watch=1":                                    "watch namespaces",
		"GET /api/v1/namespaces/a":                                          "get namespaces",
		"POST /api/v1/namespaces/a/events":                                  "create events",
		"GET /api/v1/namespaces/a/configmaps/trust":                         "get configmaps",
		"PUT /apis/coordination.k8s.io/v1/namespaces/paths-system/leases/x": "update leases",
		"GET /version": "get other",
		"GET /":        "get other",
	} {
		method, url, _ := strings.Cut(call, " ")
		v, r := verb(httptest.NewRequest(method, url, http.NoBody))
		if got := v + " " + r; got != want {
			t.Errorf("%s: got %q, want %q", call, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	for args, want := range map[string]string{
		"":                               "--destination",
		"-destination=x/y -signers=0":    "at least 1",
		"-destination=x/y -retention=1h": "--retention",
		"-destination=x/y -retry-base=0": "--retry-base",
		"-destination=x/y -verify=false": "",
	} {
		var c Config
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.SetOutput(&bytes.Buffer{})
		c.Flags(fs)
		if err := fs.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		err := c.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
}

// TestValid asks Tekton whether it would take the TaskRuns.
func TestValid(t *testing.T) {
	cfg := testConfig()
	for _, s := range []stage{signing, verifying} {
		b, err := cfg.taskRun(s, run{namespace: ns, name: "r", uid: testUID}, 0, testDigest).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var tr pipeline.TaskRun
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&tr); err != nil {
			t.Fatal(err)
		}
		tr.SetDefaults(t.Context())
		if err := tr.Validate(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31m", 20)
	f.Add(strings.Repeat("é", 300), 300)
	f.Add("\xff\xfe\u202e", 9)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 8 + limit&1023
		got := clean(s, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
		}) {
			t.Errorf("%q", got)
		}
	})
}

// FuzzRead: status comes from a cluster, and a wrong shape in it must not stop everything.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"sign-x-0"},"status":{"conditions":[{"type":"Succeeded","status":"False","reason":"Failed"}],"steps":[{"terminated":{"exitCode":3}}],"results":[1]}}`))
	f.Add([]byte(`{"status":{"conditions":[null,{"type":"Succeeded","status":1}],"provenance":{"refSource":{"digest":[]}}},"spec":{"params":[[]]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := &unstructured.Unstructured{}
		if yaml.Unmarshal(b, &u.Object) != nil || u.Object == nil {
			return
		}
		r := readRun(u)
		readTry(u)
		cfg := testConfig()
		if a := decide(r, nil, &cfg, func(string) bool { return true }, time.Now()); a.do == start && !place.MatchString(r.wanted) {
			t.Errorf("starts a signer for %q", r.wanted)
		}
	})
}

// TestDeploy: the manifest's arguments are flags, and it gives what the code asks for.
func TestDeploy(t *testing.T) {
	b, err := os.ReadFile("deploy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rights := map[string]bool{}
	var args []string
	for doc := range strings.SplitSeq(string(b), "\n---\n") {
		var o struct {
			Kind  string
			Rules []struct{ Resources, Verbs, ResourceNames []string }
			Spec  struct {
				Template struct {
					Spec struct{ Containers []struct{ Args []string } }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		for _, rule := range o.Rules {
			for _, r := range rule.Resources {
				for _, v := range rule.Verbs {
					rights[v+" "+r] = true
				}
			}
		}
		for _, c := range o.Spec.Template.Spec.Containers {
			args = c.Args
		}
	}
	want := map[string]bool{}
	for _, right := range strings.Split("list namespaces,watch namespaces,list pipelineruns,watch pipelineruns,patch pipelineruns,create events,create taskruns,list taskruns,watch taskruns,delete taskruns,get configmaps,delete configmaps,create leases,get leases,update leases", ",") {
		want[right] = true
	}
	if diff := cmp.Diff(want, rights); diff != "" {
		t.Error(diff)
	}
	var c Config
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	c.Flags(fs)
	if err := fs.Parse(args); err != nil || c.Check() != nil {
		t.Errorf("args %q: %v, %v", args, err, c.Check())
	}
}
