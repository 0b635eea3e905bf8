// Package receive is the step with which the attester takes over what the
// producer hands to it. It believes nothing: every byte is checked against the
// two digests it was given, the source is unpacked from the archive that the
// claims name, and what is left for later steps is a copy that no producer can
// reach.
package receive

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/mod/module"

	"github.com/pavedpaths/paths/pathsdk/claims"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/internal/tree"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Inputs are what receive takes.
type Inputs struct {
	Staging step.Dir    `json:"staging" help:"OCI layout with the image and the claims"`
	Image   step.Digest `json:"image" help:"digest of the image or index"`
	Claims  step.Digest `json:"claims" help:"digest of the claims"`
}

// Output is what receive gives.
type Output struct {
	Layout       step.Dir    `json:"layout" help:"OCI layout with the image and nothing else"`
	Image        step.Digest `json:"image" help:"digest of the image or index"`
	Name         string      `json:"name" help:"name of the image, as the producer says"`
	Source       step.Dir    `json:"source" help:"the source, unpacked"`
	SourceDigest step.Digest `json:"sourceDigest" help:"digest of the source's archive"`
	Modules      step.File   `json:"modules" help:"the modules of the build list, all pinned by the source"`
	Reports      step.Dir    `json:"reports" help:"folder with what the producer's steps reported, NODE.json each"`
}

// Subject is the image.
func (o Output) Subject() step.Subject { return step.Subject{Name: o.Name, Digest: o.Image} }

var _ step.Output = Output{}

// New returns the step.
func New() step.Step {
	return step.Define(step.Meta{
		Name:    "receive",
		Version: "0.1.0",
		Summary: "Takes over image and claims from the producer, and checks all of it against their digests.",
		Zone:    step.ZoneAttest,
	}, run)
}

func run(ctx context.Context, env step.Env, in Inputs) (Output, []step.Evidence, error) {
	if ctx.Err() != nil {
		return Output{}, nil, context.Cause(ctx)
	}
	staging, err := oci.OpenLayout(string(in.Staging))
	if err != nil {
		return Output{}, nil, err
	}
	c, tarball, err := claims.Read(ctx, staging, in.Claims)
	if err != nil {
		return Output{}, nil, err
	}
	if c.Image != in.Image {
		return Output{}, nil, fmt.Errorf("claims %s are about the image %s, not about %s", in.Claims, c.Image, in.Image)
	}
	if err := acceptable(c.Reports); err != nil {
		return Output{}, nil, fmt.Errorf("claims %s: %w", in.Claims, err)
	}
	out := Output{
		Layout: step.Dir(filepath.Join(env.Out, "layout")), Image: in.Image, Name: c.Name,
		Source: step.Dir(filepath.Join(env.Out, "source")), SourceDigest: c.Source,
		Modules: step.File(filepath.Join(env.Out, "modules.json")),
		Reports: step.Dir(filepath.Join(env.Out, "reports")),
	}
	layout, err := oci.CreateLayout(string(out.Layout))
	if err != nil {
		return Output{}, nil, err
	}
	if err := oci.Copy(ctx, layout, staging, in.Image, ""); err != nil {
		return Output{}, nil, fmt.Errorf("image: %w", err)
	}
	if err := oci.Check(ctx, layout, in.Image, false); err != nil {
		return Output{}, nil, fmt.Errorf("image: %w", err)
	}
	if err := unpack(ctx, staging, tarball, string(out.Source)); err != nil {
		return Output{}, nil, fmt.Errorf("source %s: %w", c.Source, err)
	}
	if err := pinned(string(out.Source), c.Modules); err != nil {
		return Output{}, nil, fmt.Errorf("modules: %w", err)
	}
	if err := writeModules(string(out.Modules), c.Modules); err != nil {
		return Output{}, nil, err
	}
	return out, nil, writeReports(string(out.Reports), c.Reports)
}

// acceptable refuses reports of what the attester finds out for itself, or what
// only a verifier may say. A producer has no business with those, and in the
// attester's hand they would look like its own.
func acceptable(reports []claims.Report) error {
	for _, r := range reports {
		for _, e := range r.Evidence {
			if t, known := evidence.Lookup(e.Type); known && t.URI != evidence.TestResult.URI {
				return fmt.Errorf("node %s reports %s evidence, which no producer may make", r.Node, t.Name)
			}
		}
	}
	return nil
}

// unpack extracts the source. The archive's digest is checked when its last
// byte is read, so that is before anything is made of the files.
func unpack(ctx context.Context, s oci.Store, tarball v1.Descriptor, dir string) error {
	r, err := s.Blob(ctx, tarball)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := tree.Extract(r, dir, tree.Limits{}); err != nil {
		return err
	}
	// Padding after the archive's end belongs to the digest.
	_, err = io.Copy(io.Discard, r)
	return err
}

// pinned checks that the source pins every module of the claims, by the same
// sum: a list of modules that the source knows nothing of is made up.
func pinned(source string, modules []gomod.Module) error {
	if len(modules) == 0 {
		return nil
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return err
	}
	defer root.Close()
	// A link in its place leads nowhere but into the source.
	f, err := root.Open("go.sum")
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, gomod.MaxFile+1))
	if err != nil {
		return err
	}
	if len(b) > gomod.MaxFile {
		return fmt.Errorf("go.sum has more than %d bytes", gomod.MaxFile)
	}
	sums, err := gomod.ParseSums(b)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if got := sums[module.Version{Path: m.Path, Version: m.Version}]; got != m.Sum {
			return fmt.Errorf("%s@%s is claimed with the sum %s, but the source pins %q", m.Path, m.Version, m.Sum, got)
		}
	}
	return nil
}

func writeModules(path string, modules []gomod.Module) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := gomod.Write(f, modules); err != nil {
		return err
	}
	return f.Close()
}

func writeReports(dir string, reports []claims.Report) error {
	if err := os.Mkdir(dir, fs.FileMode(0o755)); err != nil {
		return err
	}
	for _, r := range reports {
		b, err := json.Marshal(struct {
			Step     string          `json:"step"`
			Evidence []step.Evidence `json:"evidence"`
		}{r.Step, r.Evidence})
		if err != nil {
			return err
		}
		// The name was checked: it has no path separator.
		if err := os.WriteFile(filepath.Join(dir, r.Node+".json"), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
