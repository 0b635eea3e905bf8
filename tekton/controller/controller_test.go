package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

const ns = "paths-build-a"

// quick is a configuration whose attempts follow each other at once.
func quick() Config {
	cfg := testConfig()
	cfg.RetryBase, cfg.RetryMax = time.Millisecond, time.Millisecond
	return cfg
}

// ship takes a run all the way, and calls between after each of its steps.
func ship(a *api, between func()) {
	a.t.Helper()
	a.addNamespace(ns, "build")
	a.addRun(ns, "r", testUID)
	a.until("held", func() bool { return a.run(ns, "r").held })
	between()
	a.endRun(ns, "r", true)
	between()
	a.until("attester started", func() bool { return a.task("sign-"+testUID+"-0") != nil })
	between()
	a.endTask("sign-"+testUID+"-0", 0, "")
	a.until("verifier started", func() bool { return a.task("verify-"+testUID+"-0") != nil })
	between()
	a.endTask("verify-"+testUID+"-0", 0, "")
	a.until("let go", func() bool { return !a.run(ns, "r").held })
	between()
	r := a.run(ns, "r")
	if r.note != "true" || r.signed != testDigest {
		a.t.Errorf("annotations: %q, %q", r.note, r.signed)
	}
	if diff := cmp.Diff([]string{"Signed: signed: " + testDigest}, a.told(ns)); diff != "" {
		a.t.Error(diff)
	}
	if list, err := a.Resource(taskRuns).Namespace(SigningNamespace).List(a.t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 2 {
		a.t.Errorf("%d TaskRuns, %v", len(list.Items), err)
	}
}

func TestShip(t *testing.T) {
	a := newAPI(t)
	a.control(quick())
	ship(a, func() {})

	// Two patches, two TaskRuns and one event for a run.
	a.mu.Lock()
	got := maps.Clone(a.counts)
	a.mu.Unlock()
	maps.DeleteFunc(got, func(k string, _ int) bool { return strings.HasPrefix(k, "list") || strings.HasPrefix(k, "watch") })
	want := map[string]int{"create taskruns": 2, "create events": 1, "patch pipelineruns": 2, "get configmaps": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests: %s", diff)
	}

	u := a.task("sign-" + testUID + "-0")
	wantSpec := map[string]any{
		"serviceAccountName": "attester", "timeout": "30m0s", "taskRef": map[string]any{"kind": "Task", "name": "attest"},
		"podTemplate": map[string]any{"priorityClassName": "paths-signing"},
		"params": []any{
			param("run-namespace", ns), param("run-name", "r"), param("run-uid", testUID),
			param("destination", "registry.example:5000/evidence/a/orders:v1"),
		},
	}
	if diff := cmp.Diff(wantSpec, u.Object["spec"]); diff != "" {
		t.Error(diff)
	}
	told := []any{param("image-digest", testDigest), param("destination", "registry.example:5000/evidence/a/orders")}
	if diff := cmp.Diff(any(told), a.task("verify-" + testUID + "-0").Object["spec"].(map[string]any)["params"]); diff != "" {
		t.Errorf("the verifier is told: %s", diff)
	}
	if got := a.task("verify-" + testUID + "-0").Object["spec"].(map[string]any)["serviceAccountName"]; got != "verifier" {
		t.Errorf("the verifier runs as %v", got)
	}
}

// TestRestart kills the controller after each step of a run.
func TestRestart(t *testing.T) {
	a := newAPI(t)
	_, stop := a.control(quick())
	ship(a, func() { stop(); _, stop = a.control(quick()) })
}

func TestTwo(t *testing.T) {
	a := newAPI(t)
	a.control(quick())
	a.control(quick())
	ship(a, func() {})
}

// TestKill stops all that a controller does after a TaskRun's creation, as if it was
// killed, with the API server having done what it was asked.
func TestKill(t *testing.T) {
	a := newAPI(t)
	lost := 0
	a.PrependReactor("create", "taskruns", func(act clienttesting.Action) (bool, runtime.Object, error) {
		lost++
		if lost > 1 {
			return false, nil, nil
		}
		u := act.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		a.born(u)
		if err := a.Tracker().Create(taskRuns, u, SigningNamespace); err != nil {
			t.Error(err)
		}
		return true, nil, fmt.Errorf("connection reset by peer")
	})
	a.control(quick())
	ship(a, func() {})
}

// TestErrors lets each kind of request fail some times.
func TestErrors(t *testing.T) {
	for _, what := range []string{"create taskruns", "create events", "patch pipelineruns", "get configmaps", "list namespaces", "list taskruns", "list pipelineruns"} {
		for name, err := range map[string]error{
			"unreachable": fmt.Errorf("connection refused"),
			"overloaded":  apierrors.NewTooManyRequests("later", 0),
			"broken":      apierrors.NewInternalError(fmt.Errorf("etcd has no leader")),
		} {
			t.Run(what+" "+name, func(t *testing.T) {
				t.Parallel()
				a := newAPI(t)
				verb, resource, _ := strings.Cut(what, " ")
				left := 2
				a.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
					left--
					return left >= 0, nil, err
				})
				a.control(quick())
				ship(a, func() {})
				if left > 0 {
					t.Errorf("no request failed")
				}
			})
		}
	}
}

