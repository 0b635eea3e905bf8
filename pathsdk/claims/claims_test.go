package claims_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/claims"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const tarball = "the source"

func sample() claims.Claims {
	source := oci.DigestOf([]byte(tarball))
	return claims.Claims{
		Image: oci.DigestOf([]byte("image")), Name: "team/hello", Source: source,
		Modules: []gomod.Module{{Path: "example.com/a", Version: "v1.2.0", Sum: "h1:wk8382ETsv4JYUZwIsn6YpYiWiBsYLSJiTsyBybVuN8="}},
		Reports: []claims.Report{{Node: "test", Step: "test", Evidence: []step.Evidence{{
			Type: "https://in-toto.io/attestation/test-result/v0.1", Predicate: json.RawMessage(`{"result":"PASSED"}`),
			Subject: &step.Subject{Name: "source", Digest: source},
		}}}},
	}
}

func write(t testing.TB, l *oci.Layout, c claims.Claims) (step.Digest, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "source.tar")
	if err := os.WriteFile(file, []byte(tarball), 0o644); err != nil {
		t.Fatal(err)
	}
	return claims.Write(t.Context(), l, c, file)
}

func layout(t testing.TB) *oci.Layout {
	t.Helper()
	l, err := oci.CreateLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWriteRead(t *testing.T) {
	t.Parallel()
	l := layout(t)
	d, err := write(t, l, sample())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := write(t, layout(t), sample()); err != nil || again != d {
		t.Errorf("the same claims elsewhere: %s, %v, want %s", again, err, d)
	}
	got, source, err := claims.Read(t.Context(), l, d)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), got); d != "" {
		t.Error(d)
	}
	b, err := oci.ReadBlob(t.Context(), l, source, 1024)
	if err != nil || string(b) != tarball {
		t.Errorf("source = %q, %v", b, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*claims.Claims)
		want   string
	}{
		"no image":        {func(c *claims.Claims) { c.Image = "" }, "image"},
		"other source":    {func(c *claims.Claims) { c.Source = c.Image; c.Reports = nil }, "want " + string(sample().Image)},
		"name":            {func(c *claims.Claims) { c.Name = "../x" }, "name"},
		"module":          {func(c *claims.Claims) { c.Modules[0].Sum = "" }, "h1"},
		"node traversal":  {func(c *claims.Claims) { c.Reports[0].Node = "../x" }, "not a name"},
		"node twice":      {func(c *claims.Claims) { c.Reports = append(c.Reports, c.Reports[0]) }, "repeated"},
		"type":            {func(c *claims.Claims) { c.Reports[0].Evidence[0].Type = "test" }, "not a URI"},
		"predicate":       {func(c *claims.Claims) { c.Reports[0].Evidence[0].Predicate = json.RawMessage(`[]`) }, "JSON object"},
		"foreign subject": {func(c *claims.Claims) { c.Reports[0].Evidence[0].Subject.Digest = oci.DigestOf([]byte("x")) }, "neither the source nor the image"},
		"no subject":      {func(c *claims.Claims) { c.Reports[0].Evidence[0].Subject = nil }, "neither the source nor the image"},
		"too many reports": {func(c *claims.Claims) {
			for len(c.Reports) <= claims.MaxReports {
				c.Reports = append(c.Reports, claims.Report{})
			}
		}, "more than the limit"},
		"too much evidence": {func(c *claims.Claims) {
			for range claims.MaxEvidence {
				c.Reports[0].Evidence = append(c.Reports[0].Evidence, c.Reports[0].Evidence[0])
			}
		}, "more than 256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sample()
			c.change(&s)
			if _, err := write(t, layout(t), s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %q", err, c.want)
			}
		})
	}
}

