package oci_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func withSubject(t *testing.T, img v1.Image, subject v1.Descriptor) v1.Image {
	t.Helper()
	i, ok := mutate.Subject(img, subject).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	return i
}

// served is a layout with an index, its referrers, and a server over it.
func served(t *testing.T) (s *regtest.Server, l *oci.Layout, root v1.Descriptor) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "s")
	l, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err = oci.PutIndex(t.Context(), l, newIndex(t, "amd64", "arm64"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	return regtest.New(t, regtest.WithHandler(oci.Handler(dir))), l, root
}

func TestHandlerServesOtherClients(t *testing.T) {
	s, l, root := served(t)
	attach(t, l, root, "x")
	ref, err := name.ParseReference(s.Repo("any/name/at/all:v1"))
	if err != nil {
		t.Fatal(err)
	}
	idx, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	if d, err := remote.Head(ref); err != nil || d.Digest != root.Digest || d.Size != root.Size {
		t.Errorf("HEAD %+v, %v", d, err)
	}
	tags, err := remote.List(ref.Context())
	if diff := cmp.Diff([]string{"v1"}, tags); diff != "" || err != nil {
		t.Errorf("tags (-want +got):\n%s %v", diff, err)
	}
	other := put(t, l, newImage(t, "amd64"), "v0") // served at once
	if d, err := remote.Head(ref.Context().Tag("v0")); err != nil || d.Digest != other.Digest {
		t.Errorf("HEAD of a new tag: %+v, %v", d, err)
	}
	for filter, want := range map[string]int{"": 1, "application/vnd.test+json": 1, "a/b": 0} {
		var opts []remote.Option
		if filter != "" {
			opts = append(opts, remote.WithFilter("artifactType", filter))
		}
		r, err := remote.Referrers(ref.Context().Digest(root.Digest.String()), opts...)
		if err != nil {
			t.Fatal(err)
		}
		if m := mustManifest(t, r); len(m.Manifests) != want {
			t.Errorf("filter %q: %d referrers, want %d", filter, len(m.Manifests), want)
		}
	}
	if err := remote.Write(ref, newImage(t, "amd64")); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a write: error %v", err)
	}
}

func TestHandlerServesOurStore(t *testing.T) {
	s, l, root := served(t)
	var want []step.Digest
	for i := range 3 {
		want = append(want, attach(t, l, root, fmt.Sprint(i)))
	}
	w := openRef(t, s.Repo("any"))
	loc := locator(t, s.Repo("any")+":v1")
	d, err := oci.Resolve(t.Context(), loc, fast())
	if err != nil || d != oci.Digest(root) {
		t.Fatalf("resolved to %s, %v", d, err)
	}
	if err := oci.Check(t.Context(), w, d, true); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(sorted(want...), referrers(t, w, d)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	_, err = oci.Attach(t.Context(), w, root, oci.Artifact{ArtifactType: "a/b", Payload: []byte("new")})
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a write: error %v", err)
	}
	if _, err := w.Manifest(t.Context(), zeros); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("absent manifest: %v", err)
	}
}

