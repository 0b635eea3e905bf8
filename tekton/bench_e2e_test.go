//go:build e2e

package tekton_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/tekton/controller"
)

// TestBenchTekton lets PATHS_BENCH_SIZES runs at once go through the cluster, each size by
// itself, and measures the controller and the signers. scripts/bench-tekton.sh knows the
// rest.
func TestBenchTekton(t *testing.T) {
	var sizes []int
	for _, f := range strings.Fields(env(t, "PATHS_BENCH_SIZES")) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			t.Fatalf("PATHS_BENCH_SIZES: %q is no number of runs", f)
		}
		sizes = append(sizes, n)
	}
	if len(sizes) == 0 {
		t.Fatal("PATHS_BENCH_SIZES names no size")
	}
	b := newBench(t)
	commits := b.commits(t, slices.Max(sizes))
	var results []benchSize
	var goals []judged
	for _, n := range sizes {
		results = append(results, b.size(t, commits[:n]))
		goals = append(judge(results), judged{Goal: "all sizes are measured", Met: len(results) == len(sizes), Seen: fmt.Sprintf("%d of %d", len(results), len(sizes))})
		// A size may take an hour: what is measured stays, whatever becomes of the next.
		var table strings.Builder
		benchTable(&table, results, goals)
		t.Log("\n" + table.String())
		raw, err := json.MarshalIndent(map[string]any{"sizes": results, "goals": goals}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"PATHS_BENCH_JSON": string(raw) + "\n", "PATHS_BENCH_TABLE": table.String()} {
			if err := os.WriteFile(env(t, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, g := range goals {
		if !g.Met {
			t.Errorf("missed: %s: %s", g.Goal, g.Seen)
		}
	}
}

// bench is a world with clients of its own: a process for each look at the cluster would
// take from what is measured.
type bench struct {
	*world
	kube   kubernetes.Interface
	client dynamic.Interface
	url    string
	chains bool
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{world: newWorld(t, compiled(t, func(dir string) error { tiny(t, dir, 0); return nil }))}
	config, err := clientcmd.BuildConfigFromFlags("", env(t, "PATHS_KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 100, 200
	if b.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if b.client, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PATHS_CHAINS") != "" {
		b.world.chains(t)
	}
	switch _, err := b.kube.AppsV1().Deployments(chainsNamespace).Get(t.Context(), "tekton-chains-controller", metav1.GetOptions{}); {
	case err == nil:
		b.chains = true
	case !apierrors.IsNotFound(err):
		t.Fatal(err)
	}
	return b
}

// tiny writes a service of which nothing is left to compile but itself. Its number makes
// it a program of its own, so that the image is one of its own, too.
func tiny(t *testing.T, dir string, number int) {
	t.Helper()
	for file, text := range map[string]string{
		"go.mod":       "module example.com/tiny\n\ngo 1.26.0\n",
		"main.go":      fmt.Sprintf("// Command tiny does next to nothing.\npackage main\n\nfunc main() { println(%d) }\n", number),
		"main_test.go": "package main\n\nimport \"testing\"\n\nfunc TestTiny(*testing.T) { main() }\n",
		"paths.yaml":   "apiVersion: pavedpaths.dev/v1\nkind: Service\npath: microservice\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// commits makes a repository with so many commits, each another program.
func (b *bench) commits(t *testing.T, n int) []string {
	t.Helper()
	url, first := b.repo(t, "tiny", func(dir string) error { tiny(t, dir, 0); return nil })
	b.url = url
	work, bare := filepath.Join(t.TempDir(), "tiny"), filepath.Join(b.Repos, "tiny.git")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "-q", bare, work)
	list := []string{first}
	for i := 1; i < n; i++ {
		tiny(t, work, i)
		git("-C", work, "commit", "-q", "-a", "-m", "x")
		list = append(list, git("-C", work, "rev-parse", "HEAD"))
	}
	git("-C", work, "push", "-q", "origin", "main")
	return list
}

var (
	pipelineRunKind = schema.GroupVersionResource{Group: "tekton.dev", Version: "v1", Resource: "pipelineruns"}
	taskRunKind     = schema.GroupVersionResource{Group: "tekton.dev", Version: "v1", Resource: "taskruns"}
)

// size puts one run for each commit through the cluster. Before it, what is left of others
// is removed and the controller is started anew, so that its memory is this size's alone.
func (b *bench) size(t *testing.T, commits []string) benchSize {
	t.Helper()
	n := len(commits)
	s := benchSize{Runs: n}
	b.clear(t)
	// One tenant stands for many here. How many of its pods run at once stays as it is.
	b.kubectl(t, "", "-n", tenantNamespace, "patch", "resourcequota", "runs", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"hard":{"count/pipelineruns.tekton.dev":"%d"}}}`, n))
	pod := b.restart(t)
	idle := b.scrape(t, pod)
	s.MemoryBase = idle.memory

	images := map[string]string{} // by name of the run
	var text strings.Builder
	for i, c := range commits {
		// The last ones wait longer than the hour that a run has.
		text.WriteString("---\n" + strings.Replace(b.pipelineRun(t, b.url, c, b.image(n, i)), "  taskRunTemplate:", "  timeouts: {pipeline: 6h}\n  taskRunTemplate:", 1))
	}
	watch, stop := context.WithCancel(t.Context())
	defer stop()
	peak := b.peak(watch, t, pod)
	began := time.Now()
	created := strings.Fields(b.kubectl(t, text.String(), append(tenant(), "create", "-o", "name", "-f", "-")...))
	if len(created) != n {
		t.Fatalf("%d runs were created, not %d", len(created), n)
	}
	for i, c := range created {
		images[filepath.Base(c)] = b.image(n, i)
	}
	t.Logf("%d runs are created after %.1f s", n, time.Since(began).Seconds())
	runs := b.settle(t, images, began)
	s.Wall = time.Since(began).Seconds()
	after := b.scrape(t, pod)
	stop()
	s.MemoryPeak = max(<-peak, after.memory)
	s.ByKind = map[string]float64{}
	for kind, v := range after.requests {
		v -= idle.requests[kind]
		switch {
		case strings.Contains(kind, `resource="leases"`):
			s.Lease += v // by the clock, and not by runs
		case v > 0:
			s.Requests += v
			s.ByKind[strings.NewReplacer("{", "", "}", "", `"`, "", ",", " ").Replace(kind)] = v
		}
	}
	s.Restarts = b.restarts(t, pod)
	b.durations(t, &s, runs)
	b.registryOf(t, &s, runs, images)
	return s
}

// image is where a run's image goes. Each has a repository of its own, so that evidence of
// two runs never lies on one image even if the images were the same.
func (b *bench) image(size, i int) string {
	return fmt.Sprintf("%s/%s/example/bench-%d-%d", local, apps, size, i)
}

// clear removes runs, and what was made to sign them.
func (b *bench) clear(t *testing.T) {
	t.Helper()
	b.kubectl(t, "", "-n", tenantNamespace, "delete", "pipelinerun", "--all", "--timeout=15m")
	b.kubectl(t, "", "-n", controller.SigningNamespace, "delete", "taskrun", "--all", "--timeout=15m")
	maps := b.kubectl(t, "", "-n", controller.SigningNamespace, "get", "configmap", "-o", "name")
	for m := range strings.FieldsSeq(maps) {
		if strings.HasPrefix(m, "configmap/intent-") {
			b.kubectl(t, "", "-n", controller.SigningNamespace, "delete", m)
		}
	}
}

// restart starts the controller anew, and returns the name of its pod.
func (b *bench) restart(t *testing.T) string {
	t.Helper()
	b.kubectl(t, "", "-n", controller.SystemNamespace, "rollout", "restart", "deployment/paths-controller")
	b.kubectl(t, "", "-n", controller.SystemNamespace, "rollout", "status", "deployment/paths-controller", "--timeout=180s")
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		pods, err := b.kube.CoreV1().Pods(controller.SystemNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=paths-controller"})
		if err != nil {
			t.Fatal(err)
		}
		// Alone, and with all that it reads at its start behind it.
		if len(pods.Items) == 1 {
			m, err := b.metrics(t.Context(), pods.Items[0].Name)
			if err == nil && m.requests[`{resource="pipelineruns",verb="watch"}`] > 0 {
				time.Sleep(5 * time.Second)
				return pods.Items[0].Name
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%d pods of the controller, and none that leads", len(pods.Items))
		}
	}
}

func (b *bench) restarts(t *testing.T, pod string) int {
	t.Helper()
	p, err := b.kube.CoreV1().Pods(controller.SystemNamespace).Get(t.Context(), pod, metav1.GetOptions{})
	if err != nil || len(p.Status.ContainerStatuses) != 1 {
		t.Fatalf("the controller's pod is another one: %v", err)
	}
	return int(p.Status.ContainerStatuses[0].RestartCount)
}

// scraped is what the controller says of itself.
type scraped struct {
	memory   float64
	requests map[string]float64
}

func (b *bench) metrics(ctx context.Context, pod string) (scraped, error) {
	raw, err := b.kube.CoreV1().RESTClient().Get().Namespace(controller.SystemNamespace).Resource("pods").Name(pod + ":8080").SubResource("proxy").Suffix("metrics").DoRaw(ctx)
	if err != nil {
		return scraped{}, err
	}
	memory, err := metric(string(raw), "process_resident_memory_bytes")
	if err != nil {
		return scraped{}, err
	}
	requests, err := metric(string(raw), "paths_controller_api_requests_total")
	if err != nil {
		return scraped{}, err
	}
	if memory[""] == 0 || len(requests) == 0 {
		return scraped{}, errors.New("the controller's metrics say nothing of memory or requests")
	}
	return scraped{memory[""], requests}, nil
}

func (b *bench) scrape(t *testing.T, pod string) scraped {
	t.Helper()
	m, err := b.metrics(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// peak looks at the controller's memory each second until the context is done.
func (b *bench) peak(ctx context.Context, t *testing.T, pod string) <-chan float64 {
	out := make(chan float64, 1)
	go func() {
		var top float64
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			// A look that fails is one of many; a controller that died shows as a restart.
			if m, err := b.metrics(ctx, pod); err == nil {
				top = max(top, m.memory)
			}
			select {
			case <-ctx.Done():
				out <- top
				return
			case <-tick.C:
			}
		}
	}()
	return out
}

// still is how long nothing may happen before the runs that are left count as lost: more
// than a build may take that got the node late.
const still = 15 * time.Minute

// settle waits until the controller has let all runs go, and returns them as they are.
func (b *bench) settle(t *testing.T, images map[string]string, began time.Time) []unstructured.Unstructured {
	t.Helper()
	last, moved, told := -1, time.Now(), time.Now()
	for ; ; time.Sleep(3 * time.Second) {
		// Version 0 is the API server's cache, which spares it from reading all anew.
		list, err := b.client.Resource(pipelineRunKind).Namespace(tenantNamespace).List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			t.Fatal(err)
		}
		var runs []unstructured.Unstructured
		ended, done := 0, 0
		for _, r := range list.Items {
			if images[r.GetName()] == "" {
				continue
			}
			runs = append(runs, r)
			if r.GetAnnotations()[controller.SignedAnnotation] != "" && !slices.Contains(r.GetFinalizers(), controller.Finalizer) {
				done++
			}
			if s, _, _ := unstructured.NestedString(r.Object, "status", "completionTime"); s != "" {
				ended++
			}
		}
		if done+ended != last {
			last, moved = done+ended, time.Now()
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			t.Logf("%4.0f s: of %d runs, %d have ended, %d are settled", time.Since(began).Seconds(), len(images), ended, done)
		}
		if done == len(images) || time.Since(moved) > still {
			return runs
		}
	}
}

// durations fills in what the API server knows of the runs, and of those that signed them.
func (b *bench) durations(t *testing.T, s *benchSize, runs []unstructured.Unstructured) {
	t.Helper()
	list := func(namespace, label string) map[string][]unstructured.Unstructured {
		l, err := b.client.Resource(taskRunKind).Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: label})
		if err != nil {
			t.Fatal(err)
		}
		by := map[string][]unstructured.Unstructured{}
		for _, r := range l.Items {
			by[r.GetLabels()[label]] = append(by[r.GetLabels()[label]], r)
		}
		return by
	}
	builds, signers := list(tenantNamespace, "tekton.dev/pipelineRunUID"), list(controller.SigningNamespace, "pavedpaths.dev/run-uid")
	var run, steps, slot, evident, attested, verdict, chains []time.Duration
	for _, r := range runs {
		start, _ := at(r, "status", "startTime")
		end, ok := at(r, "status", "completionTime")
		if !ok {
			continue
		}
		run = append(run, end.Sub(start))
		for _, build := range builds[string(r.GetUID())] {
			if first, last, ok := stepTimes(build); ok {
				steps = append(steps, last.Sub(first))
			}
		}
		tries := map[string]int{}
		for _, signer := range signers[string(r.GetUID())] {
			kind, _, _ := strings.Cut(signer.GetName(), "-")
			tries[kind]++
			ended, ok := at(signer, "status", "completionTime")
			_, last, stepped := stepTimes(signer)
			if !ok || !stepped || !succeeded(signer) {
				continue
			}
			switch kind {
			case "sign":
				slot = append(slot, signer.GetCreationTimestamp().Sub(end))
				evident = append(evident, last.Sub(end))
				attested = append(attested, ended.Sub(end))
			case "verify":
				verdict = append(verdict, ended.Sub(end))
			}
		}
		for _, n := range tries {
			s.Retried += n - 1
		}
		if b.chains {
			if signed, ok := b.signedByChains(t, r.GetName()); ok {
				chains = append(chains, signed.Sub(end))
			} else {
				s.Unsigned++
			}
		}
	}
	s.Run, s.Steps, s.Slot, s.Evident, s.Attested, s.Judged = spreadOf(run), spreadOf(steps), spreadOf(slot), spreadOf(evident), spreadOf(attested), spreadOf(verdict)
	if b.chains {
		c := spreadOf(chains)
		s.Chains = &c
	}
}

// signedByChains waits until Tekton Chains has signed a run, for as long as it may still
// come.
func (b *bench) signedByChains(t *testing.T, run string) (time.Time, bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(2 * time.Second) {
		r, err := b.client.Resource(pipelineRunKind).Namespace(tenantNamespace).Get(t.Context(), run, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		when, ok, err := chainsSigned(raw)
		if err != nil {
			t.Fatal(err)
		}
		if ok || time.Now().After(end) || r.GetAnnotations()["chains.tekton.dev/signed"] != "" {
			return when, ok
		}
	}
}

func at(u unstructured.Unstructured, path ...string) (time.Time, bool) {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	when, err := time.Parse(time.RFC3339, s)
	return when, err == nil
}

func succeeded(u unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return m["type"] == "Succeeded" && m["status"] == "True"
	})
}

