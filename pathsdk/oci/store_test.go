package oci_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// place is one kind of store under test. open opens the same place anew, as
// another process would.
type place struct {
	name string
	open func(t *testing.T) func() oci.Writer
	loc  func(oci.Writer) oci.Locator
}

func places() []place {
	reg := func(opts ...regtest.Option) func(t *testing.T) func() oci.Writer {
		return func(t *testing.T) func() oci.Writer {
			s := regtest.New(t, opts...)
			return func() oci.Writer { return openRef(t, s.Repo("team/app")) }
		}
	}
	return []place{
		{name: "layout", open: func(t *testing.T) func() oci.Writer {
			dir := filepath.Join(t.TempDir(), "store")
			return func() oci.Writer { return openRef(t, "oci:"+dir, oci.WithCreate()) }
		}},
		{name: "registry", open: reg()},
		{name: "registry without referrers API", open: reg(regtest.WithoutReferrers())},
	}
}

// fast makes retries quick enough for tests.
func fast() oci.Option {
	return oci.WithRetry(oci.Retry{Attempts: 4, Base: time.Millisecond, Max: 5 * time.Millisecond, Budget: 2 * time.Second})
}

func openRef(t *testing.T, ref string, opts ...oci.Option) oci.Writer {
	t.Helper()
	w, err := oci.Open(t.Context(), locator(t, ref), append([]oci.Option{fast()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func locator(t *testing.T, ref string) oci.Locator {
	t.Helper()
	l, err := oci.ParseLocator(ref)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func eachPlace(t *testing.T, f func(t *testing.T, open func() oci.Writer)) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) { f(t, p.open(t)) })
	}
}

// newImage makes a small image for a platform, other bytes every time.
func newImage(t *testing.T, arch string) v1.Image {
	t.Helper()
	img, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", arch
	img, err = mutate.ConfigFile(mutate.MediaType(img, types.OCIManifestSchema1), c)
	if err != nil {
		t.Fatal(err)
	}
	return mutate.ConfigMediaType(img, types.OCIConfigJSON)
}

func newIndex(t *testing.T, arches ...string) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, a := range arches {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add:        newImage(t, a),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: a}},
		})
	}
	return idx
}

