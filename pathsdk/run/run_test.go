package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// The test binary is its own fenced child.
func TestMain(m *testing.M) {
	if code, ok := Reexec(os.Args, fencedStep); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

const some = step.Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

type textIn struct {
	Text string   `json:"text,omitempty" help:"text to write"`
	Dir  step.Dir `json:"dir,omitempty" help:"folder to read"`
}

type dirOut struct {
	Digest step.Digest `json:"digest" help:"a digest"`
	Dir    step.Dir    `json:"dir,omitempty" help:"what was made"`
}

func (dirOut) Subject() step.Subject { return step.Subject{Name: "made", Digest: some} }

// maker is a step that writes its text to a file, and counts its runs.
func maker(name string, zone step.Zone, runs *atomic.Int32, more func(context.Context, step.Env, textIn) error) step.Step {
	return step.Define(step.Meta{Name: name, Version: "1", Summary: "makes a folder", Zone: zone},
		func(ctx context.Context, env step.Env, in textIn) (dirOut, []step.Evidence, error) {
			if runs != nil {
				runs.Add(1)
			}
			if more != nil {
				if err := more(ctx, env, in); err != nil {
					return dirOut{}, nil, err
				}
			}
			dir := filepath.Join(env.Out, "made")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return dirOut{}, nil, err
			}
			err := os.WriteFile(filepath.Join(dir, "text"), []byte(in.Text), 0o644)
			return dirOut{Digest: some, Dir: step.Dir(dir)}, []step.Evidence{{Type: "https://example.com/t", Predicate: json.RawMessage(`{}`)}}, err
		})
}

func newRunner(t *testing.T, home string, steps map[string]step.Step, change func(*Config)) *Runner {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Home: home, Self: self, Jobs: 4, Tool: provenance.Tool{Name: "pathctl", Digest: some}, Step: func(n string) (step.Step, error) {
		if s, ok := steps[n]; ok {
			return s, nil
		}
		return nil, fmt.Errorf("no step %q", n)
	}}
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func dirOf(t *testing.T, rec provenance.NodeRecord) string {
	t.Helper()
	var out dirOut
	if err := json.Unmarshal(rec.Output, &out); err != nil {
		t.Fatal(err)
	}
	return string(out.Dir)
}

func TestCacheHitsOnSameInputs(t *testing.T) {
	home := t.TempDir()
	var runs atomic.Int32
	steps := map[string]step.Step{"make": maker("make", step.ZoneAttest, &runs, nil)}
	in := json.RawMessage(`{"text":"a"}`)
	first, err := newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Cached || first.Cached || runs.Load() != 1 {
		t.Errorf("first cached %v, second cached %v, %d runs; want false, true, 1", first.Cached, second.Cached, runs.Load())
	}
	second.Cached = false
	if d := cmp.Diff(first, second); d != "" {
		t.Errorf("a cached outcome differs (-first +second):\n%s", d)
	}
	for name, change := range map[string]func(*Config) json.RawMessage{
		"other input": func(*Config) json.RawMessage { return json.RawMessage(`{"text":"b"}`) },
		"other tool": func(c *Config) json.RawMessage {
			c.Tool.Digest = "sha256:" + step.Digest(strings.Repeat("0", 64))
			return in
		},
		"no cache": func(c *Config) json.RawMessage { c.NoCache = true; return in },
	} {
		var raw json.RawMessage
		r := newRunner(t, home, steps, func(c *Config) { raw = change(c) })
		rec, err := r.Step(t.Context(), "n", "make", raw)
		if err != nil || rec.Cached {
			t.Errorf("%s: cached %v, err %v; want a new run", name, rec.Cached, err)
		}
	}
}

// Content counts, not the path: a folder of the same content elsewhere is the
// same input.
func TestCacheKeyIsContent(t *testing.T) {
	home := t.TempDir()
	steps := map[string]step.Step{"make": maker("make", step.ZoneAttest, nil, nil)}
	key := func(text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		in, _ := json.Marshal(map[string]string{"dir": dir})
		rec, err := newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in)
		if err != nil {
			t.Fatal(err)
		}
		return rec.Key
	}
	if a, b, c := key("x"), key("x"), key("y"); a != b || a == c {
		t.Errorf("keys %s %s %s: want the first two equal, the third not", a, b, c)
	}
}

