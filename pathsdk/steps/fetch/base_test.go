package fetch_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/steps/fetch"
)

// shelf is a registry with one base image, an index for three platforms.
type shelf struct {
	host     string
	index    v1.Hash
	single   v1.Hash
	requests atomic.Int32
	// spoil, when set, changes what is served.
	spoil atomic.Bool
}

func newShelf(t testing.TB) *shelf {
	t.Helper()
	s := &shelf{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.spoil.Load() && strings.Contains(r.URL.Path, "/blobs/") {
			rec := httptest.NewRecorder()
			inner.ServeHTTP(rec, r)
			b := rec.Body.Bytes()
			if len(b) > 0 {
				b[len(b)/2] ^= 1
			}
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			w.Write(b)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.host = strings.TrimPrefix(srv.URL, "http://")
	var idx v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var one v1.Image
	for _, p := range []v1.Platform{{OS: "linux", Architecture: "s390x"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}, {OS: "linux", Architecture: "amd64"}, {OS: "unknown", Architecture: "unknown"}} {
		img, err := random.Image(4096, 2)
		if err != nil {
			t.Fatal(err)
		}
		c, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c = c.DeepCopy()
		c.OS, c.Architecture, c.Variant = p.OS, p.Architecture, p.Variant
		if img, err = mutate.ConfigFile(mutate.MediaType(img, types.OCIManifestSchema1), c); err != nil {
			t.Fatal(err)
		}
		if p.Architecture == "amd64" {
			one = img
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	ref, err := name.ParseReference(s.host + "/team/base:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, idx); err != nil {
		t.Fatal(err)
	}
	if s.index, err = idx.Digest(); err != nil {
		t.Fatal(err)
	}
	if s.single, err = one.Digest(); err != nil {
		t.Fatal(err)
	}
	return s
}

// plain is a world whose source needs no module.
func plain(t testing.TB, base string, platforms ...string) *world {
	t.Helper()
	w := newWorld(t, map[string]string{"go.mod": "module example.com/x\n\ngo 1.24.0\n", "main.go": "package main\n", "vendor/modules.txt": ""})
	w.in["base"], w.in["platforms"] = base, platforms
	return w
}

func TestBasePulledOnce(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	ref := s.host + "/team/base@" + s.index.String()
	w := plain(t, ref, "linux/amd64", "linux/arm64")
	out, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	if string(out.BaseDigest) != s.index.String() {
		t.Errorf("base = %s, want %s", out.BaseDigest, s.index)
	}
	checkBase(t, out, ref, "linux/amd64", "linux/arm64")
	before := s.requests.Load()
	if out, err = w.run(t); err != nil {
		t.Fatal(err)
	}
	checkBase(t, out, ref, "linux/amd64", "linux/arm64")
	if n := s.requests.Load() - before; n != 0 {
		t.Errorf("the second run sent %d requests", n)
	}
	// A damaged cache is noticed and filled again.
	blobs, err := filepath.Glob(filepath.Join(w.cache, "base", "blobs", "sha256", "*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for _, b := range blobs {
		if err := os.WriteFile(b, []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err = w.run(t); err != nil {
		t.Fatal(err)
	}
	checkBase(t, out, ref, "linux/amd64", "linux/arm64")
}

func platforms(t testing.TB, texts ...string) []v1.Platform {
	t.Helper()
	ps, err := baseimage.Platforms(texts)
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

// checkBase reads every byte of the platforms' images.
func checkBase(t testing.TB, out fetch.Output, name string, texts ...string) {
	t.Helper()
	base, err := baseimage.Open(t.Context(), string(out.Base), out.BaseDigest, platforms(t, texts...))
	if err != nil {
		t.Fatal(err)
	}
	if base.Name != name {
		t.Errorf("base is called %q, want %q", base.Name, name)
	}
	l, err := oci.OpenLayout(string(out.Base))
	if err != nil {
		t.Fatal(err)
	}
	idx, ok := base.Image.(v1.ImageIndex)
	if !ok {
		if err := oci.Check(t.Context(), l, out.BaseDigest, true); err != nil {
			t.Error(err)
		}
		return
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != len(texts) {
		t.Errorf("the base shows %d images, want %d", len(m.Manifests), len(texts))
	}
	for _, d := range m.Manifests {
		if err := oci.Check(t.Context(), l, oci.Digest(d), true); err != nil {
			t.Error(err)
		}
	}
	if d, err := idx.Digest(); err != nil || d.String() != string(out.BaseDigest) {
		t.Errorf("the base's digest is %s, %v", d, err)
	}
}

func TestBaseSingleAndScratch(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	ref := s.host + "/team/base@" + s.single.String()
	out, err := plain(t, ref, "linux/amd64").run(t)
	if err != nil {
		t.Fatal(err)
	}
	checkBase(t, out, ref, "linux/amd64")
	out, err = plain(t, "scratch", "linux/arm64", "linux/amd64").run(t)
	if err != nil {
		t.Fatal(err)
	}
	checkBase(t, out, "scratch", "linux/amd64", "linux/arm64")
	// As a layout on disk.
	again, err := plain(t, "oci:"+string(out.Base)+"@"+string(out.BaseDigest), "linux/amd64", "linux/arm64").run(t)
	if err != nil {
		t.Fatal(err)
	}
	checkBase(t, again, "oci@"+string(out.BaseDigest), "linux/amd64", "linux/arm64")
}

func TestBaseRefuses(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for name, c := range map[string]struct {
		base  string
		plat  string
		spoil bool
		usage bool
		want  []string
	}{
		"tag":            {base: "/team/base:1", plat: "linux/amd64", usage: true, want: []string{"names no digest", "/team/base:1@" + s.index.String()}},
		"unknown tag":    {base: "/team/base:2", plat: "linux/amd64", usage: true, want: []string{"names no digest", "could not be found out"}},
		"no platform":    {base: "/team/base@" + s.index.String(), plat: "linux/riscv64", usage: true, want: []string{"nothing for linux/riscv64", "linux/amd64, linux/arm64/v8, linux/s390x"}},
		"single":         {base: "/team/base@" + s.single.String(), plat: "linux/arm64", usage: true, want: []string{"linux/amd64 alone", "linux/arm64"}},
		"unknown digest": {base: "/team/base@sha256:" + strings.Repeat("0", 64), plat: "linux/amd64", want: []string{"base image", "not found"}},
		"spoiled":        {base: "/team/base@" + s.index.String(), plat: "linux/amd64", spoil: true, want: []string{"base image"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := s
			if c.spoil {
				s = newShelf(t)
				c.base = "/team/base@" + s.index.String()
				s.spoil.Store(true)
			}
			_, err := plain(t, s.host+c.base, c.plat).run(t)
			if err == nil {
				t.Fatal("no error")
			}
			if errors.Is(err, step.ErrUsage) != c.usage {
				t.Errorf("usage error = %v, want %v: %v", !c.usage, c.usage, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q: %v", want, err)
				}
			}
		})
	}
}
