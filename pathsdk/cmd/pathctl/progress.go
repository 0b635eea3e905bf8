package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pavedpaths/paths/pathsdk/run"
)

// progress shows what happens while it happens, on standard error: a live tree
// on a terminal, plain lines elsewhere. Results never go through it.
type progress struct {
	mu    sync.Mutex
	nodes []nodeSummary
	view  view
	once  sync.Once
}

// view draws events.
type view interface {
	event(run.Event)
	close()
}

// nodeSummary is one node's place in the summary and in the report.
type nodeSummary struct {
	Node    string        `json:"node"`
	Zone    string        `json:"zone"`
	Result  string        `json:"result"`
	Started time.Time     `json:"started"`
	Elapsed time.Duration `json:"elapsed"` // nanoseconds
}

// newProgress shows the events of one command, titled as it was asked for.
func newProgress(a *app, title string) *progress {
	p := &progress{}
	if a.host.Terminal {
		p.view = newTree(a, title)
	} else {
		p.view = newLines(a.stderr, stillRunning)
	}
	return p
}

// observe takes one event; several goroutines may call it.
func (p *progress) observe(e run.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case "start":
		p.nodes = append(p.nodes, nodeSummary{Node: e.Node, Zone: e.Zone, Started: e.Time})
	case "finish":
		for i := range p.nodes {
			if p.nodes[i].Node == e.Node {
				p.nodes[i].Result, p.nodes[i].Elapsed = e.Result, e.Elapsed
			}
		}
	}
	p.view.event(e)
}

func (p *progress) summary() []nodeSummary {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]nodeSummary(nil), p.nodes...)
}

// close ends the display; it may be called twice.
func (p *progress) close() { p.once.Do(p.view.close) }

// stillRunning is how long plain progress stays silent while steps run.
const stillRunning = 15 * time.Second

// lines is the display for logs of a CI system: one line for each end of a node,
// one for each log line, and one now and then that says what still runs.
type lines struct {
	mu      sync.Mutex
	w       io.Writer
	running []string
	since   map[string]time.Time
	spoke   time.Time
	stop    chan struct{}
}

func newLines(w io.Writer, silence time.Duration) *lines {
	l := &lines{w: w, since: map[string]time.Time{}, spoke: time.Now(), stop: make(chan struct{})}
	go func() {
		tick := time.NewTicker(silence / 3)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				l.remind(silence)
			}
		}
	}()
	return l
}

// remind says what runs after a long silence.
func (l *lines) remind(silence time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.running) == 0 || time.Since(l.spoke) < silence {
		return
	}
	var parts []string
	for _, n := range l.running {
		parts = append(parts, fmt.Sprintf("%s for %s", n, time.Since(l.since[n]).Round(time.Second)))
	}
	fmt.Fprintf(l.w, "still running: %s\n", strings.Join(parts, ", "))
	l.spoke = time.Now()
}

func (l *lines) event(e run.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case "start":
		l.running = append(l.running, e.Node)
		l.since[e.Node] = time.Now()
		return
	case "log", "ask":
		fmt.Fprintf(l.w, "%-11s | %s\n", e.Node, clean(e.Text))
	case "finish":
		l.running = slices.DeleteFunc(l.running, func(n string) bool { return n == e.Node })
		text := ""
		if e.Result == run.Failed {
			text, _, _ = strings.Cut(clean(e.Text), "\n")
			text = ": " + text
		}
		fmt.Fprintf(l.w, "%-11s %s in %s%s\n", e.Node, e.Result, e.Elapsed.Round(time.Millisecond), text)
	}
	l.spoke = time.Now()
}

func (l *lines) close() { close(l.stop) }

// clean drops control characters that user code may have printed: a log line
// may not move the cursor or rewrite what stands above it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\n' && r != '\t') || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, s)
}