func TestCorruptCacheEntryIsRecomputed(t *testing.T) {
	for name, corrupt := range map[string]func(t *testing.T, entry string){
		"file changed": func(t *testing.T, e string) { write(t, filepath.Join(e, "out/made/text"), "poison") },
		"file added":   func(t *testing.T, e string) { write(t, filepath.Join(e, "out/made/more"), "poison") },
		"file removed": func(t *testing.T, e string) { os.Remove(filepath.Join(e, "out/made/text")) },
		"made executable": func(t *testing.T, e string) {
			if err := os.Chmod(filepath.Join(e, "out/made/text"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"file and entry changed": func(t *testing.T, e string) {
			write(t, filepath.Join(e, "out/made/text"), "poison")
			edit(t, filepath.Join(e, "entry.json"), func(m map[string]any) {
				list, err := manifest(filepath.Join(e, "out/made"))
				if err != nil {
					t.Fatal(err)
				}
				m["files"] = map[string]any{"dir": list}
			})
		},
		"evidence changed": func(t *testing.T, e string) {
			edit(t, filepath.Join(e, "entry.json"), func(m map[string]any) {
				m["result"].(map[string]any)["evidence"] = []any{}
			})
		},
		"entry truncated": func(t *testing.T, e string) { write(t, filepath.Join(e, "entry.json"), "{") },
		"entry removed":   func(t *testing.T, e string) { os.Remove(filepath.Join(e, "entry.json")) },
		"link out": func(t *testing.T, e string) {
			os.Remove(filepath.Join(e, "out/made/text"))
			if err := os.Symlink("/etc/passwd", filepath.Join(e, "out/made/text")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			var runs atomic.Int32
			steps := map[string]step.Step{"make": maker("make", step.ZoneAttest, &runs, nil)}
			in := json.RawMessage(`{"text":"right"}`)
			rec, err := newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in)
			if err != nil {
				t.Fatal(err)
			}
			corrupt(t, filepath.Join(home, "cache/attest/steps/make", rec.Key))
			rec, err = newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dirOf(t, rec), "text"))
			if err != nil || string(got) != "right" || rec.Cached || runs.Load() != 2 {
				t.Errorf("text %q (%v), cached %v, %d runs; want right, false, 2", got, err, rec.Cached, runs.Load())
			}
			if rec, err = newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in); err != nil || !rec.Cached {
				t.Errorf("after mending: cached %v, err %v; want a hit", rec.Cached, err)
			}
		})
	}
}

