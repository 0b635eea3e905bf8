// Package regtest runs real registries in memory for tests, and makes them fail
// in the ways in which registries fail.
package regtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Server is a registry on loopback, over plain HTTP. It ends with its test.
type Server struct {
	// Host is HOST:PORT; a repository is Host + "/" + name.
	Host string

	inner http.Handler

	mu       sync.Mutex
	faults   []*Fault
	requests []Request
}

// Request is one request that a Server got.
type Request struct {
	Method string
	Path   string
	// Status that was answered; 0 if the connection was cut before.
	Status int
	// Auth is the Authorization header.
	Auth string
}

// Option sets what a Server is.
type Option func(*settings)

type settings struct {
	referrers bool
	handler   http.Handler
}

// WithoutReferrers makes a registry without the referrers API, as some public
// ones are: clients use the fallback tag.
func WithoutReferrers() Option { return func(s *settings) { s.referrers = false } }

// WithHandler serves h in place of a registry in memory.
func WithHandler(h http.Handler) Option { return func(s *settings) { s.handler = h } }

// New starts a registry.
func New(t testing.TB, opts ...Option) *Server {
	t.Helper()
	set := settings{referrers: true}
	for _, o := range opts {
		o(&set)
	}
	if set.handler == nil {
		set.handler = whole(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(set.referrers)))
	}
	s := &Server{inner: set.handler}
	h := httptest.NewUnstartedServer(s)
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // clients try TLS first
	h.Start()
	// Faults that hang must not keep the test.
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	s.Host = strings.TrimPrefix(h.URL, "http://")
	return s
}

// whole refuses a manifest that is not what its digest says, as registries do. The
// one in memory keeps under that digest whatever part of it arrived before its client
// was cut off.
func whole(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, digest, ok := strings.Cut(r.URL.Path, "/manifests/sha256:")
		if r.Method == http.MethodPut && ok {
			body, err := io.ReadAll(r.Body)
			if err != nil || fmt.Sprintf("%x", sha256.Sum256(body)) != digest {
				http.Error(w, `{"errors":[{"code":"DIGEST_INVALID"}]}`, http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		h.ServeHTTP(w, r)
	})
}

// Repo returns the reference to a repository of this server.
func (s *Server) Repo(name string) string { return s.Host + "/" + name }

// Inject adds faults. The first one that matches a request and has times left
// decides what becomes of it.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
}

// Heal removes all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Requests returns what was asked so far, and forgets it.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

// Count returns how many of the requests have the method and contain part in
// their path.
func Count(requests []Request, method, part string) int {
	n := 0
	for _, r := range requests {
		if r.Method == method && strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	defer func() {
		s.mu.Lock()
		s.requests = append(s.requests, Request{Method: r.Method, Path: r.URL.Path, Status: rec.status, Auth: r.Header.Get("Authorization")})
		s.mu.Unlock()
	}()
	if f := s.next(r); f != nil {
		f.Do(rec, r, s.inner)
		return
	}
	s.inner.ServeHTTP(rec, r)
}

func (s *Server) next(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Times != 0 && (f.Match == nil || f.Match(r)) {
			if f.Times > 0 {
				f.Times--
			}
			return f
		}
	}
	return nil
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(code int) {
	r.status = code
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// answer runs a handler and keeps what it answers, so that a fault can change
// it.
func answer(h http.Handler, r *http.Request) (int, http.Header, []byte) {
	rec := httptest.NewRecorder()
	rec.Body = &bytes.Buffer{}
	h.ServeHTTP(rec, r)
	return rec.Code, rec.Header(), rec.Body.Bytes()
}
