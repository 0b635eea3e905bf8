// Package build is the step that compiles a Go service and puts it on a base
// image, by ko's library. The image is reproducible: the same inputs give the
// same digest in any folder, for any user, with a warm or a cold cache.
package build

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Inputs are what build takes.
type Inputs struct {
	Source          step.Dir    `json:"source" help:"the fetched source"`
	SourceDigest    step.Digest `json:"sourceDigest" help:"digest of the source"`
	Modules         step.File   `json:"modules" help:"the modules of the build list with their sums"`
	ModCache        step.Dir    `json:"modcache" key:"-" help:"the module cache that holds them"`
	GoRoot          step.Dir    `json:"goroot" key:"-" help:"the toolchain's folder"`
	ToolchainDigest step.Digest `json:"toolchainDigest" help:"digest of the toolchain's files"`
	Base            step.Dir    `json:"base" help:"OCI layout with the base image"`
	BaseDigest      step.Digest `json:"baseDigest" help:"digest of the base image or index"`
	Name            string      `json:"name,omitempty" help:"name of the image; the last element of the Go module's path when empty"`
	Package         string      `json:"package,omitempty" help:"the main package to build, relative to the module; found when there is only one"`
	Platforms       []string    `json:"platforms" default:"linux/amd64" help:"platforms to build for; more than one makes an image index"`
	Ldflags         []string    `json:"ldflags" default:"-s,-w" help:"flags for the Go linker, by default without debugging symbols; {{.Name}}, {{.Revision}} and {{.Created}} are replaced"`
	Tags            []string    `json:"tags,omitempty" help:"Go build tags"`
	Revision        string      `json:"revision,omitempty" help:"commit of the source, for the image's annotations"`
	Repository      string      `json:"repository,omitempty" help:"URL of the source's repository, for the image's annotations"`
	Created         string      `json:"created" default:"1970-01-01T00:00:00Z" help:"creation time of the image, in RFC 3339"`
}

// Output is what build gives.
type Output struct {
	Layout    step.Dir    `json:"layout" help:"OCI layout with the image and nothing else"`
	Digest    step.Digest `json:"digest" help:"digest of the image, or of the index of several platforms"`
	Platforms []string    `json:"platforms" help:"the images by platform, such as linux/amd64=sha256:..."`
	Name      string      `json:"name" help:"name of the image"`
}

// Subject is the image.
func (o Output) Subject() step.Subject { return step.Subject{Name: o.Name, Digest: o.Digest} }

var _ step.Output = Output{}

// New returns the step.
func New() step.Step {
	// ko takes settings from the process's environment; the lock keeps two runs
	// of this step in one process from taking each other's.
	var environ sync.Mutex
	return step.Define(step.Meta{
		Name:    "build",
		Version: "0.1.0",
		Summary: "Compiles a Go service into a reproducible image, for one platform or several.",
		Zone:    step.ZoneBuild,
	}, func(ctx context.Context, env step.Env, in Inputs) (Output, []step.Evidence, error) {
		out, err := run(ctx, env, in, &environ)
		return out, nil, err
	})
}

// plan is what is built, with all inputs checked.
type plan struct {
	name       string
	importPath string
	platforms  []v1.Platform
	created    time.Time
	ldflags    []string
	tags       []string
	base       baseimage.Base
	about      map[string]string // annotations and labels
}

func run(ctx context.Context, env step.Env, in Inputs, environ *sync.Mutex) (Output, error) {
	if ctx.Err() != nil {
		return Output{}, context.Cause(ctx)
	}
	p, err := newPlan(ctx, in)
	if err != nil {
		return Output{}, err
	}
	folders := gomod.Folders{
		GOROOT:   string(in.GoRoot),
		ModCache: string(in.ModCache),
		GOCache:  filepath.Join(env.Cache, "gocache"),
		Home:     filepath.Join(env.Work, "home"),
		Tmp:      filepath.Join(env.Work, "tmp"),
	}
	if err := folders.Make(); err != nil {
		return Output{}, err
	}
	layout := filepath.Join(env.Out, "layout")
	w, err := oci.CreateLayout(layout)
	if err != nil {
		return Output{}, err
	}
	var desc v1.Descriptor
	var platforms []string
	vars := gomod.Env(folders, string(in.Source))
	if slices.ContainsFunc(p.platforms, here) { // which is what the step test compiles for
		gomod.Compile(ctx, env, folders, string(in.Source), vars, gomod.Packages{Patterns: []string{p.importPath}, Tags: p.tags})
	}
	// ko's layers are made when they are written, so writing them belongs in.
	err = withEnviron(environ, vars, env.Log, func() error {
		img, err := ko(ctx, p, string(in.Source), env.Jobs)
		if err != nil {
			return compileError(err, string(in.Source), folders)
		}
		if desc, err = baseimage.Put(ctx, w, img); err != nil {
			return err
		}
		platforms, err = list(img, oci.Digest(desc))
		return err
	})
	if err != nil {
		return Output{}, err
	}
	return Output{Layout: step.Dir(layout), Digest: oci.Digest(desc), Platforms: platforms, Name: p.name}, nil
}

