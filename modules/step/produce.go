package main

import (
	"dagger/step/internal/dagger"
)

// Produced is what the producer's zones hand over: folders with a record and
// files by digest, which attest checks.
type Produced struct {
	// What the zone fetch handed over: source, modules, base image.
	Fetched *dagger.Directory
	// +private
	Tools *dagger.Directory
	// +private
	Step *Step
}

// Produce runs the producer's zones of a path, each in a container of its own:
// fetch has a network and runs no user code; tests and build run user code without
// network. None of them has a secret. Each runs when it is asked for.
func (m *Step) Produce(
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
) *Produced {
	args := []string{pathctl, "zone", "fetch", "/source", "--out", out}
	for _, f := range [][2]string{{"revision", revision}, {"repository", repository}, {"created", created}} {
		if f[1] != "" {
			args = append(args, "--"+f[0]+"="+f[1])
		}
	}
	if dirty {
		args = append(args, "--dirty")
	}
	fetch := m.fetching().
		WithMountedDirectory(tools("fetch"), m.modules(source)).
		WithMountedDirectory("/source", source).
		WithExec(append(args, inputs...))
	return &Produced{Step: m, Fetched: fetch.Directory(out), Tools: fetch.Directory(tools("fetch"))}
}

// Tested is what the tests and the service's own steps handed over, in files/:
// JUnit results and coverage among them. It fails if a test does.
func (p *Produced) Tested() *dagger.Directory { return p.zone("--skip=build") }

// Built is what the build handed over, in files/: the image as an OCI layout.
func (p *Produced) Built() *dagger.Directory { return p.zone("--only=build") }

func (p *Produced) zone(which string) *dagger.Directory {
	return p.Step.offline([]string{"zone", "build", "--from", "/in/fetch", "--out", out, which},
		p.Tools, map[string]*dagger.Directory{"fetch": p.Fetched}, nil).Directory(out)
}

// modules are the zone fetch's tools with a module cache: everything that go.mod
// names. It is a layer of its own, so that other changes of the source don't
// download it again. What fails here fails again, and says why, in the zone.
func (m *Step) modules(source *dagger.Directory) *dagger.Directory {
	whatever := dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}
	download := []string{"go", "mod", "download"}
	return m.golang().
		WithMountedCache(goModules, dag.CacheVolume("paths-fetch-modules")).
		WithMountedDirectory("/source", source.Filter(dagger.DirectoryFilterOpts{Include: []string{"go.mod", "go.sum"}})).
		WithWorkdir("/source").
		WithEnvVariable("GOFLAGS", "-modcacherw").
		// From proxies alone: version control systems and toolchains that a go.mod
		// names are programs that others chose.
		WithEnvVariable("GOVCS", "*:off").
		WithEnvVariable("GOTOOLCHAIN", "local").
		WithEnvVariable("GOMODCACHE", goModules).
		WithExec(download, whatever).
		// Out of the volume, which no other zone may mount. It was checked there.
		WithEnvVariable("GOMODCACHE", tools("fetch")+"/gomod").
		WithEnvVariable("GOPROXY", "file://"+goModules+"/cache/download").
		WithEnvVariable("GOSUMDB", "off").
		WithExec([]string{"mkdir", "-p", tools("fetch") + "/gomod"}).
		WithExec(download, whatever).
		Directory(tools("fetch"))
}

// Published hands image and claims over to the attester, by digest. It runs no
// user code.
func (p *Produced) Published() *dagger.Directory {
	return p.Step.handed(p.Step.online(), p.Fetched, p.Tested(), p.Built()).
		WithExec([]string{pathctl, "zone", "publish", "--from", "/in/fetch", "--from", "/in/test", "--from", "/in/build", "--out", out}).
		Directory(out)
}

// Archive is a folder as a tar archive, such as an OCI layout to import.
func (m *Step) Archive(directory *dagger.Directory) *dagger.File {
	return m.golang().
		WithMountedDirectory("/in", directory).
		WithExec([]string{"tar", "-C", "/in", "-cf", "/archive.tar", "."}).
		File("/archive.tar")
}

// handed mounts what the zones handed over.
func (m *Step) handed(c *dagger.Container, fetched, tested, built *dagger.Directory) *dagger.Container {
	return c.
		WithMountedDirectory("/in/fetch", fetched).
		WithMountedDirectory("/in/test", tested).
		WithMountedDirectory("/in/build", built)
}
