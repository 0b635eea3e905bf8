package trivydb

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	configMediaType = "application/vnd.aquasec.trivy.config.v1+json"
	layerTitle      = "db.tar.gz"
)

// Pushed names what Push wrote.
type Pushed struct {
	// Manifest is the artifact's digest; Layer that of the packed database,
	// which identifies the database in evidence.
	Manifest step.Digest
	Layer    step.Digest
}

// Push publishes the database in dir as ref, in the form in which trivy's own
// databases are published, so that any trivy can use it.
func Push(ctx context.Context, dir, ref string, rt http.RoundTripper) (Pushed, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return Pushed{}, step.Usagef("push vulnerability database: %w", err)
	}
	if _, err := Check(dir); err != nil {
		return Pushed{}, fmt.Errorf("push vulnerability database %s: %w", dir, err)
	}
	f, err := os.CreateTemp("", "trivy-db-*.tar.gz")
	if err != nil {
		return Pushed{}, fmt.Errorf("push vulnerability database: %w", err)
	}
	defer os.Remove(f.Name())
	if err := errors.Join(Pack(f, dir), f.Close()); err != nil {
		return Pushed{}, fmt.Errorf("push vulnerability database: %w", err)
	}
	layer, err := tarball.LayerFromFile(f.Name(), tarball.WithMediaType(LayerMediaType))
	if err != nil {
		return Pushed{}, fmt.Errorf("push vulnerability database: %w", err)
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer: layer, MediaType: LayerMediaType,
		Annotations: map[string]string{"org.opencontainers.image.title": layerTitle},
	})
	if err != nil {
		return Pushed{}, fmt.Errorf("push vulnerability database: %w", err)
	}
	img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), configMediaType)
	if rt == nil {
		rt = remote.DefaultTransport
	}
	err = remote.Write(r, img, remote.WithContext(ctx), remote.WithTransport(rt), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return Pushed{}, fmt.Errorf("push vulnerability database to %s: %w", ref, err)
	}
	return pushed(img, layer)
}

func pushed(img v1.Image, layer v1.Layer) (Pushed, error) {
	m, err := img.Digest()
	if err != nil {
		return Pushed{}, err
	}
	l, err := layer.Digest()
	if err != nil {
		return Pushed{}, err
	}
	return Pushed{Manifest: step.Digest(m.String()), Layer: step.Digest(l.String())}, nil
}

// Pack writes the database in dir as the gzipped tar that a registry or a mirror
// holds. The same database gives the same bytes.
func Pack(w io.Writer, dir string) error {
	gz := gzip.NewWriter(w)
	buf := bufio.NewWriterSize(gz, 1<<20)
	tw := tar.NewWriter(buf)
	for _, name := range []string{DBFile, MetadataFile} {
		if err := pack(tw, filepath.Join(dir, name), name); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := errors.Join(tw.Close(), buf.Flush(), gz.Close()); err != nil {
		return fmt.Errorf("pack vulnerability database: %w", err)
	}
	return nil
}

func pack(tw *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: st.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
