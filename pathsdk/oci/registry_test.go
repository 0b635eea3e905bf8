package oci_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// pushed is a registry with one image.
func pushed(t *testing.T, opts ...regtest.Option) (s *regtest.Server, ref string, d step.Digest) {
	t.Helper()
	s = regtest.New(t, opts...)
	ref = s.Repo("team/app")
	desc := put(t, openRef(t, ref), newImage(t, "amd64"), "v1")
	s.Requests()
	return s, ref, oci.Digest(desc)
}

// Passing faults cost time, not the result.
func TestRegistryRetries(t *testing.T) {
	// idle makes the clients impatient where nothing but that ends the fault.
	idle := func(name string) oci.Option {
		if strings.Contains(name, "hang") {
			return oci.WithIdleTimeout(300 * time.Millisecond)
		}
		return oci.WithIdleTimeout(time.Minute)
	}
	for _, tc := range []struct {
		name  string
		fault regtest.Fault
	}{
		{"greeting fails", regtest.Fault{Match: func(r *http.Request) bool { return r.URL.Path == "/v2/" }, Times: 2, Do: regtest.Status(503)}},
		{"storm of 500", regtest.Fault{Times: 3, Do: regtest.Status(500)}},
		{"storm of 502", regtest.Fault{Match: regtest.On("GET", "manifests"), Times: 3, Do: regtest.Status(502)}},
		{"storm of 429", regtest.Fault{Match: regtest.On("GET", "manifests"), Times: 3, Do: regtest.Status(429)}},
		{"429 with a time", regtest.Fault{Match: regtest.On("GET", "blobs"), Times: 1, Do: regtest.RetryAfter(1)}},
		{"reset before the answer", regtest.Fault{Match: regtest.On("GET", "manifests"), Times: 2, Do: regtest.Drop(false)}},
		{"cut in a manifest", regtest.Fault{Match: regtest.On("GET", "manifests"), Times: 2, Do: regtest.Cut(100)}},
		{"cut in a blob", regtest.Fault{Match: regtest.On("GET", "blobs"), Times: 3, Do: regtest.Cut(100)}},
		{"cut at the start of a blob", regtest.Fault{Match: regtest.On("GET", "blobs"), Times: 2, Do: regtest.Cut(0)}},
		{"hang in a manifest", regtest.Fault{Match: regtest.On("GET", "manifests"), Times: 1, Do: regtest.Hang()}},
		{"hang in a blob", regtest.Fault{Match: regtest.On("GET", "blobs"), Times: 1, Do: regtest.Hang()}},
		{"slow, but alive", regtest.Fault{Match: regtest.On("GET", "manifests"), Times: 1, Do: regtest.Drip(100 * time.Microsecond)}},
	} {
		t.Run("read/"+tc.name, func(t *testing.T) {
			s, ref, d := pushed(t)
			s.Inject(tc.fault)
			w := openRef(t, ref, idle(tc.name))
			if err := oci.Check(t.Context(), w, d, true); err != nil {
				t.Error(err)
			}
		})
	}
	for _, tc := range []struct {
		name  string
		fault regtest.Fault
	}{
		{"storm of 503", regtest.Fault{Times: 3, Do: regtest.Status(503)}},
		{"start of an upload fails", regtest.Fault{Match: regtest.On("POST", "uploads"), Times: 3, Do: regtest.Status(500)}},
		{"upload fails", regtest.Fault{Match: regtest.On("PUT", "uploads"), Times: 3, Do: regtest.Status(500)}},
		{"upload cut", regtest.Fault{Match: regtest.On("PUT", "uploads"), Times: 3, Do: regtest.Drop(false)}},
		{"upload done, answer lost", regtest.Fault{Match: regtest.On("PUT", "uploads"), Times: 3, Do: regtest.Drop(true)}},
		{"upload hangs", regtest.Fault{Match: regtest.On("PUT", "uploads"), Times: 1, Do: regtest.Hang()}},
		{"manifest cut", regtest.Fault{Match: regtest.On("PUT", "manifests"), Times: 3, Do: regtest.Drop(false)}},
		{"manifest done, answer lost", regtest.Fault{Match: regtest.On("PUT", "manifests"), Times: 3, Do: regtest.Drop(true)}},
		{"manifest 429", regtest.Fault{Match: regtest.On("PUT", "manifests"), Times: 2, Do: regtest.Status(429)}},
		{"fallback tag fails", regtest.Fault{Match: regtest.On("GET", "manifests/sha256-"), Times: 2, Do: regtest.Status(504)}},
	} {
		t.Run("write/"+tc.name, func(t *testing.T) {
			s := regtest.New(t, regtest.WithoutReferrers())
			s.Inject(tc.fault)
			w := openRef(t, s.Repo("a/b"), idle(tc.name))
			desc := put(t, w, newImage(t, "amd64"), "v1")
			a := attach(t, w, desc, "x")
			fresh := openRef(t, s.Repo("a/b"))
			if err := oci.Check(t.Context(), fresh, oci.Digest(desc), true); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]step.Digest{a}, referrers(t, fresh, oci.Digest(desc))); diff != "" {
				t.Errorf("referrers (-want +got):\n%s", diff)
			}
		})
	}
}

