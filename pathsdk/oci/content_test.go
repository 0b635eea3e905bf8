package oci_test

import (
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/oci"
)

const (
	zeros         = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	plainManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"` + zeros + `"},"layers":[]}`
	plainIndex    = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	manifestType  = "application/vnd.oci.image.manifest.v1+json"
	indexType     = "application/vnd.oci.image.index.v1+json"
)

type badManifest struct{ name, mediaType, text string }

func badManifests() []badManifest {
	return []badManifest{
		{"empty", manifestType, ""},
		{"null", manifestType, "null"},
		{"a list", manifestType, "[]"},
		{"trailing bytes", manifestType, plainManifest + "{}"},
		{"schema 1", "", `{"schemaVersion":1,"config":{},"layers":[]}`},
		{"manifest and index", manifestType, strings.Replace(plainManifest, `"layers"`, `"manifests":[],"layers"`, 1)},
		{"neither", manifestType, `{"schemaVersion":2}`},
		{"manifest stored as index", indexType, plainManifest},
		{"index without media type stored as manifest", manifestType, `{"schemaVersion":2,"manifests":[]}`},
		{"unknown media type", "text/html", `{"schemaVersion":2,"manifests":[]}`},
		{"no config", manifestType, `{"schemaVersion":2,"layers":[]}`},
		{"fields in other case", manifestType, `{"SchemaVersion":2,"Config":{},"Layers":[]}`},
		{"negative size", manifestType, strings.Replace(plainManifest, `"size":2`, `"size":-2`, 1)},
		{"no digest", manifestType, strings.Replace(plainManifest, `,"digest":"`+zeros+`"`, "", 1)},
		{"other algorithm", manifestType, strings.Replace(plainManifest, zeros, "md5:0123456789abcdef0123456789abcdef", 1)},
		{"traversal for a digest", manifestType, strings.Replace(plainManifest, zeros, "sha256:../../../../etc/passwd", 1)},
		{"too long", manifestType, strings.Replace(plainManifest, `"layers"`, strings.Repeat(" ", oci.MaxManifest)+`"layers"`, 1)},
		{"deep nesting", manifestType, `{"schemaVersion":2,"annotations":` + strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20001)},
	}
}

func TestContentRefuses(t *testing.T) {
	for _, bad := range badManifests() {
		t.Run(bad.name, func(t *testing.T) {
			m := oci.Manifest{MediaType: bad.mediaType, Digest: oci.DigestOf([]byte(bad.text)), Bytes: []byte(bad.text)}
			if c, err := m.Content(); err == nil {
				t.Errorf("accepted as %+v", c)
			}
		})
	}
	for _, good := range []string{plainManifest, plainIndex, `{"schemaVersion":2,"manifests":[]}`} {
		m := oci.Manifest{Digest: oci.DigestOf([]byte(good)), Bytes: []byte(good)}
		if _, err := m.Content(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func FuzzContent(f *testing.F) {
	for _, bad := range badManifests() {
		if len(bad.text) < 1000 {
			f.Add(bad.mediaType, []byte(bad.text))
		}
	}
	f.Add(manifestType, []byte(plainManifest))
	f.Add("", []byte(plainIndex))
	f.Fuzz(func(t *testing.T, mediaType string, b []byte) {
		m := oci.Manifest{MediaType: mediaType, Digest: oci.DigestOf(b), Bytes: b}
		c, err := m.Content()
		if err != nil {
			return
		}
		if c.Index == (c.Config != nil) {
			t.Errorf("index %v with config %v", c.Index, c.Config)
		}
		for _, d := range append(c.Layers, c.Manifests...) {
			if d.Size < 0 || len(oci.Digest(d).Hex()) != 64 || strings.ContainsAny(string(oci.Digest(d)), "/.") {
				t.Errorf("accepted descriptor %+v", d)
			}
		}
	})
}