func TestHandlerPagesReferrers(t *testing.T) {
	s, l, root := served(t)
	// A thousand calls of Attach would take seconds.
	idx := v1.IndexManifest{SchemaVersion: 2}
	for i := range 1001 {
		b, err := json.Marshal(v1.Manifest{
			SchemaVersion: 2, MediaType: manifestType, Subject: &root, Layers: []v1.Descriptor{},
			Config:      v1.Descriptor{MediaType: "a/b", Size: 2, Digest: v1.Hash{Algorithm: "sha256", Hex: oci.DigestOf([]byte("{}")).Hex()}},
			Annotations: map[string]string{"n": fmt.Sprint(i)},
		})
		if err != nil {
			t.Fatal(err)
		}
		d := oci.Manifest{MediaType: manifestType, Digest: oci.DigestOf(b), Bytes: b}.Descriptor()
		idx.Manifests = append(idx.Manifests, d)
		if err := os.WriteFile(filepath.Join(l.Dir(), "blobs", "sha256", d.Digest.Hex), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(idx)
	if err == nil {
		err = os.WriteFile(filepath.Join(l.Dir(), "index.json"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := referrers(t, openRef(t, s.Repo("any")), oci.Digest(root)); len(got) != 1001 {
		t.Errorf("%d referrers, want 1001", len(got))
	}
	if n := regtest.Count(s.Requests(), "GET", "referrers"); n != 2 {
		t.Errorf("%d pages, want 2", n)
	}
}

func TestHandlerAnswers(t *testing.T) {
	s, l, root := served(t)
	content, err := l.PutBlob(t.Context(), "a/b", []byte("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, newImage(t, "amd64"), "v2")
	attach(t, l, root, "x")
	found := "/v2/x/referrers/" + root.Digest.String()
	blob := "/v2/x/blobs/" + content.Digest.String()
	for _, tc := range []struct {
		method, path, header string
		status               int
		body                 string // contained in it
	}{
		{"GET", "/v2/", "", 200, "{}"},
		{"GET", "/v2", "", 200, "{}"},
		{"GET", "/", "", 404, "NAME_UNKNOWN"},
		{"GET", blob, "", 200, "0123456789"},
		{"HEAD", blob, "", 200, ""},
		{"GET", blob, "bytes=3-", 206, "3456789"},
		{"GET", blob, "bytes=3-5", 206, "345"},
		{"GET", blob, "bytes=20-", 416, ""},
		{"GET", "/v2/x/blobs/" + zeros, "", 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/x/blobs/sha256:../../../index.json", "", 404, ""},
		{"GET", "/v2/x/blobs/..%2f..%2findex.json", "", 404, ""},
		{"GET", "/v2/X/blobs/" + zeros, "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/x/manifests/nothing", "", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/x/manifests/" + zeros, "", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/x/manifests/" + content.Digest.String(), "", 404, "MANIFEST_UNKNOWN"},
		{"HEAD", "/v2/x/manifests/v1", "", 200, ""},
		{"GET", "/v2/x/manifests/" + root.Digest.String(), "", 200, "manifests"},
		{"GET", "/v2/x/tags/list", "", 200, `["v1","v2"]`},
		{"GET", "/v2/x/tags/list?n=1", "", 200, `["v1"]`},
		{"GET", "/v2/x/tags/list?n=1&last=v1", "", 200, `["v2"]`},
		{"GET", "/v2/x/tags/list?n=x", "", 400, "PAGINATION"},
		{"GET", "/v2/x/referrers/" + zeros, "", 200, `"manifests":[]`},
		{"GET", found, "", 200, `"artifactType":"application/vnd.test+json"`},
		{"GET", found + "?artifactType=application/vnd.test%2Bjson", "", 200, `"artifactType":"application/vnd.test+json"`},
		{"GET", found + "?artifactType=a/b", "", 200, `"manifests":[]`},
		{"GET", "/v2/x/referrers/nonsense", "", 400, "DIGEST_INVALID"},
		{"POST", "/v2/x/blobs/uploads/", "", 405, "UNSUPPORTED"},
		{"PUT", "/v2/x/manifests/v1", "", 405, "UNSUPPORTED"},
		{"PATCH", "/v2/x/blobs/uploads/1", "", 405, "UNSUPPORTED"},
		{"DELETE", "/v2/x/manifests/v1", "", 405, "UNSUPPORTED"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+s.Host+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.header != "" {
			req.Header.Set("Range", tc.header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.body) || strings.Contains(string(b), l.Dir()) {
			t.Errorf("%s %s: %d %s; want %d %s", tc.method, tc.path, resp.StatusCode, b, tc.status, tc.body)
		}
		if tc.status >= 400 && tc.status != 416 && tc.method != "HEAD" {
			var e struct {
				Errors []struct{ Code, Message string }
			}
			if err := json.Unmarshal(b, &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Message == "" {
				t.Errorf("%s %s: error body %s", tc.method, tc.path, b)
			}
		}
		if filtered := resp.Header.Get("OCI-Filters-Applied") != ""; filtered != strings.Contains(tc.path, "artifactType") {
			t.Errorf("%s %s: says that filters were applied: %v", tc.method, tc.path, filtered)
		}
		if tc.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", tc.method, tc.path)
		}
		if tc.status == 200 && strings.Contains(tc.path, "manifests") && resp.Header.Get("Docker-Content-Digest") != root.Digest.String() {
			t.Errorf("%s %s: digest header %q", tc.method, tc.path, resp.Header.Get("Docker-Content-Digest"))
		}
	}
}

func TestHandlerOfABrokenLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := regtest.New(t, regtest.WithHandler(oci.Handler(dir)))
	get := func() int {
		resp, err := http.Get("http://" + s.Host + "/v2/x/tags/list")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := get(); got != 500 {
		t.Errorf("without a layout: %d, want 500", got)
	}
	if _, err := oci.CreateLayout(dir); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != 200 {
		t.Errorf("once there is one: %d, want 200", got)
	}
	damageFile(t, filepath.Join(dir, "index.json"), "cut")
	if got := get(); got != 500 {
		t.Errorf("with a broken index: %d, want 500", got)
	}
}
