//go:build e2e

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
)

// faulty stands before one of the Sigstore's services and spoils answers.
type faulty struct {
	to    *httputil.ReverseProxy
	spoil func(n int64, w http.ResponseWriter, answer func() *httptest.ResponseRecorder)
	n     atomic.Int64
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.spoil(f.n.Add(1), w, func() *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		f.to.ServeHTTP(rec, r)
		return rec
	})
}

// pass gives an answer as it is.
func pass(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = io.Copy(w, rec.Body)
}

// cut ends the connection without an answer, or in the middle of one.
func cut(w http.ResponseWriter, rec *httptest.ResponseRecorder, bytes int) {
	if bytes > 0 {
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		w.Header().Set("Content-Length", rec.Header().Get("Content-Length"))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:bytes])
		_ = http.NewResponseController(w).Flush()
	}
	panic(http.ErrAbortHandler)
}

// TestTrustFaults: the Sigstore's services fail in the ways in which they fail, and the
// evidence is complete and verifies all the same.
func TestTrustFaults(t *testing.T) {
	w := newSigstoreWorld(t)
	faults := map[string]func(int64, http.ResponseWriter, func() *httptest.ResponseRecorder){
		// The log has it, and the client does not know: asked again, it must not say no.
		"it answers nothing, though it did what it was asked": func(n int64, w http.ResponseWriter, answer func() *httptest.ResponseRecorder) {
			rec := answer()
			if n%2 == 1 {
				cut(w, rec, 0)
			}
			pass(w, rec)
		},
		"it is cut off in the middle of an answer": func(n int64, w http.ResponseWriter, answer func() *httptest.ResponseRecorder) {
			rec := answer()
			if n%2 == 1 {
				cut(w, rec, 20)
			}
			pass(w, rec)
		},
		"502 two times of three": func(n int64, w http.ResponseWriter, answer func() *httptest.ResponseRecorder) {
			if n%3 != 0 {
				http.Error(w, "bad gateway", http.StatusBadGateway)
				return
			}
			pass(w, answer())
		},
		"it is slow": func(n int64, w http.ResponseWriter, answer func() *httptest.ResponseRecorder) {
			time.Sleep(300 * time.Millisecond)
			pass(w, answer())
		},
	}
	for _, service := range []string{"fulcio", "tsa", "rekor"} {
		for name, spoil := range faults {
			t.Run(service+": "+name, func(t *testing.T) {
				to := w.before(t, service, spoil)
				reg := regtest.New(t)
				if err := os.RemoveAll(filepath.Join(w.home, "cache", "attest", "bundles")); err != nil {
					t.Fatal(err)
				}
				w.token(t)
				w.ship(t, reg.Repo("hello")+":v1").says(t, "ship", 0)
				runProcess(t, w.home, "verify", reg.Repo("hello")+":v1").says(t, "verify", 0)
				if to.n.Load() < 1 {
					t.Errorf("%s was asked %d times: nothing was spoiled", service, to.n.Load())
				}
			})
		}
	}
}

// before puts a faulty proxy before a service, in a signing configuration of its own.
func (w sigstoreWorld) before(t *testing.T, service string, spoil func(int64, http.ResponseWriter, func() *httptest.ResponseRecorder)) *faulty {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.dir, "ports.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ports map[string]json.Number
	if err := json.Unmarshal(raw, &ports); err != nil {
		t.Fatal(err)
	}
	at := "http://127.0.0.1:" + ports[service].String()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{to: httputil.NewSingleHostReverseProxy(u), spoil: spoil}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	if raw, err = os.ReadFile(filepath.Join(w.dir, "signing_config.json")); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "signing_config.json")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(raw), at, server.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATHS_SIGNING_CONFIG", config)
	return f
}