// here reports whether images of a platform run on this one.
func here(p v1.Platform) bool {
	return p.OS == runtime.GOOS && p.Architecture == runtime.GOARCH && p.Variant == ""
}

func newPlan(ctx context.Context, in Inputs) (plan, error) {
	var p plan
	b, err := os.ReadFile(filepath.Join(string(in.Source), "go.mod"))
	if err != nil {
		return p, step.Usagef("input %q: no Go module: %w", "source", err)
	}
	modulePath := modfile.ModulePath(b)
	if modulePath == "" {
		return p, step.Usagef("input %q: go.mod has no module line", "source")
	}
	if err := module.CheckImportPath(modulePath); err != nil { // it becomes an argument of the go command
		return p, step.Usagef("input %q: go.mod: %w", "source", err)
	}
	if p.name, err = imageName(in.Name, modulePath); err != nil {
		return p, err
	}
	if p.platforms, err = baseimage.Platforms(in.Platforms); err != nil {
		return p, err
	}
	if p.created, err = step.Time("created", in.Created); err != nil {
		return p, err
	}
	p.tags = slices.Sorted(slices.Values(in.Tags))
	for _, t := range p.tags {
		if !regexp.MustCompile(`^[A-Za-z0-9_.]+$`).MatchString(t) {
			return p, step.Usagef("input %q: %q is no build tag", "tags", t)
		}
	}
	if p.ldflags, err = expand(in.Ldflags, p, in.Revision); err != nil {
		return p, err
	}
	if err := linkerFlags(p.ldflags); err != nil {
		return p, err
	}
	rel, err := mainPackage(string(in.Source), in.Package, p.platforms[0], p.tags)
	if err != nil {
		return p, err
	}
	p.importPath = path.Join(modulePath, rel)
	p.about = map[string]string{
		"org.opencontainers.image.title":   p.name,
		"org.opencontainers.image.created": p.created.Format(time.RFC3339),
	}
	if in.Revision != "" {
		p.about["org.opencontainers.image.revision"] = in.Revision
	}
	if in.Repository != "" {
		p.about["org.opencontainers.image.source"] = in.Repository
	}
	p.base, err = baseimage.Open(ctx, string(in.Base), in.BaseDigest, p.platforms)
	return p, err
}

// imageName is the name that was given, or the last element of the module's
// path that is not a major version.
func imageName(given, modulePath string) (string, error) {
	name := given
	if name == "" {
		prefix, _, ok := module.SplitPathVersion(modulePath)
		if !ok {
			prefix = modulePath
		}
		name = strings.ToLower(path.Base(prefix))
	}
	if len(name) > 200 || !regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`).MatchString(name) {
		return "", step.Usagef("input %q: %q can't be the name of an image: use lower-case letters and digits, with single '.', '_' or '-' between", "name", name)
	}
	return name, nil
}

// expand fills in the placeholders of linker flags. They are the step's inputs
// and no more, so that nothing of the machine can get into the binary by them.
func expand(flags []string, p plan, revision string) ([]string, error) {
	data := struct{ Name, Revision, Created string }{p.name, revision, p.created.Format(time.RFC3339)}
	var out []string
	for _, f := range flags {
		t, err := template.New("ldflags").Parse(f)
		if err == nil {
			var s strings.Builder
			if err = t.Execute(&s, data); err == nil && !strings.Contains(s.String(), "{{") {
				out = append(out, s.String())
				continue
			}
		}
		return nil, step.Usagef("input %q: %q: only {{.Name}}, {{.Revision}} and {{.Created}} can be filled in", "ldflags", f)
	}
	return out, nil
}

// linkerFlags allows the flags that change what a binary says of itself. Others
// name programs for the linker to run, or files for it to read and write.
func linkerFlags(flags []string) error {
	words := strings.Fields(strings.Join(flags, " "))
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-s", w == "-w", strings.HasPrefix(w, "-X="), strings.HasPrefix(w, "-buildid="):
		case w == "-X" && i+1 < len(words) && strings.Contains(words[i+1], "=") && words[i+1][0] != '-':
			i++
		default:
			return step.Usagef("input %q: %q is not allowed: give -s, -w, -X name=value or -buildid=value", "ldflags", w)
		}
	}
	return nil
}

// list names each platform's image.
func list(img any, d step.Digest) ([]string, error) {
	switch t := img.(type) {
	case v1.ImageIndex:
		m, err := t.IndexManifest()
		if err != nil {
			return nil, err
		}
		var s []string
		for _, c := range m.Manifests {
			s = append(s, fmt.Sprintf("%s=%s", c.Platform, c.Digest))
		}
		return s, nil
	case v1.Image:
		c, err := t.ConfigFile()
		if err != nil {
			return nil, err
		}
		return []string{fmt.Sprintf("%s=%s", c.Platform(), d)}, nil
	}
	return nil, fmt.Errorf("ko built a %T, which is neither image nor index", img)
}
