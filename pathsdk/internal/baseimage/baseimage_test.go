package baseimage_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"crypto/x509"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func platforms(t testing.TB, texts ...string) []v1.Platform {
	t.Helper()
	ps, err := baseimage.Platforms(texts)
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func TestScratch(t *testing.T) {
	t.Parallel()
	digest := func(texts ...string) step.Digest {
		img, err := baseimage.Scratch(platforms(t, texts...))
		if err != nil {
			t.Fatal(err)
		}
		l, err := oci.CreateLayout(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		desc, err := baseimage.Put(t.Context(), l, img)
		if err != nil {
			t.Fatal(err)
		}
		if err := oci.Check(t.Context(), l, oci.Digest(desc), true); err != nil {
			t.Error(err)
		}
		return oci.Digest(desc)
	}
	if a, b := digest("linux/amd64", "linux/arm64"), digest("linux/arm64", "linux/amd64"); a != b {
		t.Errorf("the order of platforms changes the digest: %s, %s", a, b)
	}
	if a, b := digest("linux/amd64"), digest("linux/arm64"); a == b {
		t.Error("two platforms have one image")
	}
	img, err := baseimage.Scratch(platforms(t, "linux/arm/v7"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.(v1.Image).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Platform().String(); got != "linux/arm/v7" || c.Config.User != baseimage.User {
		t.Errorf("platform = %s, user = %s", got, c.Config.User)
	}
	files := contents(t, img.(v1.Image))
	if !x509.NewCertPool().AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"]) || bytes.Count(files["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")) < 50 {
		t.Error("there are hardly any certificates")
	}
	if !strings.Contains(string(files["etc/passwd"]), "nonroot:x:65532:65532:") {
		t.Errorf("passwd = %s", files["etc/passwd"])
	}
	if _, ok := files["tmp/"]; !ok {
		t.Error("there is no /tmp")
	}
}

func contents(t testing.TB, img v1.Image) map[string][]byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := map[string][]byte{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	var manifests []v1.Descriptor
	for i, p := range []string{"linux/arm/v7", "linux/arm/v6", "linux/arm64/v8", "linux/amd64", "unknown/unknown"} {
		pl, err := v1.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: int64(i), Platform: pl})
	}
	for name, c := range map[string]struct {
		want   []string
		picked []int64
		err    string
	}{
		"sorted":        {want: []string{"linux/arm64", "linux/amd64"}, picked: []int64{3, 2}},
		"variant":       {want: []string{"linux/arm/v7"}, picked: []int64{0}},
		"which variant": {want: []string{"linux/arm"}, err: "name the variant, one of linux/arm/v6, linux/arm/v7"},
		"missing":       {want: []string{"linux/amd64", "linux/s390x", "linux/arm/v5"}, err: "nothing for linux/arm/v5, linux/s390x, only for linux/amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := baseimage.Select(manifests, platforms(t, c.want...))
			if c.err != "" {
				if !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error = %v, want one that says %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var sizes []int64
			for _, d := range got {
				sizes = append(sizes, d.Size)
			}
			if d := cmp.Diff(c.picked, sizes); d != "" {
				t.Error(d)
			}
		})
	}
}