// Errors name the registry, the repository, what was asked, the cause, and what
// to do; and those that don't pass are not retried.
func TestRegistryErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault regtest.Fault
		want  []string
		is    error
		// most is the largest number of requests for the manifest.
		most int
	}{
		{"401", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Unauthorized()}, []string{"401 Unauthorized", "fix: log in with `docker login "}, nil, 1},
		{"403", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Status(403)}, []string{"403 Forbidden (DENIED injected)", "fix: ask for access"}, nil, 1},
		{"404", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Status(404)}, []string{"404 Not Found", "fix: check the name"}, oci.ErrNotFound, 1},
		{"429 for long", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.RetryAfter(3600)}, []string{"429 Too Many Requests", "after 3600 seconds", "mirror"}, nil, 1},
		{"5xx for long", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Status(503)}, []string{"503", "even after retries", "try again later"}, nil, 4},
		{"greeting 503", regtest.Fault{Times: regtest.Always, Do: regtest.Status(503)}, []string{"503", "try again later"}, nil, 0},
		{"greeting 403", regtest.Fault{Times: regtest.Always, Do: regtest.Status(403)}, []string{"403", "fix: ask for access"}, nil, 0},
		{"hang", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Hang()}, []string{"idle for too long", "check the network"}, nil, 4},
		{"drip", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Drip(20 * time.Millisecond)}, []string{"idle for too long"}, nil, 4},
		{"cut", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Cut(10)}, []string{"unexpected EOF", "check the network"}, nil, 4},
		{"corrupt", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Corrupt()}, []string{"its bytes have the digest"}, oci.ErrContent, 1},
		{"another manifest", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Replace(manifestType, []byte(plainManifest))}, []string{"its bytes have the digest"}, oci.ErrContent, 1},
		{"oversized", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Replace(manifestType, make([]byte, oci.MaxManifest+1))}, []string{"more than"}, oci.ErrContent, 1},
		{"endless", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Endless(manifestType)}, []string{"more than"}, oci.ErrContent, 1},
		{"web page", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Replace("text/html", []byte("<html>"))}, nil, oci.ErrContent, 1},
		{"cyclic", regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.CyclicIndex()}, []string{"its bytes have the digest"}, oci.ErrContent, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ref, d := pushed(t)
			s.Inject(tc.fault)
			idle := time.Minute
			if tc.name == "hang" || tc.name == "drip" {
				idle = 60 * time.Millisecond
			}
			w := openRef(t, ref, oci.WithIdleTimeout(idle), oci.WithKeychain(authn.NewMultiKeychain()))
			start := time.Now()
			_, err := w.Manifest(t.Context(), d)
			if err == nil {
				t.Fatal("no error")
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
			for _, part := range append([]string{"registry " + s.Host, "repository team/app", "manifest " + string(d)}, tc.want...) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q says nothing of %q", err, part)
				}
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %v is not %v", err, tc.is)
			}
			if n := regtest.Count(s.Requests(), "GET", "manifests/"+string(d)); n > tc.most {
				t.Errorf("%d requests, want at most %d", n, tc.most)
			}
		})
	}
}

func TestRegistryBlobFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(http.ResponseWriter, *http.Request, http.Handler)
		is   error
	}{
		{"corrupt", regtest.Corrupt(), oci.ErrContent},
		{"longer", regtest.Replace("application/octet-stream", make([]byte, 5000)), oci.ErrContent},
		{"shorter", regtest.Replace("application/octet-stream", make([]byte, 5)), oci.ErrContent},
		{"endless", regtest.Endless("application/octet-stream"), oci.ErrContent},
		{"gone", regtest.Status(404), oci.ErrNotFound},
		{"always cut", regtest.Cut(50), io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ref, d := pushed(t)
			s.Inject(regtest.Fault{Match: regtest.On("GET", "blobs"), Times: regtest.Always, Do: tc.do})
			if err := oci.Check(t.Context(), openRef(t, ref), d, true); !errors.Is(err, tc.is) {
				t.Errorf("got error %v, want %v", err, tc.is)
			}
		})
	}
}

