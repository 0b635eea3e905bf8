package world

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Certificates are this machine's of certificate authorities, and where images have them.
const Certificates = "/etc/ssl/certs/ca-certificates.crt"

// Layer collects an image's files. The first error stays: Push returns it.
type Layer struct {
	buf  bytes.Buffer
	w    *tar.Writer
	seen map[string]bool
	err  error
}

// NewLayer returns an empty one.
func NewLayer() *Layer {
	l := &Layer{seen: map[string]bool{}}
	l.w = tar.NewWriter(&l.buf)
	return l
}

// Add takes a file, unless there is one of its name.
func (l *Layer) Add(h tar.Header, data []byte) {
	if l.err != nil || l.seen[h.Name] {
		return
	}
	l.seen[h.Name] = true
	h.Size = int64(len(data))
	if l.err = l.w.WriteHeader(&h); l.err == nil {
		_, l.err = l.w.Write(data)
	}
}

// File takes a file of this machine.
func (l *Layer) File(name, from string) {
	info, err := os.Stat(from)
	if err != nil {
		l.fail(err)
		return
	}
	raw, err := os.ReadFile(from)
	l.fail(err)
	l.Add(tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: int64(info.Mode().Perm())}, raw)
}

// Program takes programs of this machine with the libraries that they load.
func (l *Layer) Program(names ...string) {
	for _, name := range names {
		l.File(name, name)
		out, _ := exec.Command("ldd", name).Output() // a static one has none
		for _, lib := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
			l.File(lib[1], lib[1])
		}
	}
}

// Tree takes a folder of this machine but for what skip, unless nil, leaves out.
func (l *Layer) Tree(name, from string, skip func(string) bool) {
	l.fail(filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		switch {
		case err != nil:
			return err
		case skip != nil && skip(rel) && d.IsDir():
			return filepath.SkipDir
		case skip != nil && skip(rel):
			return nil
		case d.Type().IsRegular():
			l.File(path.Join(name, rel), p)
		}
		return l.err
	}))
}

func (l *Layer) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// Push pushes an image to the cluster's registry and returns what pods call it. It has the
// layer on top of base, unless that is nil, and runs command, if any, as nobody, with these
// environment variables.
func (w *World) Push(base v1.Image, l *Layer, repo, command string, env ...string) (string, error) {
	if err := l.w.Close(); err != nil {
		l.fail(err)
	}
	if l.err != nil {
		return "", fmt.Errorf("make image %s: %w", repo, l.err)
	}
	if base == nil {
		base = empty.Image
	}
	img, err := mutate.AppendLayers(base, static.NewLayer(l.buf.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		return "", err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return "", err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", "amd64"
	c := &file.Config
	c.User, c.Env, c.Entrypoint, c.Cmd = "65532:65532", env, nil, nil
	if command != "" {
		c.Entrypoint = []string{command}
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return "", err
	}
	to, err := name.NewRepository(w.RegistryHost + "/" + repo)
	if err != nil {
		return "", err
	}
	d, err := img.Digest()
	if err != nil {
		return "", err
	}
	return w.Registry + "/" + repo + "@" + d.String(), remote.Write(to.Digest(d.String()), img)
}

// images pushes those that the Pipeline's steps run in: pathctl alone, which it returns, and
// with Go and git.
func (w *World) images(more func(*Layer)) (tool string, err error) {
	l := NewLayer()
	l.File("/usr/local/bin/pathctl", w.env["PATHS_TOOL"])
	l.File(Certificates, Certificates)
	if tool, err = w.Push(nil, l, "paths/pathctl", "", "PATH=/usr/local/bin"); err != nil {
		return "", err
	}
	shell, err := name.ParseReference(strings.Replace(w.env["PATHS_CLUSTER_SHELL"], w.Registry, w.RegistryHost, 1))
	if err != nil {
		return "", err
	}
	base, err := remote.Image(shell)
	if err != nil {
		return "", err
	}
	goroot, err := output(exec.Command("go", "env", "GOROOT"))
	if err != nil {
		return "", err
	}
	l = NewLayer()
	l.File("/usr/local/bin/pathctl", w.env["PATHS_TOOL"])
	if more != nil {
		more(l)
	}
	l.Tree("usr/local/go", strings.TrimSpace(goroot), func(rel string) bool {
		return rel == "test" || rel == "doc" || rel == "api" || filepath.Base(rel) == "testdata"
	})
	l.Program("/usr/bin/git", "/usr/lib/git-core/git-remote-http")
	w.Go, err = w.Push(base, l, "paths/pathctl-go", "",
		"PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin", "GIT_EXEC_PATH=/usr/lib/git-core",
		"GOTOOLCHAIN=local", "GOPROXY="+w.env["PATHS_CLUSTER_GOPROXY"], "CGO_ENABLED=0")
	return tool, err
}

// pushDatabase pushes a packed vulnerability database, in the form that Trivy downloads.
func pushDatabase(to name.Tag, packed []byte) error {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, "application/vnd.aquasec.trivy.config.v1+json")
	img, err := mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(packed, "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip")})
	if err != nil {
		return err
	}
	return remote.Write(to, img)
}
