package oci_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func TestParseLocator(t *testing.T) {
	for s, want := range map[string]oci.Locator{
		"oci:store":                          {Dir: "store"},
		"oci:./a/../store/":                  {Dir: "store"},
		"oci:/abs/store:v1":                  {Dir: "/abs/store", Tag: "v1"},
		"oci:store@" + zeros:                 {Dir: "store", Digest: zeros},
		"oci:store:v1@" + zeros:              {Dir: "store", Tag: "v1", Digest: zeros},
		"oci:/mod/example.com/m@v1.2.3/x":    {Dir: "/mod/example.com/m@v1.2.3/x"},
		"oci:m@v1.2.3":                       {Dir: "m@v1.2.3"},
		"ghcr.io/acme/app":                   {Repository: "ghcr.io/acme/app"},
		"ghcr.io/acme/app:v1.0_x-y":          {Repository: "ghcr.io/acme/app", Tag: "v1.0_x-y"},
		"ghcr.io/acme/app@" + zeros:          {Repository: "ghcr.io/acme/app", Digest: zeros},
		"ghcr.io/acme/app:v1@" + zeros:       {Repository: "ghcr.io/acme/app", Tag: "v1", Digest: zeros},
		"localhost:5000/app:v1":              {Repository: "localhost:5000/app", Tag: "v1"},
		"127.0.0.1:5000/a/b/c":               {Repository: "127.0.0.1:5000/a/b/c"},
		"[::1]:5000/app":                     {Repository: "[::1]:5000/app"},
		"docker.io/library/alpine:3":         {Repository: "index.docker.io/library/alpine", Tag: "3"},
		"mirror.gcr.io/aquasec/trivy-db:2":   {Repository: "mirror.gcr.io/aquasec/trivy-db", Tag: "2"},
		"registry.example/a.b/c__d/e--f:tag": {Repository: "registry.example/a.b/c__d/e--f", Tag: "tag"},
	} {
		got, err := oci.ParseLocator(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s, diff)
		}
		again, err := oci.ParseLocator(got.String())
		if err != nil || again != got {
			t.Errorf("%s: written as %s, which reads as %+v, %v", s, got, again, err)
		}
	}
}

func TestParseLocatorRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"folder", "deep/folder", "store.d/layout"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join("store.d/layout", "oci-layout"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for s, hint := range map[string]string{
		"":                        "oci:DIR",
		"folder":                  "did you mean oci:folder",
		"deep/folder":             "did you mean oci:deep/folder",
		"./folder":                "did you mean oci:./folder",
		"/tmp/nothing":            "did you mean oci:/tmp/nothing",
		"../x":                    "did you mean oci:../x",
		"~/x":                     "did you mean oci:~/x",
		".":                       "did you mean oci:.",
		"store.d/layout":          "did you mean oci:store.d/layout",
		"alpine":                  "docker.io/library/alpine",
		"acme/app:v1":             "docker.io/acme/app",
		"localhost/app":           "localhost:5000/app",
		"ghcr.io":                 "names no repository",
		"ghcr.io/":                "names no repository",
		"ghcr.io/Acme/app":        "lower case",
		"ghcr.io/acme//app":       "not a repository's name",
		"ghcr.io/acme/app:":       "not a tag",
		"ghcr.io/acme/app:a b":    "not a tag",
		"ghcr.io/acme/app:-v1":    "not a tag",
		"ghcr.io/acme/app@x":      "digest",
		"ghcr.io/acme/app@":       "digest",
		"ghcr.io/a@sha256:abc":    "digest",
		"ghcr.io/../app":          "not a repository's name",
		"oci:":                    "names no folder",
		"oci:@" + zeros:           "names no folder",
		"oci::v1":                 "names no folder",
		"oci:a:b:c":               "may not have a ':'",
		"oci:a:":                  "not a tag",
		"oci:a@md5:abc":           "digest",
		"oci:m@v1.2.3:tag":        "digest",
		"oci:a\x00b":              "can't be printed",
		"oci:a\nb":                "can't be printed",
		"docker://ghcr.io/a/b":    "ghcr.io/a/b",
		"oci://ghcr.io/a/b":       "ghcr.io/a/b",
		"https://ghcr.io/a/b":     "ghcr.io/a/b",
		"oci-layout:x":            "oci:DIR",
		"oci:a:" + long("t", 129): "not a tag",
	} {
		l, err := oci.ParseLocator(s)
		if !errors.Is(err, step.ErrUsage) {
			t.Errorf("%q: got %+v, error %v; want a usage error", s, l, err)
			continue
		}
		if !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: error %q has no hint %q", s, err, hint)
		}
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

func TestRefHasADigest(t *testing.T) {
	l := locator(t, "ghcr.io/acme/app:v1")
	if r, err := l.At(""); err == nil {
		t.Errorf("a reference without a digest: %s", r)
	}
	r, err := l.At(zeros)
	if err != nil {
		t.Fatal(err)
	}
	if want := "ghcr.io/acme/app@" + zeros; r.String() != want || r.Digest() != zeros || r.Locator().Tag != "" {
		t.Errorf("got %s, want %s", r, want)
	}
}

func FuzzParseLocator(f *testing.F) {
	for _, s := range []string{"oci:dir:tag@" + zeros, "ghcr.io/a/b:c", "localhost:5000/a@" + zeros, "oci:a@b:c", "[::1]:5000/a", "oci:./x/..", "a.b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := oci.ParseLocator(s)
		if err != nil {
			if !errors.Is(err, step.ErrUsage) {
				t.Errorf("%q: %v is no usage error", s, err)
			}
			return
		}
		if (l.Dir == "") == (l.Repository == "") {
			t.Fatalf("%q: %+v", s, l)
		}
		again, err := oci.ParseLocator(l.String())
		if err != nil || again != l {
			t.Errorf("%q: %q reads as %+v, %v", s, l.String(), again, err)
		}
		if l.Digest != "" {
			if _, err := step.ParseDigest(string(l.Digest)); err != nil {
				t.Error(err)
			}
		}
	})
}
