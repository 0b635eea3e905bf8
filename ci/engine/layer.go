package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer collects the files of an image. Everything in it belongs to root and has
// no time: the same files give the same digest. The first error is kept.
type layer struct {
	buf bytes.Buffer
	err error
}

func (l *layer) add(h tar.Header, data []byte) {
	if l.err != nil {
		return
	}
	h.Size = int64(len(data))
	w := tar.NewWriter(&l.buf)
	if l.err = w.WriteHeader(&h); l.err != nil {
		return
	}
	if _, l.err = w.Write(data); l.err == nil {
		l.err = w.Flush() // the end mark comes once, in image
	}
}

func (l *layer) dir(name string, mode int64) {
	l.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (l *layer) link(name, target string) {
	l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (l *layer) text(name, content string) {
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, []byte(content))
}

// copy puts a file of this machine into the layer.
func (l *layer) copy(name, from string) {
	if l.err != nil {
		return
	}
	info, err := os.Stat(from)
	if err != nil {
		l.err = err
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		l.err = err
		return
	}
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm())}, data)
}

// programs puts programs and the shared libraries that they load into the layer.
func (l *layer) programs(from ...string) {
	if l.err != nil {
		return
	}
	out, err := output("ldd", from...)
	if err != nil {
		l.err = err
		return
	}
	for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(out, -1) {
		from = append(from, m[1])
	}
	slices.Sort(from)
	for _, file := range slices.Compact(from) {
		l.copy(strings.TrimPrefix(file, "/"), file)
	}
}

// tree puts a folder into the layer, without the folders that skip names.
func (l *layer) tree(name, from string, skip func(rel string) bool) {
	if l.err != nil {
		return
	}
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		at := path.Join(name, filepath.ToSlash(rel))
		switch {
		case d.IsDir() && skip(rel):
			return fs.SkipDir
		case d.IsDir():
			l.dir(at, 0o755)
		case d.Type().IsRegular():
			l.copy(at, p)
		}
		return l.err
	})
	if l.err == nil {
		l.err = err
	}
}

// write makes an image of one layer, in an OCI layout of its own, and returns its
// digest. The layer is not compressed: it only crosses this machine.
func (l *layer) write(dir string, config v1.Config) (v1.Hash, error) {
	if l.err != nil {
		return v1.Hash{}, l.err
	}
	data := append(bytes.Clone(l.buf.Bytes()), make([]byte, 1024)...)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(data, types.OCIUncompressedLayer))
	if err != nil {
		return v1.Hash{}, err
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	file, err := img.ConfigFile()
	if err != nil {
		return v1.Hash{}, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return v1.Hash{}, err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := p.AppendImage(img); err != nil {
		return v1.Hash{}, fmt.Errorf("write %s: %w", dir, err)
	}
	return img.Digest()
}
