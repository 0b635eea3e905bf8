package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// api is client-go's fake with what the controller relies on in a real API server: object
// versions and conflicts, deletion that waits for finalizers, creation times, and a watch
// that begins where the list ended.
type api struct {
	*fake.FakeDynamicClient
	t testing.TB

	mu      sync.Mutex
	version int
	counts  map[string]int // by verb and resource
}

func newAPI(t testing.TB) *api {
	a := &api{t: t, counts: map[string]int{}}
	a.FakeDynamicClient = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		pipelineRuns: "PipelineRunList", taskRuns: "TaskRunList", namespaces: "NamespaceList", configMaps: "ConfigMapList", events: "EventList",
	})
	a.PrependReactor("patch", "pipelineruns", a.patch)
	a.PrependReactor("create", "taskruns", func(act clienttesting.Action) (bool, runtime.Object, error) {
		a.born(act.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured))
		return false, nil, nil
	})
	a.PrependReactor("*", "*", func(act clienttesting.Action) (bool, runtime.Object, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.counts[act.GetVerb()+" "+act.GetResource().Resource]++
		return false, nil, nil
	})
	a.PrependWatchReactor("*", a.watch)
	a.put(configMaps, SigningNamespace, "ConfigMap", "trust", map[string]any{"data": map[string]any{"pipelines": "# trusted\n" + testBundle + "\n"}})
	return a
}

func (a *api) born(u *unstructured.Unstructured) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	u.SetResourceVersion(strconv.Itoa(a.version))
	if u.GetUID() == "" {
		u.SetUID(types.UID(fmt.Sprintf("uid-%d", a.version)))
	}
	if at := u.GetCreationTimestamp(); at.IsZero() {
		u.SetCreationTimestamp(metav1.Now())
	}
}

func (a *api) put(gvr schema.GroupVersionResource, namespace, kind, name string, fields map[string]any) {
	a.t.Helper()
	u := &unstructured.Unstructured{Object: fields}
	u.SetAPIVersion(gvr.GroupVersion().String())
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	a.born(u)
	if err := a.Tracker().Create(gvr, u, namespace); err != nil {
		a.t.Fatal(err)
	}
}

// watch tells of what is there already, too: the fake would lose what happens between a
// list and its watch.
func (a *api) watch(act clienttesting.Action) (bool, watch.Interface, error) {
	gvr, ns := act.GetResource(), act.GetNamespace()
	live, err := a.Tracker().Watch(gvr, ns)
	if err != nil {
		return true, nil, err
	}
	kind := map[string]string{"pipelineruns": "PipelineRun", "taskruns": "TaskRun", "namespaces": "Namespace"}[gvr.Resource]
	o, err := a.Tracker().List(gvr, gvr.GroupVersion().WithKind(kind), ns)
	if err != nil {
		return true, nil, err
	}
	list, err := json.Marshal(o)
	if err != nil {
		return true, nil, err
	}
	var old struct{ Items []map[string]any }
	if err := json.Unmarshal(list, &old); err != nil {
		return true, nil, err
	}
	selector := act.(clienttesting.WatchActionImpl).WatchRestrictions.Labels
	ch := make(chan watch.Event)
	out := watch.NewProxyWatcher(ch)
	go func() {
		defer close(ch)
		defer live.Stop()
		send := func(e watch.Event) bool {
			u, ok := e.Object.(*unstructured.Unstructured)
			if ok && selector != nil && !selector.Matches(labels(u.GetLabels())) {
				return true
			}
			select {
			case ch <- e:
				return true
			case <-out.StopChan():
				return false
			}
		}
		for _, u := range old.Items {
			if !send(watch.Event{Type: watch.Added, Object: &unstructured.Unstructured{Object: u}}) {
				return
			}
		}
		for {
			select {
			case e, ok := <-live.ResultChan():
				if !ok || !send(e) {
					return
				}
			case <-out.StopChan():
				return
			}
		}
	}()
	return true, out, nil
}

type labels map[string]string

func (l labels) Has(k string) bool              { _, ok := l[k]; return ok }
func (l labels) Get(k string) string            { return l[k] }
func (l labels) Lookup(k string) (string, bool) { v, ok := l[k]; return v, ok }

func (a *api) patch(act clienttesting.Action) (bool, runtime.Object, error) {
	p := act.(clienttesting.PatchAction)
	if p.GetPatchType() != types.MergePatchType {
		return true, nil, fmt.Errorf("patch of type %s", p.GetPatchType())
	}
	var want struct {
		Metadata struct{ UID, ResourceVersion string }
	}
	if err := json.Unmarshal(p.GetPatch(), &want); err != nil {
		return true, nil, err
	}
	var u *unstructured.Unstructured
	err := a.change(p.GetNamespace(), p.GetName(), func(old *unstructured.Unstructured) error {
		if want.Metadata.UID != string(old.GetUID()) || want.Metadata.ResourceVersion != old.GetResourceVersion() {
			return apierrors.NewConflict(pipelineRuns.GroupResource(), p.GetName(), fmt.Errorf("the object has been modified"))
		}
		if old.GetDeletionTimestamp() != nil && len(finalizersIn(p.GetPatch())) > len(old.GetFinalizers()) {
			return apierrors.NewForbidden(pipelineRuns.GroupResource(), p.GetName(), fmt.Errorf("no new finalizers can be added if the object is being deleted"))
		}
		before, err := old.MarshalJSON()
		if err != nil {
			return err
		}
		after, err := jsonpatch.MergePatch(before, p.GetPatch())
		if err != nil {
			return err
		}
		u = old
		return old.UnmarshalJSON(after)
	})
	return true, u, err
}

