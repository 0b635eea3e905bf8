package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	caBundle = "etc/ssl/certs/ca-certificates.crt"
	nonRoot  = "65532:65532"
	// Names that no registry has. They have tags, or the kubelet would pull them.
	pauseImage = "tekton.local/pause:1"
	shellImage = "tekton.local/shell:1"
)

// The programs of Tekton that run in containers.
var tektonPrograms = []string{"controller", "webhook", "events", "resolvers", "entrypoint", "nop", "workingdirinit", "sidecarlogresults"}

func tektonImage(program, version string) string { return "tekton.local/" + program + ":" + version }

// images writes what containerd imports before the first pod, and the shell alone,
// which goes to the registry, too.
func images(made, version string) error {
	bin := func(name string) string { return filepath.Join(made, "bin", name) }
	all := map[name.Tag]v1.Image{}
	add := func(ref string, l *layer, config v1.Config) error {
		tag, err := name.NewTag(ref)
		if err != nil {
			return err
		}
		all[tag], err = l.image(config)
		return err
	}

	var pause layer
	pause.copy("pause", bin("pause"))
	if err := add(pauseImage, &pause, v1.Config{Entrypoint: []string{"/pause"}, User: nonRoot}); err != nil {
		return err
	}
	for _, program := range tektonPrograms {
		var l layer
		l.system()
		l.dir("ko-app", 0o755)
		l.copy("ko-app/"+program, bin(program))
		if program == "resolvers" { // its deployment starts it by this
			l.dir("sbin", 0o755)
			l.copy("sbin/tini", bin("tini-static"))
		}
		if err := add(tektonImage(program, version), &l, v1.Config{Entrypoint: []string{"/ko-app/" + program}, User: nonRoot}); err != nil {
			return err
		}
	}
	var shell layer
	shell.system()
	shell.busybox(bin("busybox"))
	if err := add(shellImage, &shell, v1.Config{User: nonRoot}); err != nil {
		return err
	}
	tag, err := name.NewTag(shellImage)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(filepath.Join(made, "shell.tar"), tag, all[tag]); err != nil {
		return err
	}
	return tarball.MultiWriteToFile(filepath.Join(made, "images.tar"), all)
}

// layer collects the files of an image. Everything in it belongs to root and has no
// time: the same files give the same digest. The first error is kept.
type layer struct {
	buf bytes.Buffer
	err error
}

// system is what programs expect of one.
func (l *layer) system() {
	for _, d := range []string{"etc", "etc/ssl", "etc/ssl/certs", "home", "root"} {
		l.dir(d, 0o755)
	}
	l.dir("home/nonroot", 0o777)
	l.dir("tmp", 0o1777)
	l.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n")
	l.text("etc/group", "root:x:0:\nnonroot:x:65532:\n")
	l.copy(caBundle, "/"+caBundle)
}

// busybox is a shell and every applet, but wget: built as Debian builds it, for no
// library, it crashes when it looks for an address.
func (l *layer) busybox(from string) {
	l.dir("bin", 0o755)
	l.copy("bin/busybox", from)
	applets, err := output(from, "--list")
	if l.err == nil {
		l.err = err
	}
	for _, applet := range strings.Fields(applets) {
		if applet != "busybox" && applet != "wget" {
			l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
}

func (l *layer) dir(name string, mode int64) {
	l.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
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

// image is one of this layer alone.
func (l *layer) image(config v1.Config) (v1.Image, error) {
	if l.err != nil {
		return nil, l.err
	}
	data := append(l.buf.Bytes(), make([]byte, 1024)...)
	// Not compressed: it only crosses this machine.
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(data, types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	file.Config.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/ko-app"}
	return mutate.ConfigFile(img, file)
}
