// Package controller starts the signer for runs that have ended, and tells each run what
// became of it. It holds no identity that signs.
//
// All state is in the API server: the signing TaskRuns, named after the UID of the run they
// are about, say what was tried and how it went. A controller that starts anew reads them,
// decides as the one before it would have, and creates what is there already once more,
// which the API server refuses. What a tenant may write, labels and annotations of a run,
// is never read to decide.
package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

var (
	pipelineRuns = schema.GroupVersionResource{Group: "tekton.dev", Version: "v1", Resource: "pipelineruns"}
	taskRuns     = schema.GroupVersionResource{Group: "tekton.dev", Version: "v1", Resource: "taskruns"}
	namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps   = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	events       = schema.GroupVersionResource{Version: "v1", Resource: "events"}
)

// byRun is the index of signing TaskRuns by the UID of the run that they are about.
const byRun = "run"

// Controller reconciles the runs of all build namespaces.
type Controller struct {
	client  dynamic.Interface
	log     *slog.Logger
	cfg     Config
	metrics *metrics
	trust   *trust
	slots   *slots

	queue    workqueue.TypedRateLimitingInterface[string]
	taskRuns cache.SharedIndexInformer

	mu     sync.Mutex
	builds map[string]*build // by namespace
	synced bool
}

// build is a namespace that is watched for runs.
type build struct {
	runs cache.SharedIndexInformer
	stop context.CancelFunc
}

// New returns a controller that registers its metrics with reg.
func New(client dynamic.Interface, log *slog.Logger, reg prometheus.Registerer, cfg Config) *Controller {
	c := &Controller{
		client: client,
		log:    log,
		cfg:    cfg,
		trust:  &trust{client: client},
		slots:  newSlots(cfg.Signers),
		builds: map[string]*build{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](
			cfg.ErrorBackoff, cfg.ErrorBackoffMax)),
	}
	c.metrics = newMetrics(reg, c.slots.waits, c.slots.runs, c.queue.Len, c.unread)
	signing := dynamicinformer.NewFilteredDynamicInformer(client, taskRuns, SigningNamespace, 0,
		cache.Indexers{byRun: indexByRun}, func(o *metav1.ListOptions) { o.LabelSelector = runUIDLabel })
	c.taskRuns = signing.Informer()
	return c
}

// Run reconciles until the context is done. It must run once only.
func (c *Controller) Run(ctx context.Context) error {
	defer c.queue.ShutDown()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	watchNamespaces := dynamicinformer.NewFilteredDynamicInformer(c.client, namespaces, metav1.NamespaceAll, 0, nil,
		func(o *metav1.ListOptions) { o.LabelSelector = ZoneLabel + "=build" }).Informer()
	if _, err := c.listen(c.taskRuns, "TaskRuns of "+SigningNamespace, cache.ResourceEventHandlerFuncs{
		AddFunc:    c.seeTaskRun,
		UpdateFunc: func(_, o any) { c.seeTaskRun(o) },
		DeleteFunc: c.loseTaskRun,
	}); err != nil {
		return err
	}
	watched, err := c.listen(watchNamespaces, "namespaces", cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.watch(ctx, &wg, nameOf(o)) },
		DeleteFunc: func(o any) { c.unwatch(nameOf(o)) },
	})
	if err != nil {
		return err
	}
	// What was tried must be known before anything is decided: a run without its
	// TaskRuns looks like one that nobody has begun to sign.
	wg.Go(func() { c.taskRuns.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), c.taskRuns.HasSynced) {
		return nil
	}
	// And each namespace there is must be watched before anything is deleted: a run that
	// can't be seen looks like one that is gone.
	wg.Go(func() { watchNamespaces.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), watched.HasSynced) {
		return nil
	}
	for range c.cfg.Workers {
		wg.Go(func() {
			for c.next(ctx) {
			}
		})
	}
	wg.Go(func() { c.collect(ctx) })
	c.mu.Lock()
	c.synced = true
	c.mu.Unlock()
	c.log.Info("controller runs", "signers", c.cfg.Signers, "retention", c.cfg.Retention.String())
	<-ctx.Done()
	c.queue.ShutDown()
	return nil
}

// Ready reports whether the controller knows what was tried, and which namespaces there
// are. A namespace that can't be read must not make the others wait: unread counts those.
func (c *Controller) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced
}

func (c *Controller) unread() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, b := range c.builds {
		if !b.runs.HasSynced() {
			n++
		}
	}
	return n
}

