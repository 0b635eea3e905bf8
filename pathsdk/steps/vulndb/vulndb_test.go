package vulndb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const records = "../../../examples/vulndb"

// mirror is a real registry on loopback whose answers a test can spoil.
type mirror struct {
	host     string
	requests atomic.Int64
	mu       sync.Mutex
	spoil    func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		m.mu.Lock()
		spoil := m.spoil
		m.mu.Unlock()
		if spoil != nil {
			spoil(w, r, reg)
			return
		}
		reg.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	m.host = strings.TrimPrefix(srv.URL, "http://")
	return m
}

func (m *mirror) set(f func(http.ResponseWriter, *http.Request, http.Handler)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spoil = f
}

func (m *mirror) ref() string { return m.host + "/paths/vulndb:2" }

func (m *mirror) push(t *testing.T, dir string) trivydb.Pushed {
	t.Helper()
	p, err := trivydb.Push(t.Context(), dir, m.ref(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func makeDB(t *testing.T, at time.Time) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := trivydb.Make(records, dir, at); err != nil {
		t.Fatal(err)
	}
	return dir
}

// testLimits retry at once, and give up on a silent peer soon.
func testLimits() limits {
	return limits{layer: 64 << 20, db: 64 << 20, oci: []oci.Option{
		oci.WithRetry(oci.Retry{Attempts: 4, Base: time.Millisecond, Max: 2 * time.Millisecond, Budget: time.Second}),
		oci.WithIdleTimeout(400 * time.Millisecond),
	}}
}

type bench struct {
	env step.Env
	log *bytes.Buffer
	lim limits
}

func newBench(t *testing.T) *bench {
	t.Helper()
	buf := &bytes.Buffer{}
	return &bench{
		log: buf, lim: testLimits(),
		env: step.Env{
			Log: slog.New(slog.NewTextHandler(buf, nil)), Now: func() time.Time { return now.Add(time.Minute) },
			HTTP: http.DefaultClient, Work: t.TempDir(), Out: t.TempDir(), Cache: t.TempDir(), Jobs: 2,
		},
	}
}

func (b *bench) run(ctx context.Context, from ...string) (output, error) {
	in, err := json.Marshal(map[string]any{"from": from})
	if err != nil {
		return output{}, err
	}
	res, err := define(b.lim).Run(ctx, b.env, in)
	if err != nil {
		return output{}, err
	}
	var out output
	if res.Subject.Digest == "" {
		return output{}, errors.New("no subject")
	}
	return out, json.Unmarshal(res.Output, &out)
}

func (b *bench) ok(t *testing.T, from ...string) output {
	t.Helper()
	out, err := b.run(t.Context(), from...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trivydb.Check(string(out.DB)); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRegistry(t *testing.T) {
	m, b := newMirror(t), newBench(t)
	pushed := m.push(t, makeDB(t, now))
	out := b.ok(t, m.ref())
	want := output{
		DB: step.Dir(filepath.Join(b.env.Cache, "db", pushed.Layer.Hex())), Digest: pushed.Layer,
		Updated: "2026-03-01T12:00:00Z", Source: m.ref(),
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	before := m.requests.Load()
	start := time.Now()
	if diff := cmp.Diff(want, b.ok(t, m.ref())); diff != "" {
		t.Error(diff)
	}
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Errorf("a run without changes took %s", took)
	}
	if n := m.requests.Load() - before; n != 0 {
		t.Errorf("a current database cost %d requests", n)
	}
	// By digest, the same.
	byDigest := m.host + "/paths/vulndb@" + string(pushed.Manifest)
	if got := b.ok(t, byDigest); got.Digest != pushed.Layer || got.Source != byDigest {
		t.Errorf("by digest: %+v", got)
	}
}

func TestFreshness(t *testing.T) {
	m, b := newMirror(t), newBench(t)
	first := m.push(t, makeDB(t, now))
	b.ok(t, m.ref())

	// A day later the registry is asked, and has nothing new: no download.
	b.env.Now = func() time.Time { return now.Add(25 * time.Hour) }
	var blobs atomic.Int64
	m.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	if out := b.ok(t, m.ref()); out.Digest != first.Layer || blobs.Load() != 0 {
		t.Errorf("digest %s after %d downloads", out.Digest, blobs.Load())
	}

	// Then it has: the new one is taken.
	second := m.push(t, makeDB(t, now.Add(24*time.Hour)))
	out := b.ok(t, m.ref())
	if out.Digest != second.Layer || out.Updated != "2026-03-02T12:00:00Z" {
		t.Errorf("after an update: %+v", out)
	}

	// A mirror that is down leaves the one at hand, however old, and says so.
	b.env.Now = func() time.Time { return now.Add(100 * time.Hour) }
	m.set(status(http.StatusServiceUnavailable))
	if out := b.ok(t, m.ref()); out.Digest != second.Layer || !strings.Contains(b.log.String(), "earlier run") {
		t.Errorf("with the mirror down: %+v, log %s", out, b.log)
	}
}

func status(code int) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(code) }
}

// onBlob spoils the download of blobs alone, the first n times.
func onBlob(n int64, f func(w http.ResponseWriter, r *http.Request, next http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && seen.Add(1) <= n {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func record(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	return rec
}

func cut(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := record(r, next)
	w.Header().Set("Content-Length", rec.Header().Get("Content-Length"))
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func flip(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := record(r, next)
	body := rec.Body.Bytes()
	body[len(body)/2] ^= 1
	w.Header().Set("Content-Length", rec.Header().Get("Content-Length"))
	w.WriteHeader(rec.Code)
	w.Write(body)
}

func stall(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	select {
	case <-r.Context().Done():
	case <-time.After(20 * time.Second):
	}
}

func TestMirrors(t *testing.T) {
	const forever = 1 << 30
	db := makeDB(t, now)
	tests := map[string]struct {
		spoil    func(http.ResponseWriter, *http.Request, http.Handler)
		recovers bool   // the first mirror serves in the end
		why      string // else this is in the error when it is alone
	}{
		"401":             {spoil: status(401), why: "401"},
		"403":             {spoil: status(403), why: "403"},
		"404":             {spoil: status(404), why: "not"},
		"429 for ever":    {spoil: status(429), why: "429"},
		"500 for ever":    {spoil: status(500), why: "500"},
		"503 on the blob": {spoil: onBlob(forever, func(w http.ResponseWriter, r *http.Request, n http.Handler) { w.WriteHeader(503) }), why: "503"},
		"429 at first":    {spoil: onBlob(2, func(w http.ResponseWriter, r *http.Request, n http.Handler) { w.WriteHeader(429) }), recovers: true},
		"502 at first":    {spoil: onBlob(2, func(w http.ResponseWriter, r *http.Request, n http.Handler) { w.WriteHeader(502) }), recovers: true},
		"cut at first":    {spoil: onBlob(1, cut), recovers: true},
		"cut for ever":    {spoil: onBlob(forever, cut), why: ""},
		"silent":          {spoil: stall, why: ""},
		"silent blob":     {spoil: onBlob(forever, stall), why: "idle"},
		"other bytes":     {spoil: onBlob(forever, flip), why: "digest"},
		"not a registry":  {spoil: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { io.WriteString(w, "<html>hello") }, why: ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two, b := newMirror(t), newMirror(t), newBench(t)
			pushed := one.push(t, db)
			two.push(t, db)
			one.set(tt.spoil)
			if !tt.recovers {
				_, err := newBench(t).run(t.Context(), one.ref())
				if err == nil || !strings.Contains(err.Error(), tt.why) {
					t.Fatalf("alone: err = %v, want %q", err, tt.why)
				}
				for _, way := range []string{"reachable", "--vuln-db", one.ref()} {
					if !strings.Contains(err.Error(), way) {
						t.Errorf("error does not say %q: %v", way, err)
					}
				}
			}
			out := b.ok(t, one.ref(), two.ref())
			want := two.ref()
			if tt.recovers {
				want = one.ref()
			}
			if out.Source != want || out.Digest != pushed.Layer {
				t.Errorf("served by %s (%s), want %s; log: %s", out.Source, out.Digest, want, b.log)
			}
			if left, _ := filepath.Glob(filepath.Join(b.env.Cache, "db", tmpPrefix+"*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	b := newBench(t)
	_, err := b.run(t.Context(), "127.0.0.1:1/a/b:2", "127.0.0.1:1/c/d:2")
	if err == nil || !strings.Contains(err.Error(), "c/d:2") || !strings.Contains(err.Error(), "--vuln-db") {
		t.Errorf("err = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.run(ctx, "127.0.0.1:1/a/b:2"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNotADatabase(t *testing.T) {
	m := newMirror(t)
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := mutate.Append(empty.Image,
		mutate.Addendum{Layer: static.NewLayer([]byte("a"), trivydb.LayerMediaType)},
		mutate.Addendum{Layer: static.NewLayer([]byte("b"), trivydb.LayerMediaType)})
	if err != nil {
		t.Fatal(err)
	}
	junk, err := mutate.Append(empty.Image, mutate.Addendum{Layer: static.NewLayer([]byte("no gzip"), trivydb.LayerMediaType)})
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(100, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	put := func(tag string, write func(name.Reference) error) string {
		t.Helper()
		ref := m.host + "/x/y:" + tag
		r, err := name.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := write(r); err != nil {
			t.Fatal(err)
		}
		return ref
	}
	tests := map[string]struct{ ref, want string }{
		"image":      {put("image", func(r name.Reference) error { return remote.Write(r, img) }), "one layer"},
		"two layers": {put("two", func(r name.Reference) error { return remote.Write(r, mutate.MediaType(two, types.OCIManifestSchema1)) }), "one layer"},
		"index":      {put("index", func(r name.Reference) error { return remote.WriteIndex(r, index) }), "one layer"},
		"junk":       {put("junk", func(r name.Reference) error { return remote.Write(r, mutate.MediaType(junk, types.OCIManifestSchema1)) }), "gzip"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := newBench(t).run(t.Context(), tt.ref); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLayoutHidesItsPath(t *testing.T) {
	m, b := newMirror(t), newBench(t)
	pushed := m.push(t, makeDB(t, now))
	dir := t.TempDir()
	from, err := oci.ParseLocator(m.ref())
	if err != nil {
		t.Fatal(err)
	}
	src, err := oci.Open(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := oci.Copy(t.Context(), dst, src, pushed.Manifest, "2"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out := b.ok(t, "oci:"+dir+":2"); out.Digest != pushed.Layer || out.Source != sourceLayout {
			t.Errorf("%+v", out)
		}
	}
}

func TestConformance(t *testing.T) {
	m := newMirror(t)
	m.push(t, makeDB(t, steptest.Now()))
	steptest.Run(t, New(),
		steptest.Case{Name: "registry", In: map[string]any{"from": []string{m.ref()}}},
		steptest.Case{Name: "folder", In: map[string]any{"from": []string{makeDB(t, steptest.Now())}}})
}

func TestUsage(t *testing.T) {
	tests := map[string][]string{
		"nothing":          {},
		"blank":            {" "},
		"missing folder":   {"/no/such/folder"},
		"missing archive":  {"./db.tar.gz"},
		"bad reference":    {"registry.example/UPPER:2"},
		"bad among others": {"127.0.0.1:1/a/b:2", "http://registry.example/a"},
	}
	for name, from := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := newBench(t).run(t.Context(), from...); !errors.Is(err, step.ErrUsage) {
				t.Errorf("err = %v, want a usage error", err)
			}
		})
	}
}

func BenchmarkUnchanged(b *testing.B) {
	dir := b.TempDir()
	if _, err := trivydb.Make(records, dir, now); err != nil {
		b.Fatal(err)
	}
	m := &mirror{}
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	m.host = strings.TrimPrefix(srv.URL, "http://")
	if _, err := trivydb.Push(b.Context(), dir, m.ref(), nil); err != nil {
		b.Fatal(err)
	}
	run := &bench{lim: testLimits(), env: step.Env{
		Log: slog.New(slog.DiscardHandler), HTTP: http.DefaultClient, Cache: b.TempDir(), Jobs: 2,
	}}
	for name, at := range map[string]time.Time{"current": now, "asks": now.Add(25 * time.Hour)} {
		b.Run(name, func(b *testing.B) {
			run.env.Now = func() time.Time { return at }
			for b.Loop() {
				if _, err := run.run(b.Context(), m.ref()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