// stepTimes are when the first step of a TaskRun began, and when the last one ended.
func stepTimes(u unstructured.Unstructured) (first, last time.Time, ok bool) {
	steps, _, _ := unstructured.NestedSlice(u.Object, "status", "steps")
	for _, s := range steps {
		m, _ := s.(map[string]any)
		step := unstructured.Unstructured{Object: m}
		began, b := at(step, "terminated", "startedAt")
		ended, e := at(step, "terminated", "finishedAt")
		if !b || !e {
			continue
		}
		if !ok || began.Before(first) {
			first = began
		}
		if ended.After(last) {
			last = ended
		}
		ok = true
	}
	return first, last, ok
}

// registryOf counts what became of the runs, and looks in the registry, past pathctl, for
// each piece of evidence: once on its subject, and of that run. Then pathctl says of each
// image, from outside, whether it verifies.
func (b *bench) registryOf(t *testing.T, s *benchSize, runs []unstructured.Unstructured, images map[string]string) {
	t.Helper()
	var kinds []string // of the first run, which all others must have as well
	digests := map[string]bool{}
	for _, r := range runs {
		note := r.GetAnnotations()[controller.SignedAnnotation]
		switch {
		case slices.Contains(r.GetFinalizers(), controller.Finalizer) || note == "":
			continue // lost
		case note != "true":
			s.Refused++
			if s.Refused == 1 {
				t.Logf("run %s: %s", r.GetName(), note)
				b.explain(t, r.GetName())
			}
			continue
		}
		s.Signed++
		digest := r.GetAnnotations()[controller.ImageAnnotation]
		digests[digest] = true
		counts, of, err := b.evidence(t.Context(), images[r.GetName()], digest)
		if err != nil {
			t.Fatal(err)
		}
		twice, have := false, []string{}
		for kind, k := range counts {
			s.Evidence += k
			twice = twice || k > 1
			have = append(have, kind)
		}
		slices.Sort(have)
		if kinds == nil {
			kinds = have
			t.Logf("evidence of a run: %q", have)
		}
		if twice {
			s.Twice++
			t.Errorf("run %s: evidence is there twice: %v", r.GetName(), counts)
		}
		if len(have) < 8 || !slices.Equal(have, kinds) || !strings.Contains(of, string(r.GetUID())) {
			s.Incomplete++
			t.Errorf("run %s, UID %s: evidence %q of the invocation %q; another one has %q", r.GetName(), r.GetUID(), have, of, kinds)
		}
		if v := b.pathctl(t, "verify", images[r.GetName()]+"@"+digest); v.code != 0 {
			s.Rejected++
			t.Errorf("run %s: exit %d\n%s%s", r.GetName(), v.code, v.stdout, v.stderr)
		}
	}
	s.Images, s.Lost = len(digests), s.Runs-s.Signed-s.Refused
	if s.Lost > 0 {
		for name := range images {
			i := slices.IndexFunc(runs, func(r unstructured.Unstructured) bool { return r.GetName() == name })
			if i < 0 || runs[i].GetAnnotations()[controller.SignedAnnotation] == "" {
				b.explain(t, name)
				break
			}
		}
	}
}

