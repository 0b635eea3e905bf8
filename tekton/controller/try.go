package controller

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// On each signing TaskRun: the UID of the run that it is about, and its NAMESPACE/NAME.
const (
	runUIDLabel   = "pavedpaths.dev/run-uid"
	runAnnotation = "pavedpaths.dev/run"
)

// Results of the signing Tasks: why one refuses (without it, the condition's message is
// told), and which image the attester has signed.
const (
	refusalResult = "refusal"
	imageResult   = "image-digest"
)

// stage is a Task of the signing namespace that a run goes through.
type stage struct {
	prefix  string // of the TaskRun's name
	task    string
	account string
}

var (
	signing   = stage{"sign", "attest", attesterAccount}
	verifying = stage{"verify", "verify", verifierAccount}
)

// intentPrefix and a run's UID name the ConfigMap in which the attester says what it is
// about to publish.
const intentPrefix = "intent-"

// try is one attempt at a stage: what decisions read of a signing TaskRun.
type try struct {
	name, stage, uid      string
	number                int
	runNamespace, runName string

	created, ended time.Time
	done, ok       bool
	refused        bool   // for good: the signer has looked, and said no
	why            string // from outside, and not cleaned
	image          string // what the attester has signed, by digest
}

// tryName is all a TaskRun is known by: a stage, a UID and a number.
var tryName = regexp.MustCompile(`^(sign|verify)-(.+)-(0|[1-9][0-9]{0,3})$`)

func nameTry(s stage, uid string, number int) string {
	return fmt.Sprintf("%s-%s-%d", s.prefix, uid, number)
}

// readTry reads a TaskRun; it reports false for one that this controller didn't make.
func readTry(u *unstructured.Unstructured) (try, bool) {
	m := tryName.FindStringSubmatch(u.GetName())
	if m == nil {
		return try{}, false
	}
	t := try{name: u.GetName(), stage: m[1], uid: m[2], created: u.GetCreationTimestamp().Time}
	t.number, _ = strconv.Atoi(m[3])
	t.runNamespace, t.runName, _ = strings.Cut(u.GetAnnotations()[runAnnotation], "/")
	e := readEnd(u)
	t.done, t.ok, t.ended = e.done, e.ok, e.at
	if t.ok {
		t.image = result(u, imageResult)
	}
	if t.done && !t.ok {
		t.refused, t.why = refusal(u, e)
	}
	return t, true
}

// refusal says whether a TaskRun that failed did so for good, and why it failed. For good
// is exit code 2 or 3 of a step, by itself: 3 is a no, 2 a call that can't work. A step
// that was killed, ran out of time or never ran has said nothing.
func refusal(u *unstructured.Unstructured, e end) (bool, string) {
	why := e.reason + ": " + e.message
	switch e.reason {
	case "Failed", "StepFailed":
	default:
		return false, why
	}
	steps, _, _ := unstructured.NestedSlice(u.Object, "status", "steps")
	for _, s := range steps {
		s, _ := s.(map[string]any)
		code, ok, _ := unstructured.NestedInt64(s, "terminated", "exitCode")
		if !ok || code == 0 {
			continue
		}
		// The first step that failed: those after it were skipped.
		reason, _, _ := unstructured.NestedString(s, "terminated", "reason")
		message, _, _ := unstructured.NestedString(s, "terminated", "message")
		if said := said(u, message); said != "" {
			why = said
		}
		own := s["terminationReason"] == nil || s["terminationReason"] == "" || s["terminationReason"] == "Error"
		return reason == "Error" && own && (code == 2 || code == 3), why
	}
	return false, why
}

// said is the step's own word: the result refusal, or a termination message that is none
// of Tekton's lists.
func said(u *unstructured.Unstructured, message string) string {
	if r := result(u, refusalResult); r != "" {
		return r
	}
	var results []struct{ Key, Value string }
	if json.Unmarshal([]byte(message), &results) != nil {
		return message
	}
	for _, r := range results {
		if r.Key == refusalResult {
			return r.Value
		}
	}
	return ""
}

// taskRun is the signing TaskRun of a run. The attester is told which run to look at, and
// the verifier which image it has signed: nothing that they would have to believe.
func (c *Config) taskRun(s stage, r run, number int, image string) *unstructured.Unstructured {
	params := []any{param("image-digest", image), param("destination", repository(r.wanted))}
	if s == signing {
		params = []any{param("run-namespace", r.namespace), param("run-name", r.name), param("run-uid", r.uid), param("destination", r.wanted)}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "tekton.dev/v1",
		"kind":       "TaskRun",
		"metadata": map[string]any{
			"name":        nameTry(s, r.uid, number),
			"namespace":   SigningNamespace,
			"labels":      map[string]any{runUIDLabel: r.uid, "app.kubernetes.io/managed-by": "paths-controller"},
			"annotations": map[string]any{runAnnotation: r.key()},
		},
		"spec": map[string]any{
			"serviceAccountName": s.account,
			"timeout":            c.Timeout.String(),
			"taskRef":            map[string]any{"kind": "Task", "name": s.task},
			"podTemplate":        map[string]any{"priorityClassName": signingPriority},
			"params":             params,
		},
	}}
}

func param(name, value string) map[string]any {
	return map[string]any{"name": name, "value": value}
}

func indexByRun(o any) ([]string, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil, nil
	}
	t, ok := readTry(u)
	if !ok {
		return nil, nil
	}
	return []string{t.uid}, nil
}
