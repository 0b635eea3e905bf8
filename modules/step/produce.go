package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"dagger/step/internal/dagger"
)

// Produced is what the producer's zones hand over: folders with a record and
// files by digest, which attest checks.
type Produced struct {
	// What the zone fetch handed over: source, modules, base image.
	Fetched *dagger.Directory
	// The zone fetch's tools: module cache and toolchains.
	// +private
	Tools *dagger.Directory
	// What go.mod names, where it could be had before the zone ran; else nil.
	// +private
	Modules *dagger.Directory
	// +private
	Step *Step
}

// Produce runs the producer's zones of a path, each in a container of its own:
// fetch has a network and runs no user code; tests and build run user code without
// network. None of them has a secret. Each runs when it is asked for.
func (m *Step) Produce(
	ctx context.Context,
	// the folder with the service's source, the root of a Go module
	// +ignore=[".git", ".paths", "**/.paths"]
	source *dagger.Directory,
	// commit of the source; a folder that is given to Dagger can't say it
	// +optional
	revision string,
	// URL of the source's repository
	// +optional
	repository string,
	// time of the commit, in RFC 3339
	// +optional
	created string,
	// the source differs from its revision
	// +optional
	dirty bool,
	// inputs of the path as pathctl's flags, such as --platforms=linux/arm64
	// +optional
	inputs []string,
) (*Produced, error) {
	args := []string{pathctl, "zone", "fetch", "/source", "--out", out}
	for _, f := range [][2]string{{"revision", revision}, {"repository", repository}, {"created", created}} {
		if f[1] != "" {
			args = append(args, "--"+f[0]+"="+f[1])
		}
	}
	if dirty {
		args = append(args, "--dirty")
	}
	download, err := m.download(ctx, source)
	if err != nil {
		return nil, err
	}
	p := &Produced{Step: m}
	c := m.fetching()
	// What fails is not kept by the engine, and fails again, and says why, in the zone.
	if _, err := download.Sync(ctx); err == nil {
		p.Modules = download.Directory(tools("fetch"))
		c = c.WithMountedDirectory(tools("fetch"), p.Modules)
	}
	c = c.
		// What is known of an image's toolchain stays with that image.
		WithMountedCache(tools("fetch")+"/toolchain", dag.CacheVolume("paths-fetch-toolchain-"+m.GoImage)).
		WithMountedDirectory("/source", source).
		WithExec(append(args, inputs...))
	p.Fetched, p.Tools = c.Directory(out), c.Directory(tools("fetch"))
	return p, nil
}

// Tested is what the tests and the service's own steps handed over, in files/:
// JUnit results and coverage among them. It fails if a test does.
func (p *Produced) Tested(ctx context.Context) (*dagger.Directory, error) {
	return p.zone(ctx, "--skip=build")
}

// Built is what the build handed over, in files/: the image as an OCI layout.
func (p *Produced) Built(ctx context.Context) (*dagger.Directory, error) {
	return p.zone(ctx, "--only=build")
}

// Published hands image and claims over to the attester, by digest. It runs no
// user code.
func (p *Produced) Published(ctx context.Context) (*dagger.Directory, error) {
	h, err := p.all(ctx)
	return h.published, err
}

func (p *Produced) zone(ctx context.Context, which string) (*dagger.Directory, error) {
	fetched, err := p.fetchedTools(ctx)
	if err != nil {
		return nil, err
	}
	return p.Step.offline([]string{"zone", "build", "--from", "/in/fetch", "--out", out, which},
		fetched, map[string]*dagger.Directory{"fetch": p.Fetched}, nil).Directory(out).Sync(ctx)
}

// fetchedTools are the modules and toolchains that a build without network needs. The
// engine copies them into the build's context, so it is better to give it a folder
// that only go.mod changes than the zone's own, which is another one each time.
func (p *Produced) fetchedTools(ctx context.Context) (*dagger.Directory, error) {
	raw, err := p.Fetched.File("record.json").Contents(ctx)
	if err != nil || p.Modules == nil {
		return p.Tools, err
	}
	var rec struct {
		Nodes []struct{ Output struct{ GoRoot string } }
	}
	if err := json.Unmarshal([]byte(raw), &rec); err != nil {
		return nil, fmt.Errorf("unreadable record of zone fetch: %w", err)
	}
	for _, n := range rec.Nodes {
		if strings.HasPrefix(n.Output.GoRoot, tools("fetch")) {
			return p.Tools, nil // a toolchain that the zone fetched
		}
	}
	return p.Modules, nil
}

