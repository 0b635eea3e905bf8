package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// reconcile does the next thing for a run. What it does comes back as an event of a watch
// and leads to the thing after that; a run that waits for time to pass is looked at again
// after the duration that it returns.
func (c *Controller) reconcile(ctx context.Context, key string) (time.Duration, error) {
	namespace, _, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return 0, nil
	}
	u := c.get(namespace, key)
	if u == nil {
		c.leave(key)
		return 0, nil
	}
	r := readRun(u)
	now := time.Now()
	trusted := func(bundle string) bool {
		var ok bool
		ok, err = c.trust.has(ctx, bundle)
		return ok
	}
	act := decide(r, c.triesOf(r.uid), &c.cfg, trusted, now)
	if err != nil {
		return 0, err
	}
	if act.do != start {
		c.leave(key)
	}
	switch act.do {
	case hold:
		return 0, c.patch(ctx, r, map[string]any{"finalizers": append(slices.Clone(r.finalizers), Finalizer)})
	case start:
		return c.start(ctx, r, act)
	case settle:
		return 0, c.settle(ctx, r, act)
	}
	return act.after, nil
}

func (c *Controller) start(ctx context.Context, r run, act action) (time.Duration, error) {
	t := c.cfg.taskRun(act.stage, r, act.number, act.image)
	if !c.slots.claim(r, t.GetName()) {
		return unseen, nil // those that end will wake it before
	}
	_, err := c.client.Resource(taskRuns).Namespace(SigningNamespace).Create(ctx, t, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		c.slots.free(t.GetName())
		c.wake()
		return 0, fmt.Errorf("create TaskRun %s in %s: %w", t.GetName(), SigningNamespace, err)
	}
	if err == nil {
		c.log.Info("started", "run", r.key(), "taskrun", t.GetName())
		if act.number > 0 {
			c.metrics.retried.Inc()
		}
	}
	if act.event.id != "" {
		// Not worth starting over: the TaskRun is there.
		if err := c.tell(ctx, r, act.event); err != nil {
			c.log.Warn("event is lost", "run", r.key(), "event", act.event.reason, "error", clean(err.Error(), maxMessage))
		}
	}
	return 0, nil
}

// settle tells a run what became of it and lets it go: both in one request, so that there
// is no run that is let go and doesn't say why.
func (c *Controller) settle(ctx context.Context, r run, act action) error {
	if err := c.tell(ctx, r, act.event); err != nil {
		return err
	}
	annotations := map[string]any{SignedAnnotation: act.note, ImageAnnotation: nil}
	if act.image != "" {
		annotations[ImageAnnotation] = act.image
	}
	others := slices.DeleteFunc(slices.Clone(r.finalizers), func(f string) bool { return f == Finalizer })
	if err := c.patch(ctx, r, map[string]any{"finalizers": others, "annotations": annotations}); err != nil {
		return err
	}
	if r.held || r.note == "" { // not when an edit of the tenant was undone
		c.metrics.settled(act)
		c.log.Info("settled", "run", r.key(), "uid", r.uid, "outcome", act.outcome, "note", act.note)
	}
	return nil
}

// patch changes a run's metadata, if the run is still as it was read.
func (c *Controller) patch(ctx context.Context, r run, metadata map[string]any) error {
	metadata["uid"], metadata["resourceVersion"] = r.uid, r.version
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = c.client.Resource(pipelineRuns).Namespace(r.namespace).Patch(ctx, r.name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "paths-controller"})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patch PipelineRun %s: %w", r.key(), err)
	}
	return nil
}

// tell creates an event on a run. Its name makes it one, however often it is told.
func (c *Controller) tell(ctx context.Context, r run, e event) error {
	kind := "Normal"
	if e.warning {
		kind = "Warning"
	}
	now := time.Now().UTC().Format(time.RFC3339)
	_, err := c.client.Resource(events).Namespace(r.namespace).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Event",
		"metadata":   map[string]any{"name": "paths." + r.uid + "." + e.id, "namespace": r.namespace},
		"involvedObject": map[string]any{
			"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "namespace": r.namespace, "name": r.name, "uid": r.uid,
		},
		"type":               kind,
		"reason":             e.reason,
		"message":            clean(e.message, maxEvent),
		"source":             map[string]any{"component": "paths-controller"},
		"reportingComponent": "paths-controller",
		"firstTimestamp":     now,
		"lastTimestamp":      now,
		"count":              int64(1),
	}}, metav1.CreateOptions{})
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err), apierrors.IsInvalid(err):
		// As in a namespace that is being deleted: a run must not be held because
		// nothing can be told to it.
		c.log.Warn("event can't be told", "run", r.key(), "event", e.reason, "error", clean(err.Error(), maxMessage))
		return nil
	}
	return fmt.Errorf("create event on %s: %w", r.key(), err)
}

// collect deletes signing TaskRuns that have ended long ago: an owner reference, which
// would do this, can't cross namespaces.
func (c *Controller) collect(ctx context.Context) {
	tick := time.NewTicker(c.cfg.CollectEvery)
	defer tick.Stop()
	for {
		for _, o := range c.taskRuns.GetStore().List() {
			u, ok := o.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			t, ok := readTry(u)
			if !ok || !t.done || time.Since(t.ended) <= c.cfg.Retention || c.needed(t) {
				continue
			}
			uid := u.GetUID()
			// The intent first: while its TaskRun is there, it is not forgotten.
			err := c.forget(ctx, t)
			if err == nil {
				err = c.client.Resource(taskRuns).Namespace(SigningNamespace).Delete(ctx, t.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
			}
			if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
				c.log.Warn("old TaskRun is not deleted yet", "taskrun", t.name, "error", clean(err.Error(), maxMessage))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// forget deletes what an attempt at signing had written down, which no attempt reads again
// once the run is settled. Where runs can't be seen, as in a namespace that is no build
// namespace any more, the run could come back: there it stays.
func (c *Controller) forget(ctx context.Context, t try) error {
	c.mu.Lock()
	_, watched := c.builds[t.runNamespace]
	c.mu.Unlock()
	if t.stage != signing.prefix || !watched {
		return nil
	}
	err := c.client.Resource(configMaps).Namespace(SigningNamespace).Delete(ctx, intentPrefix+t.uid, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// needed reports whether the run of a TaskRun is not settled, or not known yet.
func (c *Controller) needed(t try) bool {
	c.mu.Lock()
	b, watched := c.builds[t.runNamespace]
	c.mu.Unlock()
	if watched && !b.runs.HasSynced() {
		return true
	}
	u := c.get(t.runNamespace, t.runNamespace+"/"+t.runName)
	return u != nil && string(u.GetUID()) == t.uid && readRun(u).held
}

// leave takes a run out of the line for signers.
func (c *Controller) leave(key string) {
	if c.slots.leave(key) {
		c.wake()
	}
}

func (c *Controller) get(namespace, key string) *unstructured.Unstructured {
	c.mu.Lock()
	b, watched := c.builds[namespace]
	c.mu.Unlock()
	if !watched {
		return nil
	}
	o, _, _ := b.runs.GetStore().GetByKey(key)
	u, _ := o.(*unstructured.Unstructured)
	return u
}

func (c *Controller) triesOf(uid string) []try {
	found, _ := c.taskRuns.GetIndexer().ByIndex(byRun, uid)
	var tries []try
	for _, o := range found {
		if u, ok := o.(*unstructured.Unstructured); ok {
			if t, ok := readTry(u); ok {
				tries = append(tries, t)
			}
		}
	}
	return tries
}