// TestReadRefuses forges each part of an artifact, with digests that fit.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	good, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	type artifact struct {
		doc      []byte
		source   []byte
		manifest func(map[string]any)
	}
	for name, c := range map[string]struct {
		change func(*artifact)
		want   string
	}{
		"unknown field": {func(a *artifact) {
			a.doc = bytes.Replace(good, []byte(`{"image"`), []byte(`{"trusted":true,"image"`), 1)
		}, "unknown field"},
		"other case": {func(a *artifact) { a.doc = bytes.Replace(good, []byte(`"image"`), []byte(`"Image"`), 1) }, "unknown field"},
		"repeated field": {func(a *artifact) {
			a.doc = bytes.Replace(good, []byte(`{"image"`), []byte(`{"name":"other","image"`), 1)
		}, "duplicate field"},
		"not UTF-8":     {func(a *artifact) { a.doc = bytes.Replace(good, []byte(`hello`), []byte("h\xffllo"), 1) }, "UTF-8"},
		"trailing":      {func(a *artifact) { a.doc = append(bytes.Clone(good), "{}"...) }, "after top-level value"},
		"deep":          {func(a *artifact) { a.doc = bytes.Repeat([]byte(`{"image":`), 20_000) }, "depth"},
		"too large":     {func(a *artifact) { a.doc = append(bytes.Clone(good), bytes.Repeat([]byte(" "), claims.MaxDocument)...) }, "more than the limit"},
		"other source":  {func(a *artifact) { a.source = []byte("another") }, "but the claims name"},
		"artifact type": {func(a *artifact) { a.manifest = func(m map[string]any) { m["artifactType"] = "application/x" } }, "application/x"},
		"one layer": {func(a *artifact) {
			a.manifest = func(m map[string]any) { m["layers"] = m["layers"].([]v1.Descriptor)[:1] }
		}, "two layers"},
		"layers swapped": {func(a *artifact) {
			a.manifest = func(m map[string]any) { l := m["layers"].([]v1.Descriptor); l[0], l[1] = l[1], l[0] }
		}, "two layers"},
		"size": {func(a *artifact) { a.manifest = func(m map[string]any) { m["layers"].([]v1.Descriptor)[0].Size++ } }, "want"},
		"huge source": {func(a *artifact) {
			a.manifest = func(m map[string]any) { m["layers"].([]v1.Descriptor)[1].Size = 1 << 40 }
		}, "more than the limit"},
		"missing blob": {func(a *artifact) {
			a.manifest = func(m map[string]any) { m["layers"].([]v1.Descriptor)[0].Digest.Hex = strings.Repeat("0", 64) }
		}, "not found"},
		"foreign subject": {func(a *artifact) {
			a.doc = bytes.Replace(good, []byte(`"subject":{"name":"source","digest":"sha256:`), []byte(`"subject":{"name":"source","digest":"sha256:00`), 1)
		}, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := artifact{doc: good, source: []byte(tarball), manifest: func(map[string]any) {}}
			c.change(&a)
			l := layout(t)
			d := forge(t, l, a.doc, a.source, a.manifest)
			if _, _, err := claims.Read(t.Context(), l, d); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %q", err, c.want)
			}
		})
	}
}

// forge writes an artifact of any content.
func forge(t testing.TB, l *oci.Layout, doc, source []byte, change func(map[string]any)) step.Digest {
	t.Helper()
	put := func(mediaType string, b []byte) v1.Descriptor {
		d, err := l.PutBlob(t.Context(), mediaType, b)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	m := map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": claims.ArtifactType,
		"config": put("application/vnd.oci.empty.v1+json", []byte("{}")),
		"layers": []v1.Descriptor{put(claims.ArtifactType, doc), put(claims.SourceType, source)},
	}
	change(m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.PutManifest(t.Context(), "application/vnd.oci.image.manifest.v1+json", b, "")
	if err != nil {
		t.Fatal(err)
	}
	return oci.Digest(d)
}

// FuzzRead checks that a document which is accepted is valid, and is written
// again as what was read.
func FuzzRead(f *testing.F) {
	good, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"image":"x"}`))
	f.Add([]byte(`{}`))
	l := layout(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		d := forge(t, l, doc, []byte(tarball), func(map[string]any) {})
		c, _, err := claims.Read(t.Context(), l, d)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		again, err := write(t, l, c)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := claims.Read(t.Context(), l, again); err != nil || got.Image != c.Image || len(got.Reports) != len(c.Reports) {
			t.Fatalf("what was accepted can't be read again: %v", err)
		}
	})
}