// handovers are what the producer's zones handed over.
type handovers struct{ fetched, tested, built, published *dagger.Directory }

// all runs every zone; tests and build at once.
func (p *Produced) all(ctx context.Context) (handovers, error) {
	h := handovers{fetched: p.Fetched}
	var failed [2]error
	var both sync.WaitGroup
	both.Go(func() { h.tested, failed[0] = p.Tested(ctx) })
	both.Go(func() { h.built, failed[1] = p.Built(ctx) })
	both.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return h, err
	}
	h.published = p.Step.handed(p.Step.online(), h).
		WithExec([]string{pathctl, "zone", "publish", "--from", "/in/fetch", "--from", "/in/test", "--from", "/in/build", "--out", out}).
		Directory(out)
	return h, nil
}

// plainSource refuses a service that sets arguments of Dagger modules: from a folder
// with such a .env, dagger would take what is in it for the caller's own.
func plainSource(ctx context.Context, source *dagger.Directory) error {
	names, err := source.Entries(ctx)
	if err != nil || !slices.Contains(names, ".env") {
		return err
	}
	text, err := source.File(".env").Contents(ctx)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export ")), "=")
		for _, prefix := range []string{"STEP_", "MICROSERVICE_"} {
			if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(name)), prefix) {
				return fmt.Errorf("source: its .env sets %.60q, an argument of this module: whoever writes the service would choose what runs beside the keys\n  fix: remove it, and give arguments to dagger call", name)
			}
		}
	}
	return nil
}

// download is a container with the modules that go.mod names in the zone fetch's
// tools, if it ends well. It depends on go.mod and go.sum alone, so that no other
// change of the source downloads them again.
func (m *Step) download(ctx context.Context, source *dagger.Directory) (*dagger.Container, error) {
	c := m.golang().
		WithMountedCache(goModules, dag.CacheVolume("paths-fetch-modules")).
		WithWorkdir("/source")
	names, err := source.Entries(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if !slices.Contains(names, name) {
			continue
		}
		// By content: a folder that was filtered would be new to the engine whenever
		// the source is.
		text, err := source.File(name).Contents(ctx)
		if err != nil {
			return nil, err
		}
		c = c.WithNewFile(name, text)
	}
	return c.
		WithEnvVariable("GOFLAGS", "-modcacherw").
		// From proxies alone: version control systems and toolchains that a go.mod
		// names are programs that others chose.
		WithEnvVariable("GOVCS", "*:off").
		WithEnvVariable("GOTOOLCHAIN", "local").
		WithEnvVariable("GOMODCACHE", goModules).
		WithExec([]string{"go", "mod", "download"}).
		// Out of the volume, which no other zone may mount. It was checked there.
		WithEnvVariable("GOMODCACHE", tools("fetch")+"/gomod").
		WithEnvVariable("GOPROXY", "file://"+goModules+"/cache/download").
		WithEnvVariable("GOSUMDB", "off").
		WithExec([]string{"mkdir", "-p", tools("fetch") + "/gomod"}).
		WithExec([]string{"go", "mod", "download"}), nil
}

// Archive is a folder as a tar archive, such as an OCI layout to import.
func (m *Step) Archive(directory *dagger.Directory) *dagger.File {
	return m.golang().
		WithMountedDirectory("/in", directory).
		WithExec([]string{"tar", "-C", "/in", "-cf", "/archive.tar", "."}).
		File("/archive.tar")
}

// handed mounts what the zones handed over.
func (m *Step) handed(c *dagger.Container, h handovers) *dagger.Container {
	return c.
		WithMountedDirectory("/in/fetch", h.fetched).
		WithMountedDirectory("/in/test", h.tested).
		WithMountedDirectory("/in/build", h.built)
}
