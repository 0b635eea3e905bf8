// Package fetch is the step that pins and downloads everything a Go service is
// built from: its source, its modules, the Go toolchain and the base image.
// After it, testing and building need no network. It runs no user code.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/internal/tree"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Inputs are what fetch takes.
type Inputs struct {
	Source     step.Dir `json:"source" help:"the folder with the service's source, the root of a Go module"`
	Revision   string   `json:"revision,omitempty" help:"commit of the source; empty without version control"`
	Dirty      bool     `json:"dirty,omitempty" help:"the source differs from its revision"`
	Repository string   `json:"repository,omitempty" help:"URL of the source's repository"`
	GoProxy    string   `json:"goproxy,omitempty" help:"module proxies, as GOPROXY; the go command's own default when empty"`
	GoPrivate  string   `json:"goprivate,omitempty" help:"private module patterns, as GOPRIVATE"`
	GoSumDB    string   `json:"gosumdb" default:"sum.golang.org" help:"checksum database for a toolchain that is downloaded, as GOSUMDB"`
	Go         string   `json:"go" default:"go" key:"-" help:"the local go command, preferably by absolute path"`
	Toolchain  string   `json:"toolchain" default:"local" help:"Go toolchain: local, or a version such as go1.26.1 to download"`
	Base       string   `json:"base" default:"scratch" help:"base image by digest, or scratch for an empty one with CA certificates and a non-root user"`
	Platforms  []string `json:"platforms" default:"linux/amd64" help:"platforms to build for"`
}

// Output is what fetch gives.
type Output struct {
	Source          step.Dir    `json:"source" help:"the source as it was fetched, without version control"`
	Tarball         step.File   `json:"tarball" help:"the source as a deterministic archive"`
	Digest          step.Digest `json:"digest" help:"digest of the archive"`
	Modules         step.File   `json:"modules" help:"the modules of the build list with their sums, as JSON"`
	ModCache        step.Dir    `json:"modcache" key:"-" help:"the module cache that holds them, as GOMODCACHE"`
	Base            step.Dir    `json:"base" help:"OCI layout with the base image"`
	BaseDigest      step.Digest `json:"baseDigest" help:"digest of the base image or index"`
	Toolchain       string      `json:"toolchain" help:"version of the Go toolchain"`
	ToolchainDigest step.Digest `json:"toolchainDigest" help:"digest of the toolchain's files"`
	GoRoot          step.Dir    `json:"goroot" key:"-" help:"the toolchain's folder, as GOROOT"`
}

// Subject is the source.
func (o Output) Subject() step.Subject { return step.Subject{Name: "source", Digest: o.Digest} }

var _ step.Output = Output{}

// New returns the step.
func New() step.Step {
	return step.Define(step.Meta{
		Name:    "fetch",
		Version: "0.1.0",
		Summary: "Pins and downloads source, Go modules, toolchain and base image, without running user code.",
		Zone:    step.ZoneFetch,
		Needs:   step.Needs{Network: true, Fresh: true},
	}, run)
}

func run(ctx context.Context, env step.Env, in Inputs) (Output, []step.Evidence, error) {
	if ctx.Err() != nil {
		return Output{}, nil, context.Cause(ctx)
	}
	platforms, err := baseimage.Platforms(in.Platforms)
	if err != nil {
		return Output{}, nil, err
	}
	out := Output{
		Source:   step.Dir(filepath.Join(env.Out, "source")),
		Tarball:  step.File(filepath.Join(env.Out, "source.tar")),
		Modules:  step.File(filepath.Join(env.Out, "modules.json")),
		ModCache: step.Dir(filepath.Join(env.Cache, "gomod")),
		Base:     step.Dir(filepath.Join(env.Out, "base")),
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		out.BaseDigest, err = fetchBase(gctx, env, in.Base, platforms, string(out.Base))
		return err
	})
	g.Go(func() error { return fetchGo(gctx, env, in, &out) })
	if err := g.Wait(); err != nil {
		return Output{}, nil, err
	}
	return out, nil, nil
}

// fetchGo fills in all of out that is not the base image.
func fetchGo(ctx context.Context, env step.Env, in Inputs, out *Output) error {
	if _, err := os.Stat(filepath.Join(string(in.Source), "go.mod")); errors.Is(err, fs.ErrNotExist) {
		return noModule(string(in.Source))
	}
	var err error
	if out.Digest, err = snapshot(string(in.Source), string(out.Tarball), string(out.Source)); err != nil {
		if entry := (*tree.Error)(nil); errors.As(err, &entry) {
			return step.Usagef("source %s: %w", in.Source, err)
		}
		return fmt.Errorf("source %s: %w", in.Source, err)
	}
	c := child{env: env, in: in, modcache: string(out.ModCache)}
	if err := c.prepare(); err != nil {
		return err
	}
	tc, err := c.toolchain(ctx)
	if err != nil {
		return err
	}
	out.GoRoot, out.Toolchain = step.Dir(tc.goroot), tc.version
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		out.ToolchainDigest, err = toolchainDigest(gctx, env, tc)
		return err
	})
	g.Go(func() error {
		modules, err := c.modules(gctx, tc, string(out.Source))
		if err != nil {
			return err
		}
		f, err := os.Create(string(out.Modules))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := gomod.Write(f, modules); err != nil {
			return err
		}
		return f.Close()
	})
	return g.Wait()
}

// snapshot archives src, and extracts the archive: what is tested and built is
// exactly what has the digest, even if src changes meanwhile.
func snapshot(src, tarball, dst string) (step.Digest, error) {
	f, err := os.Create(tarball)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest, err := tree.Snapshot(src, f, ".git", ".paths")
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(dst, 0o755); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, 0); err != nil {
		return "", err
	}
	if err := tree.Extract(f, dst, tree.Limits{}); err != nil {
		return "", err
	}
	return digest, f.Close()
}

// noModule words the error for a source without go.mod; a module in a folder
// below is the likely mistake.
func noModule(source string) error {
	found, _ := filepath.Glob(filepath.Join(source, "*", "go.mod"))
	deeper, _ := filepath.Glob(filepath.Join(source, "*", "*", "go.mod"))
	if found = append(found, deeper...); len(found) > 0 {
		return step.Usagef("input %q: %s is no Go module, it has no go.mod; did you mean %s ?", "source", source, filepath.Dir(found[0]))
	}
	return step.Usagef("input %q: %s is no Go module, it has no go.mod: name the folder that has one, or run `go mod init` and `go mod tidy` there", "source", source)
}