func put(t *testing.T, w oci.Writer, img v1.Image, tag string) v1.Descriptor {
	t.Helper()
	d, err := oci.PutImage(t.Context(), w, img, tag)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func attach(t *testing.T, w oci.Writer, subject v1.Descriptor, payload string) step.Digest {
	t.Helper()
	d, err := oci.Attach(t.Context(), w, subject, oci.Artifact{
		ArtifactType: "application/vnd.test+json", Payload: []byte(payload),
		Annotations: map[string]string{"test": payload},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func referrers(t *testing.T, s oci.Store, d step.Digest) []step.Digest {
	t.Helper()
	found, err := s.Referrers(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	ds := []step.Digest{}
	for _, f := range found {
		ds = append(ds, oci.Digest(f))
	}
	return ds
}

func sorted(ds ...step.Digest) []step.Digest {
	m := map[step.Digest]bool{}
	out := []step.Digest{}
	for _, d := range ds {
		if !m[d] {
			m[d] = true
			out = append(out, d)
		}
	}
	for i := range out {
		for j := i + 1; j < len(out); j++ {
			if out[j] < out[i] {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}

func TestBlobs(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func() oci.Writer) {
		ctx := t.Context()
		for _, content := range []string{"", "x", strings.Repeat("large", 500_000)} {
			w := open()
			desc, err := w.PutBlob(ctx, "text/plain", []byte(content))
			if err != nil {
				t.Fatal(err)
			}
			if want := oci.DigestOf([]byte(content)); oci.Digest(desc) != want || desc.Size != int64(len(content)) || desc.MediaType != "text/plain" {
				t.Errorf("descriptor %+v of %d bytes with digest %s", desc, len(content), want)
			}
			got, err := oci.ReadBlob(ctx, open(), desc, 10<<20)
			if err != nil || string(got) != content {
				t.Errorf("read %d bytes back, error %v; want %d", len(got), err, len(content))
			}
			// What is there already is not asked for again.
			err = open().PutStream(ctx, desc, func(context.Context) (io.ReadCloser, error) {
				return nil, errors.New("opened although the blob is there")
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestBlobErrors(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func() oci.Writer) {
		ctx := t.Context()
		w := open()
		good, err := w.PutBlob(ctx, "text/plain", []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		longer, shorter, absent := good, good, good
		longer.Size++
		shorter.Size--
		absent.Digest.Hex = strings.Repeat("0", 64)
		negative := good
		negative.Size = -1
		for _, tc := range []struct {
			name string
			desc v1.Descriptor
			want error
		}{
			{"longer", longer, oci.ErrContent},
			{"shorter", shorter, oci.ErrContent},
			{"absent", absent, oci.ErrNotFound},
			{"negative", negative, nil},
		} {
			_, err := oci.ReadBlob(ctx, open(), tc.desc, 1000)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%s: got error %v, want %v", tc.name, err, tc.want)
			}
		}
		if _, err := oci.ReadBlob(ctx, w, good, 3); !errors.Is(err, oci.ErrContent) {
			t.Errorf("a blob above the caller's limit: got error %v", err)
		}

		// Content that isn't what the descriptor says is not stored.
		other := absent
		other.Size = 7
		for _, content := range []string{"content", "short", "much longer"} {
			err := open().PutStream(ctx, other, func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(content)), nil
			})
			if !errors.Is(err, oci.ErrContent) {
				t.Errorf("PutStream of %q under another digest: got error %v", content, err)
			}
		}
		broken := errors.New("the source broke")
		err = open().PutStream(ctx, other, func(context.Context) (io.ReadCloser, error) { return nil, broken })
		if !errors.Is(err, broken) {
			t.Errorf("got error %v, want the source's own", err)
		}
		if _, err := open().Blob(ctx, other); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("after refused writes: got error %v, want not found", err)
		}
	})
}

func TestManifestErrors(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func() oci.Writer) {
		ctx := t.Context()
		w := open()
		if _, err := w.Manifest(ctx, oci.DigestOf(nil)); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("absent manifest: got error %v", err)
		}
		if _, err := w.Manifest(ctx, "sha256:short"); err == nil {
			t.Error("a malformed digest was accepted")
		}
		if _, err := w.Referrers(ctx, "../../etc/passwd"); err == nil {
			t.Error("a malformed subject was accepted")
		}
		for _, bad := range badManifests() {
			if _, err := w.PutManifest(ctx, bad.mediaType, []byte(bad.text), ""); !errors.Is(err, oci.ErrContent) {
				t.Errorf("%s: got error %v", bad.name, err)
			}
		}
		if _, err := w.PutManifest(ctx, "", []byte(plainManifest), "no spaces"); !errors.Is(err, step.ErrUsage) {
			t.Errorf("malformed tag: got error %v", err)
		}
	})
}

func TestTags(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			var loc oci.Locator
			var w oci.Writer
			if p.name == "layout" {
				loc = locator(t, "oci:"+filepath.Join(t.TempDir(), "s"))
				w = openRef(t, loc.String(), oci.WithCreate())
			} else {
				loc = locator(t, regtest.New(t).Repo("a/b"))
				w = openRef(t, loc.String())
			}
			ctx := t.Context()
			one := put(t, w, newImage(t, "amd64"), "v1")
			two := put(t, w, newImage(t, "amd64"), "v2")
			three := put(t, w, newImage(t, "amd64"), "v1") // moves
			put(t, w, newImage(t, "amd64"), "")
			for tag, want := range map[string]v1.Descriptor{"v1": three, "v2": two} {
				loc.Tag = tag
				got, err := oci.Resolve(ctx, loc, fast())
				if err != nil || got != oci.Digest(want) {
					t.Errorf("tag %s: got %s, %v; want %s", tag, got, err, want.Digest)
				}
			}
			loc.Tag = "v3"
			if _, err := oci.Resolve(ctx, loc, fast()); !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("absent tag: got error %v", err)
			}
			loc.Tag = ""
			if _, err := oci.Resolve(ctx, loc, fast()); !errors.Is(err, step.ErrUsage) {
				t.Errorf("no tag: got error %v", err)
			}
			// What lost its tag can still be read by digest.
			if err := oci.Check(ctx, w, oci.Digest(one), true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCopy(t *testing.T) {
	for _, from := range places() {
		for _, to := range places() {
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				ctx := t.Context()
				src, dst := from.open(t)(), to.open(t)
				idx := newIndex(t, "amd64", "arm64")
				desc, err := oci.PutIndex(ctx, src, idx, "v1")
				if err != nil {
					t.Fatal(err)
				}
				d := oci.Digest(desc)
				for range 2 { // again changes nothing
					if err := oci.Copy(ctx, dst(), src, d, "v1"); err != nil {
						t.Fatal(err)
					}
				}
				if err := oci.Check(ctx, dst(), d, true); err != nil {
					t.Error(err)
				}
				images, err := oci.Images(ctx, dst(), d)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, i := range images {
					got = append(got, i.Platform)
				}
				if diff := cmp.Diff([]string{"", "linux/amd64", "linux/arm64"}, got); diff != "" {
					t.Errorf("platforms (-want +got):\n%s", diff)
				}
				img, err := oci.AsImage(ctx, dst(), images[1].Digest)
				if err != nil {
					t.Fatal(err)
				}
				layers, err := img.Layers()
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range layers {
					r, err := l.Uncompressed()
					if err != nil {
						t.Fatal(err)
					}
					if n, err := io.Copy(io.Discard, r); err != nil || n == 0 {
						t.Errorf("layer of %d bytes, error %v", n, err)
					}
					r.Close()
				}
				if c, err := img.ConfigFile(); err != nil || c.Architecture != "amd64" {
					t.Errorf("configuration %+v, error %v", c, err)
				}
			})
		}
	}
}

func TestImagesOfOnePlatform(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func() oci.Writer) {
		desc := put(t, open(), newImage(t, "arm64"), "")
		images, err := oci.Images(t.Context(), open(), oci.Digest(desc))
		if err != nil {
			t.Fatal(err)
		}
		if len(images) != 1 || images[0].Platform != "linux/arm64" || images[0].Descriptor.Digest != desc.Digest || images[0].Descriptor.Size != desc.Size {
			t.Errorf("got %+v, want one image %s for linux/arm64", images, desc.Digest)
		}
	})
}

func TestAttach(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func() oci.Writer) {
		ctx := t.Context()
		w := open()
		subject := put(t, w, newImage(t, "amd64"), "v1")
		other := put(t, w, newImage(t, "amd64"), "")
		if got := referrers(t, w, oci.Digest(subject)); len(got) != 0 {
			t.Errorf("referrers before any: %v", got)
		}
		var want []step.Digest
		for i := range 5 {
			want = append(want, attach(t, w, subject, fmt.Sprint(i)))
		}
		mine := attach(t, w, other, "0")
		// Again, by this process and by another: the same digest, nothing new.
		for i := range 5 {
			if d := attach(t, w, subject, fmt.Sprint(i)); d != want[i] {
				t.Errorf("attached again as %s, first as %s", d, want[i])
			}
			attach(t, open(), subject, fmt.Sprint(i))
		}
		if err := oci.Settle(ctx, w); err != nil {
			t.Error(err)
		}
		for _, s := range []oci.Store{w, open()} {
			if diff := cmp.Diff(sorted(want...), referrers(t, s, oci.Digest(subject))); diff != "" {
				t.Errorf("referrers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]step.Digest{mine}, referrers(t, s, oci.Digest(other))); diff != "" {
				t.Errorf("referrers of the other image (-want +got):\n%s", diff)
			}
		}
		found, err := open().Referrers(ctx, oci.Digest(subject))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.ArtifactType != "application/vnd.test+json" || f.MediaType != types.OCIManifestSchema1 || len(f.Annotations) != 1 {
				t.Errorf("referrer's descriptor %+v", f)
			}
			m, err := open().Manifest(ctx, oci.Digest(f))
			if err != nil {
				t.Fatal(err)
			}
			c, err := m.Content()
			if err != nil {
				t.Fatal(err)
			}
			b, err := oci.ReadBlob(ctx, open(), c.Layers[0], 100)
			if err != nil || string(b) != f.Annotations["test"] {
				t.Errorf("payload %q, error %v; want %q", b, err, f.Annotations["test"])
			}
		}
	})
}