// TestNothingToTell: a namespace that is being deleted takes no events, and must not be
// kept by runs that are held in it.
func TestNothingToTell(t *testing.T) {
	a := newAPI(t)
	a.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(events.GroupResource(), "", fmt.Errorf("namespace is being terminated"))
	})
	a.addNamespace(ns, "build")
	a.addRun(ns, "r", testUID)
	a.control(quick())
	a.until("held", func() bool { return a.run(ns, "r").held })
	a.edit(ns, "r", func(u *unstructured.Unstructured) { now := metav1.Now(); u.SetDeletionTimestamp(&now) })
	a.until("gone", func() bool { return a.run(ns, "r").name == "" })
}

func TestDeleted(t *testing.T) {
	for name, ok := range map[string]bool{"succeeded": true, "failed": false} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			a.addNamespace(ns, "build")
			a.addRun(ns, "r", testUID)
			a.control(quick())
			a.until("held", func() bool { return a.run(ns, "r").held })
			a.endRun(ns, "r", ok)
			a.edit(ns, "r", func(u *unstructured.Unstructured) { now := metav1.Now(); u.SetDeletionTimestamp(&now) })
			if ok {
				for _, name := range []string{"sign-" + testUID + "-0", "verify-" + testUID + "-0"} {
					a.until(name, func() bool { return a.task(name) != nil })
					if a.run(ns, "r").name == "" {
						t.Fatal("deleted before it was signed")
					}
					a.endTask(name, 0, "")
				}
			}
			a.until("gone", func() bool { return a.run(ns, "r").name == "" })
			if n := a.count("create taskruns"); ok != (n == 2) {
				t.Errorf("%d TaskRuns", n)
			}
		})
	}
}

// TestEdits: a tenant who writes what the controller writes changes nothing.
func TestEdits(t *testing.T) {
	forge := func(u *unstructured.Unstructured) {
		u.SetAnnotations(map[string]string{SignedAnnotation: "true", ImageAnnotation: testDigest})
		u.SetLabels(map[string]string{runUIDLabel: "another", "app.kubernetes.io/managed-by": "paths-controller"})
		u.SetFinalizers(nil)
	}
	a := newAPI(t)
	a.addNamespace(ns, "build")
	a.addRun(ns, "r", testUID)
	a.edit(ns, "r", forge)
	a.control(quick())
	a.until("held", func() bool { return a.run(ns, "r").held })
	a.edit(ns, "r", forge)
	a.until("held again", func() bool { return a.run(ns, "r").held })
	a.endRun(ns, "r", true)
	name := "sign-" + testUID + "-0"
	a.until("attester started", func() bool { return a.task(name) != nil })
	a.edit(ns, "r", forge)
	a.endTask(name, 3, "no")
	refused := func() bool {
		r := a.run(ns, "r")
		return r.note == "no: attest said no: no" && r.signed == "" && !r.held
	}
	a.until("refused", refused)
	a.edit(ns, "r", forge)
	a.until("refused again", refused)
	a.edit(ns, "r", func(u *unstructured.Unstructured) { u.SetFinalizers([]string{Finalizer, "x/y"}) })
	a.until("let go again", refused)
	if n := a.count("create taskruns"); n != 1 {
		t.Errorf("%d TaskRuns", n)
	}
	if told := a.told(ns); len(told) != 1 {
		t.Errorf("told %q", told)
	}
}

func TestRefused(t *testing.T) {
	a := newAPI(t)
	a.addNamespace(ns, "build")
	a.addRun(ns, "r", testUID)
	a.control(quick())
	a.endRun(ns, "r", true)
	name := "sign-" + testUID + "-0"
	a.until("attester started", func() bool { return a.task(name) != nil })
	a.endTask(name, 3, "\x1b[2J\x1b]0;owned\a step produce\r\nran \u202eanother image\x00\u2028"+strings.Repeat("é", 100000))
	a.until("refused", func() bool { r := a.run(ns, "r"); return r.note != "" && !r.held })
	for _, text := range append(a.told(ns), a.run(ns, "r").note) {
		if len(text) > 1024 || strings.ContainsAny(text, "\x1b\a\r\n\u202e\x00\u2028\ufffd") || !strings.Contains(text, "step produce ran another image") {
			t.Errorf("%d bytes: %q", len(text), text)
		}
	}
}

