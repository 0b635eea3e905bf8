// Package run runs steps: it decides what is ready, hands each step its ports,
// keeps and checks the cache, fences what runs user code, and records what it
// saw. Each cross-cutting behaviour is a wrapper in a file of its own.
package run

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/run/fence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Config is what a Runner needs; Home, Self and Step are required.
type Config struct {
	// Home is the folder with caches and their keys.
	Home string
	// Self is the path of the pathctl binary, which is run again inside the
	// fence.
	Self string
	// Step finds a step of the catalog by name.
	Step func(name string) (step.Step, error)
	// Jobs bounds how many nodes run at once; 0 means one per processor.
	Jobs int
	// Reports is the folder that receives the files which steps of the build
	// zone leave, such as JUnit results, by node, whether they pass or fail;
	// empty drops them.
	Reports string
	// Dagger says that this runner is in a container of a Dagger engine.
	Dagger bool
	// NoCache makes every node run.
	NoCache bool
	// Tool is part of every cache key: another pathctl recomputes everything.
	Tool provenance.Tool
	// Observe receives events; nil drops them. It is called by one goroutine at
	// a time.
	Observe func(Event)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// HTTP is the client for steps; nil means http.DefaultClient.
	HTTP *http.Client
}

// Runner runs steps and paths for one process. Close removes its working
// folder.
type Runner struct {
	cfg    Config
	id     string
	work   string
	lock   *os.File
	events *events
	known  *known
	fence  *fence.Fence
	fences fences
	exec   invoker
}

// New makes a Runner, and removes what killed runs left behind.
func New(cfg Config) (*Runner, error) {
	if cfg.Jobs <= 0 {
		cfg.Jobs = runtime.NumCPU()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HTTP == nil {
		cfg.HTTP = http.DefaultClient
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	r := &Runner{cfg: cfg, id: hex.EncodeToString(id[:]), events: newEvents(cfg.Observe, cfg.Now), known: newKnown(), fence: fence.New(cfg.Self)}
	base := filepath.Join(cfg.Home, "work")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("make the working folder: %w", err)
	}
	sweep(base)
	var err error
	if r.work, r.lock, err = claim(base, r.id); err != nil {
		return nil, err
	}
	r.exec = r.traced(r.announced(r.cached(r.fenced(r.direct))))
	return r, nil
}

// Work is the run's private folder; Close removes it.
func (r *Runner) Work() string { return r.work }

// ID identifies this runner's run.
func (r *Runner) ID() string { return r.id }

// Close removes the working folder of this run.
func (r *Runner) Close() error {
	err := os.RemoveAll(r.work)
	_ = r.lock.Close()
	_ = os.Remove(r.work + ".lock")
	return err
}

// call is one step about to run, as the wrappers see it.
type call struct {
	id   string // node
	step step.Step
	spec step.Spec
	in   json.RawMessage // complete and canonical
	dir  string          // private folder of this call: work/ and out/ below it
}

func (c *call) out() string { return filepath.Join(c.dir, "out") }

// outcome is what one call gave.
type outcome struct {
	result   step.Result
	files    map[string]step.Digest // digest of each file and dir output
	started  time.Time
	finished time.Time
	cached   bool
	key      string
	fence    *fence.Report // what was around the step; nil if it ran in this process
}

// invoker runs a call; wrappers make invokers of invokers.
type invoker func(context.Context, *call) (outcome, error)

// Step runs one step by itself and returns what the runner saw of it. Files of
// the output are kept until Close, or in the cache.
func (r *Runner) Step(ctx context.Context, id, name string, in json.RawMessage) (provenance.NodeRecord, error) {
	s, err := r.cfg.Step(name)
	if err != nil {
		return provenance.NodeRecord{}, err
	}
	spec := s.Spec()
	rec := provenance.NodeRecord{ID: id, Step: spec.Name, Version: spec.Version, Zone: spec.Zone}
	full, err := step.Complete(spec, in)
	if err != nil {
		return rec, fmt.Errorf("step %s: %w", id, err)
	}
	c := &call{id: id, step: s, spec: spec, in: full, dir: filepath.Join(r.work, id)}
	// A relative path would mean another file inside the fence or the cache.
	if c.in, err = absolute(spec, full); err != nil {
		return rec, fmt.Errorf("step %s: %w", id, err)
	}
	o, err := r.exec(ctx, c)
	r.keepReports(c, o, err)
	if err == nil {
		if _, bad := step.ParseDigest(string(o.result.Subject.Digest)); bad != nil {
			err = fmt.Errorf("the step named no subject: %w", bad)
		}
	}
	rec.StartedOn, rec.FinishedOn, rec.Cached, rec.Key = o.started, o.finished, o.cached, o.key
	rec.Subject, rec.Output, rec.Evidence, rec.Files = o.result.Subject, o.result.Output, o.result.Evidence, o.files
	if err != nil {
		rec.Error = err.Error()
		return rec, &StepError{Node: id, Err: err}
	}
	return rec, nil
}

// StepError names the node that failed.
type StepError struct {
	Node string
	Err  error
}

func (e *StepError) Error() string { return e.Node + ": " + e.Err.Error() }

// Unwrap gives the step's own error.
func (e *StepError) Unwrap() error { return e.Err }

// direct runs the step in this process.
func (r *Runner) direct(ctx context.Context, c *call) (outcome, error) {
	env, err := r.env(c, fence.Plain{})
	if err != nil {
		return outcome{}, err
	}
	o := outcome{started: r.cfg.Now().UTC()}
	o.result, err = c.step.Run(ctx, env, c.in)
	o.finished = r.cfg.Now().UTC()
	if ctx.Err() != nil && err != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return o, err
}

// env makes the ports of one call, and its folders.
func (r *Runner) env(c *call, x step.Execer) (step.Env, error) {
	env := r.ports(c, x)
	env.Work, env.Out, env.Cache = filepath.Join(c.dir, "work"), c.out(), r.toolCache(c.spec.Zone)
	for _, d := range []string{env.Work, env.Out, env.Cache} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return env, fmt.Errorf("make the working folder: %w", err)
		}
	}
	return env, nil
}

// ports makes the ports of one call, without folders.
func (r *Runner) ports(c *call, x step.Execer) step.Env {
	return step.Env{
		Log:  slog.New(r.redacted(c, r.events.handler(c.id))),
		Now:  r.cfg.Now,
		HTTP: r.cfg.HTTP,
		Exec: x,
		Jobs: max(1, r.cfg.Jobs),
	}
}

// toolCache is the folder that a zone's steps keep between runs.
func (r *Runner) toolCache(z step.Zone) string {
	return filepath.Join(r.cfg.Home, "cache", string(z), "tools")
}