// evidence counts the bundles on an image, its platforms' manifests among them, by type and
// subject, and returns which invocation the provenance names.
func (b *bench) evidence(ctx context.Context, image, digest string) (counts map[string]int, invocation string, err error) {
	repo, err := name.NewRepository(strings.Replace(image, local, b.RegistryHost, 1))
	if err != nil {
		return nil, "", err
	}
	subjects := []string{digest}
	at, err := remote.Get(repo.Digest(digest), remote.WithContext(ctx))
	if err != nil {
		return nil, "", err
	}
	if at.MediaType.IsIndex() {
		index, err := v1.ParseIndexManifest(strings.NewReader(string(at.Manifest)))
		if err != nil {
			return nil, "", err
		}
		for _, m := range index.Manifests {
			subjects = append(subjects, m.Digest.String())
		}
	}
	counts = map[string]int{}
	for i, subject := range subjects {
		list, err := remote.Referrers(repo.Digest(subject), remote.WithContext(ctx))
		if err != nil {
			return nil, "", err
		}
		index, err := list.IndexManifest()
		if err != nil {
			return nil, "", err
		}
		for _, m := range index.Manifests {
			if m.ArtifactType != attest.BundleType {
				continue
			}
			kind, of, err := statement(ctx, repo.Digest(m.Digest.String()))
			if err != nil {
				return nil, "", err
			}
			// Digests differ from run to run, places don't.
			counts[fmt.Sprintf("%s on %d", kind, i)]++
			if of != "" {
				invocation = of
			}
		}
	}
	return counts, invocation, nil
}