func TestRetries(t *testing.T) {
	a := newAPI(t)
	a.addNamespace(ns, "build")
	a.addRun(ns, "r", testUID)
	a.control(quick())
	a.endRun(ns, "r", true)
	for i, code := range []int{1, -1, 137} {
		name := fmt.Sprintf("sign-%s-%d", testUID, i)
		a.until(name, func() bool { return a.task(name) != nil })
		a.endTask(name, code, "")
	}
	name := "sign-" + testUID + "-3"
	a.until(name, func() bool { return a.task(name) != nil })
	a.endTask(name, 0, "")
	name = "verify-" + testUID + "-0"
	a.until(name, func() bool { return a.task(name) != nil })
	a.endTask(name, 0, "")
	a.until("signed", func() bool { return a.run(ns, "r").note == "true" })
	told := a.told(ns)
	slices.Sort(told)
	want := []string{
		"Signed: signed: " + testDigest,
		"SigningRetried: attempt 1 to attest failed and is made again: StepFailed: the pod says so",
		"SigningRetried: attempt 2 to attest failed and is made again: PodEvicted: the pod says so",
		"SigningRetried: attempt 3 to attest failed and is made again: StepFailed: the pod says so",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// TestGiveUp also shows how operators begin anew.
func TestGiveUp(t *testing.T) {
	a := newAPI(t)
	a.addNamespace(ns, "build")
	a.addRun(ns, "r", testUID)
	cfg := quick()
	cfg.RetryWindow = time.Nanosecond
	a.control(cfg)
	a.endRun(ns, "r", true)
	name := "sign-" + testUID + "-0"
	a.until("attester started", func() bool { return a.task(name) != nil })
	time.Sleep(time.Second) // times in the API are whole seconds
	a.endTask(name, 1, "Fulcio is down")
	a.until("given up", func() bool { return a.run(ns, "r").note == "no: gave up after 1 attempts: Fulcio is down" })
	if told := a.told(ns); len(told) != 1 || !strings.Contains(told[0], "-l") && !strings.Contains(told[0], runUIDLabel+"="+testUID) {
		t.Errorf("told %q", told)
	}
	if err := a.Tracker().Delete(taskRuns, SigningNamespace, name); err != nil {
		t.Fatal(err)
	}
	a.until("attester started anew", func() bool { return a.task(name) != nil && a.run(ns, "r").held })
}

// TestUntrusted: refused without a signer, once, also by a controller that starts anew.
func TestUntrusted(t *testing.T) {
	a := newAPI(t)
	a.addNamespace(ns, "build")
	a.addNamespace("paths-build-other", "lab")
	a.addRun(ns, "r", testUID)
	a.addRun("paths-build-other", "r", "other")
	a.endRun(ns, "r", true)
	a.edit(ns, "r", func(u *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(u.Object, strings.Repeat("0", 64), "status", "provenance", "refSource", "digest", "sha256")
	})
	for range 2 {
		_, stop := a.control(quick())
		a.until("refused", func() bool {
			return strings.HasPrefix(a.run(ns, "r").note, "no: its Pipeline is not from a trusted bundle: registry.example/paths/bundle@sha256:000") && !a.run(ns, "r").held
		})
		time.Sleep(1200 * time.Millisecond)
		stop()
	}
	if n := a.count("create taskruns") + a.count("patch pipelineruns") + len(a.told(ns)); n != 2 {
		t.Errorf("%d changes, want an annotation and an event", n)
	}
	if a.run("paths-build-other", "r").held {
		t.Error("a run of another zone is held")
	}
}

// TestNamespaces come and go.
func TestNamespaces(t *testing.T) {
	a := newAPI(t)
	c, _ := a.control(quick())
	a.addNamespace(ns, "build")
	a.addRun(ns, "r", testUID)
	a.until("held", func() bool { return a.run(ns, "r").held && c.Ready() })
	if err := a.Tracker().Delete(namespaces, "", ns); err != nil {
		t.Fatal(err)
	}
	a.until("forgotten", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.builds) == 0 })
}

