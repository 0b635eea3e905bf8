// The pipeline of Paved Paths itself: dagger check at the root of the repository.
//
// Each function is a check, and runs the same scripts as make does, in a container
// with Go. The end-to-end tests of the modules need an engine of their own and run
// outside: make e2e-dagger.
package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"dagger/paths/internal/dagger"
)

// Paths is the repository of Paved Paths.
type Paths struct {
	// +private
	Source *dagger.Directory
	// +private
	GoImage string
	// +private
	Tool *dagger.File
}

func New(
	// the repository
	// +defaultPath="/"
	// +ignore=[".git", "bin", ".bench", "**/.paths"]
	source *dagger.Directory,
	// image with Go, git and a shell, by digest
	// +optional
	goImage string,
	// pathctl; by default one is built from this source
	// +optional
	tool *dagger.File,
) *Paths {
	if goImage == "" {
		goImage = defaultGoImage
	}
	return &Paths{Source: source, GoImage: goImage, Tool: tool}
}

// golang is the repository in a container with Go, with the flags of the Makefile.
func (p *Paths) golang() *dagger.Container {
	return dag.Container().From(p.GoImage).
		WithMountedCache("/go/pkg/mod", dag.CacheVolume("paths-ci-modules")).
		WithMountedCache("/root/.cache", dag.CacheVolume("paths-ci-build")).
		WithEnvVariable("GOMODCACHE", "/go/pkg/mod").
		WithEnvVariable("CGO_ENABLED", "0").
		WithEnvVariable("GOFLAGS", "-trimpath -buildvcs=false -gcflags=all=-dwarf=false").
		WithMountedDirectory("/src", p.Source).
		WithWorkdir("/src")
}

// pathctl is the tool that was given, or one of this source.
func (p *Paths) pathctl() *dagger.File {
	if p.Tool != nil {
		return p.Tool
	}
	return p.compiled().
		WithExec([]string{"go", "build", "-ldflags=-s -w", "-o", "/pathctl", "./pathsdk/cmd/pathctl"}).
		File("/pathctl")
}

// compiled is golang with everything compiled in its cache: checks begin at once, and
// each of them would compile it.
func (p *Paths) compiled() *dagger.Container {
	return p.golang().WithExec([]string{"go", "build", "./..."})
}

// The form of all Go code, and go vet.
//
// +check
func (p *Paths) Lint(ctx context.Context) error { return p.script(ctx, "scripts/lint.sh") }

// Unit, script and golden tests.
//
// +check
func (p *Paths) Test(ctx context.Context) error {
	// The tests of the fence make namespaces, which takes privilege.
	return p.script(ctx, "scripts/test.sh", dagger.ContainerWithExecOpts{InsecureRootCapabilities: true})
}

func (p *Paths) script(ctx context.Context, name string, opts ...dagger.ContainerWithExecOpts) error {
	_, err := p.compiled().WithExec([]string{"sh", name}, opts...).Sync(ctx)
	return err
}

// Everything that is generated from the catalog is fresh.
//
// +check
func (p *Paths) Gen(ctx context.Context) error {
	_, err := p.golang().
		WithMountedFile("/pathctl", p.pathctl()).
		WithExec([]string{"/pathctl", "gen", "--check", "."}).
		Sync(ctx)
	return err
}

// Every module loads by itself, and its committed bindings are those of this
// engine.
//
// +check
func (p *Paths) Modules(ctx context.Context) error {
	names, err := p.Source.Directory("modules").Entries(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		name, folder := strings.CutSuffix(name, "/")
		if !folder {
			continue
		}
		path := "modules/" + name
		g.Go(func() error {
			src := p.Source.AsModuleSource(dagger.DirectoryAsModuleSourceOpts{SourceRootPath: path})
			if _, err := src.AsModule().Description(ctx); err != nil {
				return fmt.Errorf("%s does not load: %w", path, err)
			}
			stale, err := src.GeneratedContextDirectory().Changes(p.Source).ModifiedPaths(ctx)
			if err != nil {
				return err
			}
			if len(stale) > 0 {
				return fmt.Errorf("%s: stale bindings %s: run dagger develop -m %s", path, strings.Join(stale, ", "), path)
			}
			return nil
		})
	}
	return g.Wait()
}
