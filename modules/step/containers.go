package main

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"dagger/step/internal/dagger"
)

// Where things are in every container. home is pathctl's, and the same in all:
// what lies in the module cache or the toolchain's folder keeps its path.
const (
	pathctl   = "/usr/local/bin/pathctl"
	home      = "/paths"
	out       = "/out"
	secrets   = "/run/secrets/"
	caBundle  = "/etc/ssl/certs/ca-certificates.crt"
	layout    = "/store"
	goModules = "/modules"
	// The folder with a vulnerability database that was given.
	vulnDBFolder = "/in/vulndb"
)

// released is the tool of the released image, or one that is built here.
func (m *Step) released(repository *dagger.Directory) *dagger.File {
	if releasedTool != "" {
		return dag.Container().From(releasedTool).File(pathctl)
	}
	// The same flags as in the Makefile: the same source gives the same bytes.
	return m.golang().
		// What an image's go left there is for that image alone: attester and verifier
		// run what comes out of it.
		WithMountedCache(goModules, dag.CacheVolume("paths-tool-modules-"+m.GoImage)).
		WithMountedCache("/build", dag.CacheVolume("paths-tool-build-"+m.GoImage)).
		WithEnvVariable("GOMODCACHE", goModules).
		WithEnvVariable("GOCACHE", "/build").
		WithEnvVariable("CGO_ENABLED", "0").
		WithEnvVariable("GOFLAGS", "-trimpath -buildvcs=false -gcflags=all=-dwarf=false").
		// The compiler lives for seconds: to collect its garbage costs more than the memory.
		WithEnvVariable("GOGC", "400").
		WithMountedDirectory("/src", repository).
		WithWorkdir("/src").
		WithExec([]string{"go", "build", "-ldflags=-s -w", "-o", "/pathctl", "./pathsdk/cmd/pathctl"}).
		// go.sum is compared with archives only; this looks at what was compiled, too.
		WithExec([]string{"go", "mod", "verify"}).
		File("/pathctl")
}

// tools is the folder that a zone's steps keep between runs.
func tools(zone string) string { return home + "/cache/" + zone + "/tools" }

func (m *Step) golang() *dagger.Container { return dag.Container().From(m.GoImage) }

// Debug looks into an image that has no shell of its own: a container with the shell
// of the image with Go, and the other's files in /image.
func (m *Step) Debug(
	// what to look into
	image *dagger.Container,
) *dagger.Container {
	return m.golang().WithMountedDirectory("/image", image.Rootfs()).WithWorkdir("/image")
}

// fetching is a container of the zone that fetches: a network, no secret, no user
// code.
func (m *Step) fetching() *dagger.Container { return m.withTool(m.golang()) }

// offline runs pathctl in the zone that builds. The container has no network but
// its own loopback, no secret, and no way to the session: a Dockerfile is the one
// public way to ask an engine for that. fetched is the zone fetch's tools, module
// cache and toolchains; dirs and files are to be read, below /in.
func (m *Step) offline(args []string, fetched *dagger.Directory, dirs map[string]*dagger.Directory, files map[string]*dagger.File) *dagger.Container {
	all := dag.Directory().WithFile("pathctl", m.Tool)
	run := []string{"--network=none", "--mount=type=cache,id=paths-build,target=" + tools("build")}
	mount := func(source, target string) { run = append(run, "--mount=type=bind,source="+source+",target="+target) }
	mount("pathctl", pathctl)
	if fetched != nil {
		all = all.WithDirectory("fetched", fetched)
		mount("fetched", tools("fetch"))
	}
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		all = all.WithDirectory("in/"+name, dirs[name])
		mount("in/"+name, "/in/"+name)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all = all.WithFile("in/"+name, files[name])
		mount("in/"+name, "/in/"+name)
	}
	// The form that needs no shell.
	command, _ := json.Marshal(append([]string{pathctl}, args...))
	lines := []string{
		"FROM " + m.GoImage,
		"ENV PATHS_HOME=" + home + " PATHS_HOST=dagger NO_COLOR=1",
		"RUN " + strings.Join(run, " ") + " " + string(command),
	}
	return all.WithNewFile("Dockerfile", strings.Join(lines, "\n")+"\n").DockerBuild()
}

// online is a container that runs pathctl alone: no shell, no Go, no user code.
// publish, attest and judge run in it.
func (m *Step) online() *dagger.Container {
	return m.withTool(dag.Container().
		WithFile(caBundle, m.golang().File(caBundle)).
		WithMountedTemp("/tmp"))
}

func (m *Step) withTool(c *dagger.Container) *dagger.Container {
	return c.
		WithMountedFile(pathctl, m.Tool).
		WithEnvVariable("PATHS_HOME", home).
		WithEnvVariable("PATHS_HOST", "dagger").
		WithEnvVariable("NO_COLOR", "1")
}

// always makes what is run next run even if nothing has changed: it signs or
// publishes, and a layer that is found in the cache would do neither.
func always(c *dagger.Container) *dagger.Container {
	return c.WithEnvVariable("PATHS_INVOCATION", rand.Text())
}