// listen prepares an informer: what nobody reads is not kept, and a watch that fails says
// which right is missing.
func (c *Controller) listen(in cache.SharedIndexInformer, what string, h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	if err := in.SetTransform(slim); err != nil {
		return nil, fmt.Errorf("watch %s: %w", what, err)
	}
	if err := in.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, io.EOF), apierrors.IsResourceExpired(err), apierrors.IsGone(err): // as watches end
		default:
			c.log.Warn("a watch ended; it is tried again: if that does not help, check the RBAC in deploy.yaml", "watch", what, "error", clean(err.Error(), maxMessage))
		}
	}); err != nil {
		return nil, fmt.Errorf("watch %s: %w", what, err)
	}
	seen, err := in.AddEventHandler(h)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", what, err)
	}
	return seen, nil
}

// watch begins to watch a namespace for runs. One watch for each namespace, and not one
// for the cluster, so that the right to read runs is given namespace by namespace.
func (c *Controller) watch(ctx context.Context, wg *sync.WaitGroup, namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.builds[namespace]; ok || ctx.Err() != nil {
		return
	}
	runs := dynamicinformer.NewFilteredDynamicInformer(c.client, pipelineRuns, namespace, 0, cache.Indexers{}, nil).Informer()
	_, err := c.listen(runs, "PipelineRuns of "+namespace, cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { c.queue.Add(keyOf(o)) },
		UpdateFunc: func(_, o any) {
			// A run that is not held is settled, or its finalizer was taken away: a
			// tenant who edits it in a loop costs one look a second.
			if u, ok := o.(*unstructured.Unstructured); ok && !readRun(u).held {
				c.queue.AddAfter(keyOf(o), time.Second)
				return
			}
			c.queue.Add(keyOf(o))
		},
		DeleteFunc: func(o any) { c.queue.Add(keyOf(o)) },
	})
	if err != nil {
		c.log.Error("namespace is not watched; restart the controller", "namespace", namespace, "error", err)
		return
	}
	ctx, stop := context.WithCancel(ctx)
	c.builds[namespace] = &build{runs: runs, stop: stop}
	wg.Go(func() { runs.RunWithContext(ctx) })
	c.log.Info("watch namespace", "namespace", namespace)
}

func (c *Controller) unwatch(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.builds[namespace]; ok {
		b.stop()
		delete(c.builds, namespace)
		c.log.Info("namespace is no build namespace any more", "namespace", namespace)
	}
}

// seeTaskRun wakes the run that a signing TaskRun is about, and those that wait for its slot.
func (c *Controller) seeTaskRun(o any) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	t, ok := readTry(u)
	if !ok {
		return
	}
	if t.done {
		c.slots.free(t.name)
	} else {
		c.slots.hold(t.name, t.runNamespace)
	}
	c.queue.Add(t.runNamespace + "/" + t.runName)
	c.wake()
}

func (c *Controller) loseTaskRun(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	if t, ok := readTry(u); ok {
		c.slots.free(t.name)
		c.queue.Add(t.runNamespace + "/" + t.runName)
		c.wake()
	}
}

// wake looks again at the runs whose turn it is.
func (c *Controller) wake() {
	for _, key := range c.slots.next() {
		c.queue.Add(key)
	}
}

func (c *Controller) next(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	after, err := c.reconcile(ctx, key)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		// A conflict means that the run has changed meanwhile: not worth a line.
		if !apierrors.IsConflict(err) {
			c.log.Error("run is tried again", "run", key, "error", clean(err.Error(), maxMessage))
		}
		c.queue.AddRateLimited(key)
	default:
		c.queue.Forget(key)
		if after > 0 {
			c.queue.AddAfter(key, after)
		}
	}
	return true
}

// slim drops what no decision reads, so that memory follows the number of runs and not
// their size.
func slim(o any) (any, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return o, nil
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(u.Object, "status", "pipelineSpec")
	unstructured.RemoveNestedField(u.Object, "status", "taskSpec")
	unstructured.RemoveNestedField(u.Object, "status", "childReferences")
	if u.GetKind() == "PipelineRun" {
		params, _, _ := unstructured.NestedSlice(u.Object, "spec", "params")
		u.Object["spec"] = map[string]any{"params": params}
	}
	return u, nil
}

func keyOf(o any) string {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return ""
	}
	return key
}

func nameOf(o any) string {
	_, name, _ := cache.SplitMetaNamespaceKey(keyOf(o))
	return name
}