// A blob that breaks off is resumed, not begun anew.
func TestRegistryResumes(t *testing.T) {
	s := regtest.New(t)
	w := openRef(t, s.Repo("a/b"))
	content := []byte(strings.Repeat("0123456789", 10_000))
	desc, err := w.PutBlob(t.Context(), "a/b", content)
	if err != nil {
		t.Fatal(err)
	}
	var ranges []string
	s.Inject(regtest.Fault{Match: regtest.On("GET", "blobs"), Times: 1, Do: regtest.Cut(60_000)},
		regtest.Fault{Match: regtest.On("GET", "blobs"), Times: 1, Do: func(w http.ResponseWriter, r *http.Request, h http.Handler) {
			ranges = append(ranges, r.Header.Get("Range"))
			h.ServeHTTP(w, r)
		}})
	got, err := oci.ReadBlob(t.Context(), w, desc, 1<<20)
	if err != nil || string(got) != string(content) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if len(ranges) != 1 || !strings.HasPrefix(ranges[0], "bytes=") || strings.HasPrefix(ranges[0], "bytes=0-") {
		t.Errorf("asked for the ranges %q", ranges)
	}
}

func TestRegistryEndsWithItsContext(t *testing.T) {
	s, ref, d := pushed(t)
	s.Inject(regtest.Fault{Match: regtest.On("", "manifests"), Times: regtest.Always, Do: regtest.Hang()})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, err := openRef(t, ref).Manifest(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
	if time.Since(start) > 30*time.Second {
		t.Errorf("it took %s", time.Since(start))
	}
}

func TestRegistryUnreachable(t *testing.T) {
	s := regtest.New(t)
	for ref, want := range map[string]string{
		"127.0.0.1:1/app":              "check that a registry listens",
		"registry.invalid/app":         "check the registry's name and the network",
		"[::1]:1/app":                  "check that a registry listens",
		"10.255.255.1.nip.invalid/app": "no address",
	} {
		w := openRef(t, ref, oci.WithRetry(oci.Retry{Attempts: 1}))
		_, err := w.Manifest(t.Context(), zeros)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v has no %q", ref, err, want)
		}
	}
	// Without TLS nothing but this machine is talked to.
	_, port, _ := strings.Cut(s.Host, ":")
	w := openRef(t, "registry.local:"+port+"/app", oci.WithTransport(toHost(s.Host)))
	if _, err := w.Manifest(t.Context(), zeros); err == nil || !strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("plain HTTP to another host: error %v", err)
	}
	w = openRef(t, "registry.local:"+port+"/app", oci.WithTransport(toHost(s.Host)), oci.WithPlainHTTP())
	if _, err := w.Manifest(t.Context(), zeros); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("plain HTTP that was asked for: error %v", err)
	}
}

// toHost connects every request to one server.
type toHost string

func (h toHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "http" {
		return nil, errors.New("no TLS here")
	}
	r = r.Clone(r.Context())
	r.URL.Host = string(h)
	return http.DefaultTransport.RoundTrip(r)
}

func TestRegistryCredentials(t *testing.T) {
	s, ref, d := pushed(t)
	locked := func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		if user, pass, ok := r.BasicAuth(); !ok || user != "me" || pass != "secret" {
			regtest.Unauthorized()(w, r, h)
			return
		}
		h.ServeHTTP(w, r)
	}
	s.Inject(regtest.Fault{Times: regtest.Always, Do: locked})
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	for _, tc := range []struct {
		pass string
		ok   bool
	}{{"secret", true}, {"wrong", false}, {"", false}} {
		config := fmt.Sprintf(`{"auths":{%q:{"username":"me","password":%q}}}`, s.Host, tc.pass)
		if tc.pass == "" {
			config = "{}"
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openRef(t, ref).Manifest(t.Context(), d)
		if tc.ok != (err == nil) {
			t.Errorf("password %q: error %v", tc.pass, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "docker login "+s.Host) || strings.Contains(err.Error(), "wrong")) {
			t.Errorf("error %q", err)
		}
	}
}