// statement reads a bundle's predicate type, and the invocation if it has one.
func statement(ctx context.Context, bundle name.Digest) (kind, invocation string, err error) {
	image, err := remote.Image(bundle, remote.WithContext(ctx))
	if err != nil {
		return "", "", err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", "", err
	}
	if len(layers) != 1 {
		return "", "", fmt.Errorf("%s: %d layers", bundle, len(layers))
	}
	r, err := layers[0].Compressed() // as it is
	if err != nil {
		return "", "", err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, 64<<20))
	if err != nil {
		return "", "", err
	}
	var b struct {
		DSSEEnvelope struct{ Payload []byte }
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return "", "", fmt.Errorf("%s: %w", bundle, err)
	}
	var s struct {
		PredicateType string
		Subject       []struct{ Digest map[string]string }
		Predicate     struct {
			RunDetails struct {
				Metadata struct{ InvocationID string }
			}
		}
	}
	if err := json.Unmarshal(b.DSSEEnvelope.Payload, &s); err != nil {
		return "", "", fmt.Errorf("%s: %w", bundle, err)
	}
	if s.PredicateType == "" || len(s.Subject) != 1 {
		return "", "", fmt.Errorf("%s: a statement of type %q about %v", bundle, s.PredicateType, s.Subject)
	}
	return s.PredicateType, s.Predicate.RunDetails.Metadata.InvocationID, nil
}