// The form is that of cosign 2.6, which its readers and others' look for.
func TestAttachForm(t *testing.T) {
	w := places()[0].open(t)()
	subject := put(t, w, newImage(t, "amd64"), "")
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	d, err := oci.Attach(t.Context(), w, subject, oci.Artifact{
		ArtifactType: bundle, Payload: []byte(`{"mediaType":"x"}`),
		Annotations: map[string]string{
			"org.opencontainers.image.created":  "2026-01-02T03:04:05Z",
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.Manifest(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","artifactType":"` + bundle + `"},` +
		`"layers":[{"mediaType":"` + bundle + `","size":17,"digest":"` + string(oci.DigestOf([]byte(`{"mediaType":"x"}`))) + `"}],` +
		`"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://slsa.dev/provenance/v1","org.opencontainers.image.created":"2026-01-02T03:04:05Z"},` +
		`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":` + fmt.Sprint(subject.Size) + `,"digest":"` + subject.Digest.String() + `"},` +
		`"artifactType":"` + bundle + `"}`
	if diff := cmp.Diff(want, string(m.Bytes)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestPutFile(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func() oci.Writer) {
		path := filepath.Join(t.TempDir(), "f")
		content := bytes.Repeat([]byte("0123456789"), 300_000)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		desc, err := oci.PutFile(t.Context(), open(), "application/x-tar", path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := oci.ReadBlob(t.Context(), open(), desc, 4<<20)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes back, error %v", len(got), err)
		}
	})
}

func TestCheckFindsDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	ctx := t.Context()
	img := newImage(t, "amd64")
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		target func(root v1.Descriptor) v1.Hash
		always bool // found without deep, too
	}{
		{"manifest", func(r v1.Descriptor) v1.Hash { return r.Digest }, true},
		{"config", func(v1.Descriptor) v1.Hash { return m.Config.Digest }, true},
		{"layer", func(v1.Descriptor) v1.Hash { return m.Layers[1].Digest }, false},
	} {
		for _, damage := range []string{"flip", "cut", "remove", "pipe"} {
			t.Run(tc.name+" "+damage, func(t *testing.T) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				l, err := oci.CreateLayout(dir)
				if err != nil {
					t.Fatal(err)
				}
				root := put(t, l, img, "v1")
				if err := oci.Check(ctx, l, oci.Digest(root), true); err != nil {
					t.Fatalf("before: %v", err)
				}
				damageFile(t, filepath.Join(dir, "blobs", "sha256", tc.target(root).Hex), damage)
				for _, deep := range []bool{false, true} {
					err := oci.Check(ctx, l, oci.Digest(root), deep)
					if want := deep || tc.always; want != (err != nil) {
						t.Errorf("deep %v: error %v", deep, err)
					}
					if err != nil && !errors.Is(err, oci.ErrContent) && !errors.Is(err, oci.ErrNotFound) {
						t.Errorf("an error of neither kind: %v", err)
					}
				}
				// To write it again mends it.
				put(t, l, img, "v1")
				if err := oci.Check(ctx, l, oci.Digest(root), true); err != nil {
					t.Errorf("after it was written again: %v", err)
				}
			})
		}
	}
}