func finalizersIn(patch []byte) []string {
	var p struct{ Metadata struct{ Finalizers []string } }
	_ = json.Unmarshal(patch, &p)
	return p.Metadata.Finalizers
}

// change edits a run as one transaction; a run that is being deleted and held by nothing is gone.
func (a *api) change(namespace, name string, f func(*unstructured.Unstructured) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	o, err := a.Tracker().Get(pipelineRuns, namespace, name)
	if err != nil {
		return err
	}
	u := o.(*unstructured.Unstructured).DeepCopy()
	if err := f(u); err != nil {
		return err
	}
	a.version++
	u.SetResourceVersion(strconv.Itoa(a.version))
	if u.GetDeletionTimestamp() != nil && len(u.GetFinalizers()) == 0 {
		return a.Tracker().Delete(pipelineRuns, namespace, name)
	}
	return a.Tracker().Update(pipelineRuns, u, namespace)
}

func (a *api) edit(namespace, name string, f func(*unstructured.Unstructured)) {
	a.t.Helper()
	if err := a.change(namespace, name, func(u *unstructured.Unstructured) error { f(u); return nil }); err != nil {
		a.t.Fatal(err)
	}
}

// addRun adds a run that runs.
func (a *api) addRun(namespace, name, uid string) {
	a.put(pipelineRuns, namespace, "PipelineRun", name, map[string]any{
		"metadata": map[string]any{"uid": uid},
		"spec":     map[string]any{"params": []any{param("image", "registry.example:5000/evidence/"+strings.TrimPrefix(namespace, BuildPrefix)+"/orders:v1")}},
	})
}

func (a *api) addNamespace(name, zone string) {
	a.put(namespaces, "", "Namespace", name, map[string]any{"metadata": map[string]any{"labels": map[string]any{ZoneLabel: zone}}})
}

// endRun lets a run end, as one of the trusted Pipeline if it succeeds.
func (a *api) endRun(namespace, name string, ok bool) {
	a.t.Helper()
	a.edit(namespace, name, func(u *unstructured.Unstructured) {
		u.Object["status"] = map[string]any{
			"conditions":     []any{map[string]any{"type": "Succeeded", "status": truth(ok), "reason": "Done"}},
			"completionTime": time.Now().UTC().Format(time.RFC3339),
			"provenance": map[string]any{"refSource": map[string]any{
				"uri": strings.Split(testBundle, "@")[0], "digest": map[string]any{"sha256": strings.TrimPrefix(testDigest, "sha256:")},
			}},
		}
	})
}

// endTask lets a signing TaskRun end: code 0 is success, -1 an eviction.
func (a *api) endTask(name string, code int, message string) {
	a.t.Helper()
	u := a.task(name)
	if u == nil {
		a.t.Fatalf("no TaskRun %s", name)
	}
	u = u.DeepCopy()
	reason := "StepFailed"
	if code < 0 {
		reason = "PodEvicted"
	}
	status := map[string]any{
		"conditions":     []any{map[string]any{"type": "Succeeded", "status": truth(code == 0), "reason": reason, "message": "the pod says so"}},
		"completionTime": time.Now().UTC().Format(time.RFC3339),
	}
	if code == 0 {
		status["results"] = []any{param("image-digest", testDigest)}
	}
	if code > 0 {
		status["steps"] = []any{
			map[string]any{"name": "take", "terminated": map[string]any{"exitCode": int64(0), "reason": "Completed"}},
			map[string]any{"name": "attest", "terminated": map[string]any{"exitCode": int64(code), "reason": "Error", "message": message}, "terminationReason": "Error"},
			map[string]any{"name": "after", "terminated": map[string]any{"exitCode": int64(1), "reason": "Error"}, "terminationReason": "Skipped"},
		}
	}
	u.Object["status"] = status
	if err := a.Tracker().Update(taskRuns, u, SigningNamespace); err != nil {
		a.t.Fatal(err)
	}
}

func truth(ok bool) string {
	if ok {
		return "True"
	}
	return "False"
}

func (a *api) task(name string) *unstructured.Unstructured {
	o, err := a.Tracker().Get(taskRuns, SigningNamespace, name)
	if err != nil {
		return nil
	}
	return o.(*unstructured.Unstructured)
}

func (a *api) run(namespace, name string) run {
	o, err := a.Tracker().Get(pipelineRuns, namespace, name)
	if err != nil {
		return run{}
	}
	return readRun(o.(*unstructured.Unstructured))
}

// told lists the events on runs of a namespace, as "reason: message".
func (a *api) told(namespace string) []string {
	list, err := a.Resource(events).Namespace(namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	var told []string
	for _, e := range list.Items {
		told = append(told, fmt.Sprint(e.Object["reason"], ": ", e.Object["message"]))
	}
	return told
}

func (a *api) count(verbAndResource string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[verbAndResource]
}

// control runs a controller; the function it returns kills it.
func (a *api) control(cfg Config) (*Controller, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c := New(a, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), cfg)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			a.t.Error(err)
		}
	}()
	var once sync.Once
	stop := func() { once.Do(func() { cancel(); <-done }) }
	a.t.Cleanup(stop)
	return c, stop
}

func (a *api) until(what string, f func() bool) {
	a.t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("not within 30 s: %s", what)
		}
	}
}