// An entry of another zone, or one that user code made up with a key of its own,
// is no hit.
func TestForgedCacheEntry(t *testing.T) {
	home := t.TempDir()
	steps := map[string]step.Step{"make": maker("make", step.ZoneAttest, nil, nil)}
	in := json.RawMessage(`{"text":"right"}`)
	rec, err := newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(home, "cache/attest/steps/make", rec.Key, "entry.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	e.Result.Evidence = nil
	if err := e.seal([]byte("0123456789abcdef0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	raw, _ = json.Marshal(e)
	write(t, path, string(raw))
	if rec, err = newRunner(t, home, steps, nil).Step(t.Context(), "n", "make", in); err != nil || rec.Cached || len(rec.Evidence) != 1 {
		t.Errorf("forged entry: cached %v, %d pieces of evidence, err %v; want a new run", rec.Cached, len(rec.Evidence), err)
	}
}

func TestOutputOutsideIsRefused(t *testing.T) {
	outside := t.TempDir()
	for name, leave := range map[string]func(env step.Env) string{
		"elsewhere": func(step.Env) string { return outside },
		"dots":      func(env step.Env) string { return env.Out + "/../work" },
		"link": func(env step.Env) string {
			_ = os.Symlink(outside, filepath.Join(env.Out, "l"))
			return filepath.Join(env.Out, "l")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := step.Define(step.Meta{Name: "bad", Version: "1", Summary: "leaves", Zone: step.ZoneAttest},
				func(_ context.Context, env step.Env, _ textIn) (dirOut, []step.Evidence, error) {
					return dirOut{Digest: some, Dir: step.Dir(leave(env))}, nil, nil
				})
			_, err := newRunner(t, t.TempDir(), map[string]step.Step{"bad": s}, nil).Step(t.Context(), "n", "bad", nil)
			if err == nil || !strings.Contains(err.Error(), `"dir"`) {
				t.Errorf("err %v; want one that names the output", err)
			}
		})
	}
}

func graph(nodes ...paths.Node) paths.Path { return paths.Path{Name: "p", Version: "1", Nodes: nodes} }

func TestPathRunsInParallelAndInOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	together := make(chan struct{})
	var arrived atomic.Int32
	note := func(name string, meet bool) step.Step {
		return maker(name, step.ZoneAttest, nil, func(ctx context.Context, _ step.Env, _ textIn) error {
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			if !meet {
				return nil
			}
			// Both must be inside at once, or this waits for the time limit.
			if arrived.Add(1) == 2 {
				close(together)
			}
			select {
			case <-together:
				return nil
			case <-time.After(20 * time.Second):
				return errors.New("was alone")
			}
		})
	}
	steps := map[string]step.Step{"a": note("a", false), "b": note("b", true), "c": note("c", true), "d": note("d", false)}
	recs, err := newRunner(t, t.TempDir(), steps, nil).Path(t.Context(), Request{
		Path: graph(
			paths.Node{ID: "d", Step: "d", With: map[string]paths.Wire{"dir": paths.From("b", "dir")}, After: []string{"c"}},
			paths.Node{ID: "b", Step: "b", With: map[string]paths.Wire{"dir": paths.From("a", "dir")}},
			paths.Node{ID: "c", Step: "c", After: []string{"a"}},
			paths.Node{ID: "a", Step: "a", With: map[string]paths.Wire{"text": paths.Input("greeting")}},
		),
		Zones:  []step.Zone{step.ZoneAttest},
		Inputs: map[string]json.RawMessage{"greeting": json.RawMessage(`"hello"`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if order[0] != "a" || order[3] != "d" || len(recs) != 4 {
		t.Errorf("order %v, %d records; want a first, d last, 4", order, len(recs))
	}
}

func TestPathStopsOnFailure(t *testing.T) {
	gate := &step.GateError{Gate: "tests", Findings: []string{"TestX failed"}}
	var after atomic.Int32
	cancelled := make(chan struct{})
	started := make(chan struct{})
	steps := map[string]step.Step{
		"fail": maker("fail", step.ZoneAttest, nil, func(context.Context, step.Env, textIn) error { <-started; return gate }),
		"slow": maker("slow", step.ZoneAttest, nil, func(ctx context.Context, _ step.Env, _ textIn) error {
			close(started)
			<-ctx.Done()
			close(cancelled)
			return ctx.Err()
		}),
		"after": maker("after", step.ZoneAttest, &after, nil),
	}
	var mu sync.Mutex
	results := map[string]string{}
	r := newRunner(t, t.TempDir(), steps, func(c *Config) {
		c.Observe = func(e Event) {
			if e.Kind == "finish" {
				mu.Lock()
				results[e.Node] = e.Result
				mu.Unlock()
			}
		}
	})
	_, err := r.Path(t.Context(), Request{
		Path:  graph(paths.Node{ID: "slow", Step: "slow"}, paths.Node{ID: "fail", Step: "fail"}, paths.Node{ID: "after", Step: "after", After: []string{"fail"}}),
		Zones: []step.Zone{step.ZoneAttest},
	})
	var got *step.GateError
	if !errors.As(err, &got) || !strings.HasPrefix(err.Error(), "fail: ") {
		t.Errorf("err %v; want the gate of node fail", err)
	}
	<-cancelled
	if after.Load() != 0 {
		t.Error("a node ran after what it needs had failed")
	}
	if d := cmp.Diff(map[string]string{"fail": Failed, "slow": Cancelled}, results); d != "" {
		t.Errorf("results (-want +got):\n%s", d)
	}
}

func TestPathWiring(t *testing.T) {
	steps := map[string]step.Step{"make": maker("make", step.ZoneAttest, nil, nil), "build": maker("build", step.ZoneFetch, nil, nil)}
	for name, c := range map[string]struct {
		req  Request
		want string
	}{
		"cycle": {Request{Path: graph(paths.Node{ID: "a", Step: "make", After: []string{"b"}}, paths.Node{ID: "b", Step: "make", After: []string{"a"}})}, "cycle"},
		"other zone": {Request{Path: graph(paths.Node{ID: "z", Step: "build"},
			paths.Node{ID: "a", Step: "make", With: map[string]paths.Wire{"dir": paths.From("z", "dir")}})}, "never runs here"},
		"no step":   {Request{Path: graph(paths.Node{ID: "a", Step: "nope"})}, `no step "nope"`},
		"no input":  {Request{Path: graph(paths.Node{ID: "a", Step: "make", With: map[string]paths.Wire{"nope": paths.Value("x")}})}, `no input "nope"`},
		"no output": {Request{Path: graph(paths.Node{ID: "a", Step: "make", With: map[string]paths.Wire{"dir": paths.From("seed", "nope")}}), Seeds: map[string]provenance.NodeRecord{"seed": {ID: "seed", Output: json.RawMessage(`{}`)}}}, `no output "nope"`},
	} {
		c.req.Zones = []step.Zone{step.ZoneAttest}
		_, err := newRunner(t, t.TempDir(), steps, nil).Path(t.Context(), c.req)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err %v; want one with %q", name, err, c.want)
		}
	}
}

func TestSweepRemovesDeadRuns(t *testing.T) {
	home := t.TempDir()
	dead := filepath.Join(home, "work", "dead")
	if err := os.MkdirAll(filepath.Join(dead, "n", "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dead+".lock", "")
	alive := newRunner(t, home, nil, nil)
	newRunner(t, home, nil, nil)
	if _, err := os.Stat(dead); err == nil {
		t.Error("the folder of a dead run is still there")
	}
	if _, err := os.Stat(alive.Work()); err != nil {
		t.Errorf("the folder of a living run is gone: %v", err)
	}
}

// fencedStep is what the fenced child of this test binary can run.
func fencedStep(name string) (step.Step, error) {
	return maker(name, step.ZoneBuild, nil, func(ctx context.Context, env step.Env, in textIn) error {
		fmt.Println("stray output")
		env.Log.Info("inside the fence")
		if name == "gate" {
			return &step.GateError{Gate: "tests", Findings: []string{"one"}, Fix: "mend it"}
		}
		var got []string
		for _, path := range strings.Split(in.Text, ",") {
			if _, err := os.ReadFile(path); err == nil {
				got = append(got, "read "+path)
			}
			if err := os.WriteFile(path+".new", nil, 0o600); err == nil {
				got = append(got, "wrote beside "+path)
			}
		}
		if c, err := net.DialTimeout("tcp", os.Getenv("ADDR"), time.Second); err == nil {
			c.Close()
			got = append(got, "connected")
		}
		for _, e := range os.Environ() {
			if strings.HasPrefix(e, "PLANTED_SECRET") {
				got = append(got, "saw "+e)
			}
		}
		if len(got) > 0 {
			return errors.New(strings.Join(got, "; "))
		}
		return nil
	}), nil
}

func TestBuildZoneIsFenced(t *testing.T) {
	t.Setenv("PLANTED_SECRET", "hunter2")
	home := t.TempDir()
	key := filepath.Join(home, "keys", "attester.key")
	if err := os.MkdirAll(filepath.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, key, "secret")
	if b, err := os.ReadFile(key); err != nil || string(b) != "secret" {
		t.Fatal("the planted key can't be read even without a fence")
	}
	var logs []string
	var mu sync.Mutex
	s, _ := fencedStep("make")
	g, _ := fencedStep("gate")
	r := newRunner(t, home, map[string]step.Step{"make": s, "gate": g}, func(c *Config) {
		c.Observe = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == "log" {
				logs = append(logs, e.Text)
			}
		}
	})
	in, _ := json.Marshal(map[string]string{"text": key + "," + filepath.Join(home, "cache/attest/x")})
	rec, err := r.Step(t.Context(), "n", "make", in)
	if err != nil {
		t.Fatal(err)
	}
	if dirOf(t, rec) == "" || !slices.Contains(logs, "inside the fence") {
		t.Errorf("record %+v, logs %q: want an output and the log line", rec, logs)
	}
	values := map[string]string{}
	for _, f := range r.Facts() {
		values[f.Name] = f.Value
	}
	if values[provenance.FactKeys] != provenance.KeysUnreachable {
		t.Errorf("facts %v: want keys out of reach", values)
	}
	var gate *step.GateError
	if _, err := r.Step(t.Context(), "g", "gate", nil); !errors.As(err, &gate) || gate.Fix != "mend it" {
		t.Errorf("err %v: want the gate with its fix, from inside the fence", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if raw, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	write(t, path, string(raw))
}