// Most registries hand out tokens: for what is asked, and for what comes later.
func TestRegistryTokens(t *testing.T) {
	for _, tc := range []struct {
		name  string
		token func(http.ResponseWriter, *http.Request, http.Handler)
		ok    bool
	}{
		{"good", regtest.Replace("application/json", []byte(`{"token":"t0ken"}`)), true},
		{"wrong", regtest.Replace("application/json", []byte(`{"token":"other"}`)), false},
		{"refused", regtest.Status(403), false},
		{"endless", regtest.Endless("application/json"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ref, d := pushed(t)
			_, port, _ := strings.Cut(s.Host, ":")
			s.Inject(regtest.Fault{Match: regtest.On("GET", "/token"), Times: regtest.Always, Do: tc.token},
				regtest.Fault{Times: regtest.Always, Do: func(w http.ResponseWriter, r *http.Request, h http.Handler) {
					if r.Header.Get("Authorization") != "Bearer t0ken" {
						regtest.Status(401, "WWW-Authenticate", `Bearer realm="http://localhost:`+port+`/token",service="test"`)(w, r, h)
						return
					}
					h.ServeHTTP(w, r)
				}})
			w := openRef(t, ref, oci.WithKeychain(authn.NewMultiKeychain()))
			err := oci.Check(t.Context(), w, d, true)
			if tc.ok {
				desc := put(t, w, newImage(t, "amd64"), "v2")
				attach(t, w, desc, "x")
			}
			if tc.ok != (err == nil) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// To attach again sends nothing but questions.
func TestRegistryAttachAgain(t *testing.T) {
	for _, opts := range [][]regtest.Option{nil, {regtest.WithoutReferrers()}} {
		s := regtest.New(t, opts...)
		desc := put(t, openRef(t, s.Repo("a/b")), newImage(t, "amd64"), "")
		attach(t, openRef(t, s.Repo("a/b")), desc, "x")
		s.Requests()
		attach(t, openRef(t, s.Repo("a/b")), desc, "x")
		for _, r := range s.Requests() {
			if r.Method != "GET" && r.Method != "HEAD" {
				t.Errorf("%s %s", r.Method, r.Path)
			}
		}
	}
}

// Other clients see our referrers, and we theirs, with and without the API.
func TestReferrersOfOtherClients(t *testing.T) {
	for _, opts := range [][]regtest.Option{nil, {regtest.WithoutReferrers()}} {
		s := regtest.New(t, opts...)
		repo, err := name.NewRepository(s.Repo("a/b"))
		if err != nil {
			t.Fatal(err)
		}
		w := openRef(t, repo.Name())
		desc := put(t, w, newImage(t, "amd64"), "")
		ours := attach(t, w, desc, "x")
		theirs := withSubject(t, newImage(t, "amd64"), desc)
		d, err := theirs.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(repo.Digest(d.String()), theirs); err != nil {
			t.Fatal(err)
		}
		also := attach(t, w, desc, "y")
		want := sorted(ours, step.Digest(d.String()), also)
		if diff := cmp.Diff(want, referrers(t, w, oci.Digest(desc))); diff != "" {
			t.Errorf("ours (-want +got):\n%s", diff)
		}
		idx, err := remote.Referrers(repo.Digest(desc.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		var got []step.Digest
		for _, m := range mustManifest(t, idx).Manifests {
			got = append(got, oci.Digest(m))
		}
		if diff := cmp.Diff(want, sorted(got...)); diff != "" {
			t.Errorf("theirs (-want +got):\n%s", diff)
		}
	}
}

// Writers of one fallback tag overwrite each other; when they have settled
// nothing is lost.
func TestFallbackOfManyWriters(t *testing.T) {
	s := regtest.New(t, regtest.WithoutReferrers())
	// Between reading and writing the others have time.
	s.Inject(regtest.Fault{Match: regtest.On("PUT", "manifests/sha256-"), Times: regtest.Always, Do: func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		time.Sleep(5 * time.Millisecond)
		h.ServeHTTP(w, r)
	}})
	desc := put(t, openRef(t, s.Repo("a/b")), newImage(t, "amd64"), "")
	var mu sync.Mutex
	var want []step.Digest
	var writers []oci.Writer
	var wg sync.WaitGroup
	for i := range 3 {
		w := openRef(t, s.Repo("a/b"))
		writers = append(writers, w)
		wg.Go(func() {
			for j := range 4 {
				d, err := oci.Attach(t.Context(), w, desc, oci.Artifact{ArtifactType: "a/b", Payload: []byte(fmt.Sprint(i, j))})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				want = append(want, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, w := range writers {
		if err := oci.Settle(t.Context(), w); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(sorted(want...), referrers(t, openRef(t, s.Repo("a/b")), oci.Digest(desc))); diff != "" {
		t.Errorf("lost referrers (-want +got):\n%s", diff)
	}
}

func TestSettleRestoresWhatWasOverwritten(t *testing.T) {
	s := regtest.New(t, regtest.WithoutReferrers())
	ctx := t.Context()
	one, two := openRef(t, s.Repo("a/b")), openRef(t, s.Repo("a/b"))
	desc := put(t, one, newImage(t, "amd64"), "")
	tag := strings.Replace(desc.Digest.String(), ":", "-", 1)
	theirs := attach(t, two, desc, "theirs")
	before, err := oci.Resolve(ctx, locator(t, s.Repo("a/b")+":"+tag))
	if err != nil {
		t.Fatal(err)
	}
	ours, also := attach(t, one, desc, "ours"), attach(t, one, desc, "ours, too")
	// The other one had read the tag before we wrote it, and writes it now.
	m, err := two.Manifest(ctx, before)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.PutManifest(ctx, m.MediaType, m.Bytes, tag); err != nil {
		t.Fatal(err)
	}
	if got := referrers(t, openRef(t, s.Repo("a/b")), oci.Digest(desc)); len(got) != 1 {
		t.Fatalf("the test overwrote nothing: %v", got)
	}
	if err := oci.Settle(ctx, one); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(ours, also, theirs), referrers(t, openRef(t, s.Repo("a/b")), oci.Digest(desc))); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	s.Requests()
	if err := oci.Settle(ctx, one); err != nil {
		t.Fatal(err)
	}
	if n := regtest.Count(s.Requests(), "PUT", ""); n != 0 {
		t.Errorf("%d writes although nothing was lost", n)
	}
}

func TestReferrersAreBounded(t *testing.T) {
	one := fmt.Sprintf(`{"mediaType":%q,"size":2,"artifactType":"a/b","digest":"sha256:%%064x"}`, manifestType)
	page := func(from, n int) []byte {
		var ds []string
		for i := range n {
			ds = append(ds, fmt.Sprintf(one, from+i))
		}
		return []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, indexType, strings.Join(ds, ",")))
	}
	pages := func(link string, each int) func(http.ResponseWriter, *http.Request, http.Handler) {
		n := 0
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			n++
			w.Header().Set("Link", fmt.Sprintf(link, n))
			regtest.Replace(indexType, page(n*each, each))(w, r, nil)
		}
	}
	for _, tc := range []struct {
		name, path string
		do         func(http.ResponseWriter, *http.Request, http.Handler)
		want       string
	}{
		{"endless pages", "referrers", pages(`</v2/team/app/referrers/`+zeros+`?page=%d>; rel="next"`, 1000), "limit of 10000"},
		{"endless empty pages", "referrers", pages(`</v2/team/app/referrers/`+zeros+`?page=%d>; rel=next`, 0), "limit of 10000"},
		{"page on another host", "referrers", pages(`<https://evil.invalid/v2/team/app/referrers/x?page=%d>; rel="next"`, 1), "another host"},
		{"page of another repository", "referrers", pages(`</v2/other/app/referrers/x?page=%d>; rel="next"`, 1), "not in this repository"},
		{"long fallback tag", "manifests", regtest.Replace(indexType, page(0, 10_001)), "limit of 10000"},
		{"fallback tag that is an image", "manifests", regtest.Replace(manifestType, []byte(plainManifest)), "no index"},
		{"no JSON", "referrers", regtest.Replace(indexType, []byte("<html>")), "not an image index"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ref, d := pushed(t, regtest.WithoutReferrers())
			s.Inject(regtest.Fault{Match: regtest.On("GET", tc.path), Times: regtest.Always, Do: tc.do})
			if found, err := openRef(t, ref).Referrers(t.Context(), d); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%d referrers, error %v; want %q", len(found), err, tc.want)
			}
		})
	}
	// Repeats are dropped, and pages joined.
	s, ref, d := pushed(t)
	n := 0
	s.Inject(regtest.Fault{Match: regtest.On("GET", "referrers"), Times: regtest.Always, Do: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if n++; n < 3 {
			w.Header().Set("Link", `</v2/team/app/referrers/`+string(d)+`?page=2>; rel="next"`)
		}
		regtest.Replace(indexType, page(0, 5))(w, r, nil)
	}})
	if got := referrers(t, openRef(t, ref), d); len(got) != 5 || n != 3 {
		t.Errorf("%d referrers of %d pages, want 5 of 3", len(got), n)
	}
}