// TestBound: 40 runs of two tenants, three signers.
func TestBound(t *testing.T) {
	a := newAPI(t)
	for _, tenant := range []string{"a", "b"} {
		a.addNamespace("paths-build-"+tenant, "build")
		for i := range 20 {
			name := fmt.Sprintf("r%d", i)
			a.addRun("paths-build-"+tenant, name, tenant+"-"+name)
			a.endRun("paths-build-"+tenant, name, true)
		}
	}
	cfg := quick()
	cfg.Signers = 3
	c, _ := a.control(cfg)
	most, left := 0, 40
	a.until("all signed", func() bool {
		list, err := a.Resource(taskRuns).Namespace(SigningNamespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var open []string
		for _, u := range list.Items {
			if try, _ := readTry(&u); !try.done {
				open = append(open, u.GetName())
			}
		}
		most = max(most, len(open))
		if len(open) > 0 {
			a.endTask(open[0], 0, "")
		}
		left = 0
		for _, tenant := range []string{"a", "b"} {
			for i := range 20 {
				if a.run("paths-build-"+tenant, fmt.Sprintf("r%d", i)).note != "true" {
					left++
				}
			}
		}
		return left == 0
	})
	if most != 3 {
		t.Errorf("%d signers at once, want 3", most)
	}
	if c.slots.runs() != 0 || c.slots.waits() != 0 {
		t.Errorf("%d slots are still taken, %d runs wait", c.slots.runs(), c.slots.waits())
	}
}

func TestCollect(t *testing.T) {
	a := newAPI(t)
	a.addNamespace(ns, "build")
	a.addRun(ns, "settled", "settled")
	a.endRun(ns, "settled", true)
	a.edit(ns, "settled", func(u *unstructured.Unstructured) { // before its TaskRuns did, or it would be held now
		_ = unstructured.SetNestedField(u.Object, time.Now().Add(-26*time.Hour).UTC().Format(time.RFC3339), "status", "completionTime")
	})
	a.addRun(ns, "held", "held")
	a.edit(ns, "held", func(u *unstructured.Unstructured) { u.SetFinalizers([]string{Finalizer}) })
	cfg := quick()
	for _, r := range []run{{namespace: ns, name: "settled", uid: "settled"}, {namespace: ns, name: "held", uid: "held"}, {namespace: ns, name: "gone", uid: "gone"}} {
		for _, age := range []time.Duration{time.Hour, 25 * time.Hour} {
			u := cfg.taskRun(signing, r, int(age.Hours()), "")
			a.put(taskRuns, SigningNamespace, "TaskRun", u.GetName(), u.Object)
			a.endTask(u.GetName(), 0, "")
			u = a.task(u.GetName()).DeepCopy()
			_ = unstructured.SetNestedField(u.Object, time.Now().Add(-age).UTC().Format(time.RFC3339), "status", "completionTime")
			if err := a.Tracker().Update(taskRuns, u, SigningNamespace); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A namespace that is no build namespace any more could have runs that are held.
	lost := cfg.taskRun(signing, run{namespace: "elsewhere", name: "x", uid: "lost"}, 25, "")
	a.put(taskRuns, SigningNamespace, "TaskRun", lost.GetName(), lost.Object)
	a.endTask(lost.GetName(), 0, "")
	lost = a.task(lost.GetName()).DeepCopy()
	_ = unstructured.SetNestedField(lost.Object, time.Now().Add(-25*time.Hour).UTC().Format(time.RFC3339), "status", "completionTime")
	if err := a.Tracker().Update(taskRuns, lost, SigningNamespace); err != nil {
		t.Fatal(err)
	}
	intents := []string{"settled", "held", "gone", "open", "lost"}
	for _, uid := range intents {
		a.put(configMaps, SigningNamespace, "ConfigMap", "intent-"+uid, map[string]any{"immutable": true})
	}
	open := cfg.taskRun(signing, run{namespace: ns, name: "x", uid: "open"}, 0, "")
	a.put(taskRuns, SigningNamespace, "TaskRun", open.GetName(), open.Object)
	cfg.CollectEvery = 10 * time.Millisecond
	a.control(cfg)
	a.until("collected", func() bool {
		return a.task("sign-gone-25") == nil && a.task("sign-settled-25") == nil && a.task("sign-lost-25") == nil
	})
	left := []string{}
	for _, uid := range intents {
		if _, err := a.Tracker().Get(configMaps, SigningNamespace, "intent-"+uid); err == nil {
			left = append(left, uid)
		}
	}
	if diff := cmp.Diff([]string{"held", "open", "lost"}, left); diff != "" {
		t.Errorf("intents that are left (-want +got):\n%s", diff)
	}
	for _, name := range []string{"sign-gone-1", "sign-settled-1", "sign-held-1", "sign-held-25", "sign-open-0"} {
		if a.task(name) == nil {
			t.Errorf("%s is deleted", name)
		}
	}
}
