package oci_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// memory is a store that says what it is told to, true or not.
type memory map[step.Digest]string

func (m memory) Manifest(_ context.Context, d step.Digest) (oci.Manifest, error) {
	text, ok := m[d]
	if !ok {
		return oci.Manifest{}, oci.ErrNotFound
	}
	mt := manifestType
	if strings.Contains(text, `"manifests"`) {
		mt = indexType
	}
	return oci.Manifest{MediaType: mt, Digest: d, Bytes: []byte(text)}, nil
}

func (m memory) Blob(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("{}")), nil
}

func (m memory) Referrers(context.Context, step.Digest) ([]v1.Descriptor, error) { return nil, nil }

// index adds an index of the given children to the store.
func (m memory) index(t *testing.T, children ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	if children == nil {
		children = []v1.Descriptor{}
	}
	b, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: children})
	if err != nil {
		t.Fatal(err)
	}
	m[oci.DigestOf(b)] = string(b)
	return oci.Manifest{MediaType: indexType, Digest: oci.DigestOf(b), Bytes: b}.Descriptor()
}

func (m memory) leaf(i int) v1.Descriptor {
	text := strings.Replace(plainManifest, `"layers"`, fmt.Sprintf(`"annotations":{"n":"%d"},"layers"`, i), 1)
	m[oci.DigestOf([]byte(text))] = text
	return oci.Manifest{MediaType: manifestType, Digest: oci.DigestOf([]byte(text)), Bytes: []byte(text)}.Descriptor()
}

func TestTreesAreBounded(t *testing.T) {
	deep := func(m memory, n int) v1.Descriptor {
		d := m.leaf(0)
		for range n {
			d = m.index(t, d)
		}
		return d
	}
	wide := func(m memory, n int) v1.Descriptor {
		var ds []v1.Descriptor
		for i := range n {
			ds = append(ds, m.leaf(i))
		}
		return m.index(t, ds...)
	}
	changed := func(m memory, f func(*v1.Descriptor)) v1.Descriptor {
		d := m.leaf(0)
		f(&d)
		return m.index(t, d)
	}
	for _, tc := range []struct {
		name  string
		root  func(m memory) v1.Descriptor
		count int
		err   string
	}{
		{"nested as deep as may be", func(m memory) v1.Descriptor { return deep(m, oci.MaxDepth) }, oci.MaxDepth + 1, ""},
		{"nested too deep", func(m memory) v1.Descriptor { return deep(m, oci.MaxDepth+1) }, 0, "deep"},
		{"as wide as may be", func(m memory) v1.Descriptor { return wide(m, oci.MaxImages) }, oci.MaxImages + 1, ""},
		{"too wide", func(m memory) v1.Descriptor { return wide(m, oci.MaxImages+1) }, 0, "more than 1000 manifests"},
		{"repeats", func(m memory) v1.Descriptor {
			d := m.leaf(0)
			i := m.index(t, d, d)
			return m.index(t, i, i, d)
		}, 3, ""},
		{"empty", func(m memory) v1.Descriptor { return m.index(t) }, 1, ""},
		{"other size", func(m memory) v1.Descriptor { return changed(m, func(d *v1.Descriptor) { d.Size++ }) }, 0, "its index says"},
		{"other type", func(m memory) v1.Descriptor { return changed(m, func(d *v1.Descriptor) { d.MediaType = indexType }) }, 0, "its index says"},
		{"no manifest", func(m memory) v1.Descriptor { return changed(m, func(d *v1.Descriptor) { d.MediaType = "text/plain" }) }, 0, `contains a "text/plain"`},
		{"absent", func(m memory) v1.Descriptor {
			return changed(m, func(d *v1.Descriptor) { d.Digest.Hex = strings.Repeat("1", 64) })
		}, 0, "not found"},
		{"itself", func(m memory) v1.Descriptor {
			// No real digest can be found for this: it needs a store that lies.
			text := func(child v1.Descriptor) string {
				return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"size":%d,"digest":%q}]}`, indexType, child.Size, child.Digest)
			}
			d := v1.Descriptor{MediaType: indexType, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}}
			d.Size = int64(len(text(v1.Descriptor{Size: 100, Digest: d.Digest})))
			m[oci.Digest(d)] = text(m.index(t, d))
			return d
		}, 0, "contains itself"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := memory{}
			root := tc.root(m)
			images, err := oci.Images(t.Context(), m, oci.Digest(root))
			if tc.err == "" && (err != nil || len(images) != tc.count) {
				t.Errorf("%d images, error %v; want %d", len(images), err, tc.count)
			}
			if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			if tc.err != "" && !errors.Is(err, oci.ErrContent) && !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("an error of neither kind: %v", err)
			}
		})
	}
}
