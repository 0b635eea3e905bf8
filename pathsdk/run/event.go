package run

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Event is one thing that happened to a node; progress displays are made of
// events, and they cross processes as JSON lines.
type Event struct {
	Time time.Time `json:"time"`
	// Kind is start, log, finish, or ask: something that a person has to do.
	Kind string `json:"kind"`
	Node string `json:"node"`
	Zone string `json:"zone,omitempty"`
	// Text is a log line, what is asked for, or the error of a node that failed.
	Text string `json:"text,omitempty"`
	// Result of a finish: passed, failed, cached or cancelled.
	Result  string        `json:"result,omitempty"`
	Elapsed time.Duration `json:"elapsed,omitempty"` // nanoseconds
}

// The results of a finished node.
const (
	Passed    = "passed"
	Failed    = "failed"
	Cached    = "cached"
	Cancelled = "cancelled"
)

// events hands events to one observer, one at a time.
type events struct {
	mu      sync.Mutex
	observe func(Event)
	now     func() time.Time
}

func newEvents(observe func(Event), now func() time.Time) *events {
	if observe == nil {
		observe = func(Event) {}
	}
	return &events{observe: observe, now: now}
}

func (e *events) emit(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Time.IsZero() {
		ev.Time = e.now()
	}
	e.observe(ev)
}

func (e *events) log(node, text string) {
	e.emit(Event{Kind: "log", Node: node, Text: text})
}

// announced emits the start and finish of each call.
func (r *Runner) announced(next invoker) invoker {
	return func(ctx context.Context, c *call) (outcome, error) {
		start := time.Now()
		r.events.emit(Event{Kind: "start", Node: c.id, Zone: string(c.spec.Zone)})
		o, err := next(ctx, c)
		ev := Event{Kind: "finish", Node: c.id, Zone: string(c.spec.Zone), Result: Passed, Elapsed: time.Since(start)}
		switch {
		case err != nil && ctx.Err() != nil:
			ev.Result = Cancelled
		case err != nil:
			ev.Result, ev.Text = Failed, err.Error()
		case o.cached:
			ev.Result = Cached
		}
		r.events.emit(ev)
		return o, err
	}
}

// handler makes a log handler whose lines become events of one node.
func (e *events) handler(node string) slog.Handler { return &logHandler{events: e, node: node} }

type logHandler struct {
	events *events
	node   string
	attrs  string
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *logHandler) Handle(_ context.Context, rec slog.Record) error {
	var b strings.Builder
	b.WriteString(rec.Message)
	b.WriteString(h.attrs)
	rec.Attrs(func(a slog.Attr) bool {
		b.WriteString(" " + a.String())
		return true
	})
	h.events.log(h.node, b.String())
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, a := range attrs {
		next.attrs += " " + a.String()
	}
	return &next
}

func (h *logHandler) WithGroup(string) slog.Handler { return h }
