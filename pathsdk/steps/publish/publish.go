// Package publish is the step that hands the producer's outputs to the
// attester: image and claims, by digest, in a staging layout. It knows no key
// and runs no user code.
package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/claims"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Inputs are what publish takes.
type Inputs struct {
	Layout       step.Dir    `json:"layout" help:"OCI layout with the image"`
	Image        step.Digest `json:"image" help:"digest of the image or index"`
	Name         string      `json:"name" help:"name of the image"`
	Source       step.File   `json:"source" help:"the source as an archive"`
	SourceDigest step.Digest `json:"sourceDigest" help:"digest of the archive"`
	Modules      step.File   `json:"modules" help:"the modules of the build list with their sums"`
	Reports      step.Dir    `json:"reports" help:"folder with the unsigned evidence of the producer's steps, NODE.json each"`
}

// Output is what publish gives.
type Output struct {
	Staging step.Dir    `json:"staging" help:"OCI layout with the image and the claims"`
	Image   step.Digest `json:"image" help:"digest of the image or index"`
	Claims  step.Digest `json:"claims" help:"digest of the claims"`
	Name    string      `json:"name" help:"name of the image"`
}

// Subject is the image.
func (o Output) Subject() step.Subject { return step.Subject{Name: o.Name, Digest: o.Image} }

var _ step.Output = Output{}

// New returns the step.
func New() step.Step {
	return step.Define(step.Meta{
		Name:    "publish",
		Version: "0.1.0",
		Summary: "Hands the image and what the producer claims about it to the attester, by digest.",
		Zone:    step.ZonePublish,
	}, run)
}

func run(ctx context.Context, env step.Env, in Inputs) (Output, []step.Evidence, error) {
	if ctx.Err() != nil {
		return Output{}, nil, context.Cause(ctx)
	}
	modules, err := readModules(string(in.Modules))
	if err != nil {
		return Output{}, nil, fmt.Errorf("modules: %w", err)
	}
	reports, err := readReports(string(in.Reports))
	if err != nil {
		return Output{}, nil, fmt.Errorf("reports: %w", err)
	}
	layout, err := oci.OpenLayout(string(in.Layout))
	if err != nil {
		return Output{}, nil, err
	}
	dir := filepath.Join(env.Out, "staging")
	staging, err := oci.CreateLayout(dir)
	if err != nil {
		return Output{}, nil, err
	}
	// Copied, not linked: user code wrote the layout, and may still hold its
	// files open. The copy is checked against every digest on the way.
	if err := oci.Copy(ctx, staging, layout, in.Image, ""); err != nil {
		return Output{}, nil, fmt.Errorf("image %s is not whole: %w", in.Image, err)
	}
	if err := oci.Check(ctx, staging, in.Image, false); err != nil {
		return Output{}, nil, fmt.Errorf("image %s is not whole: %w", in.Image, err)
	}
	d, err := claims.Write(ctx, staging, claims.Claims{
		Image: in.Image, Name: in.Name, Source: in.SourceDigest, Modules: modules, Reports: reports,
	}, string(in.Source))
	if err != nil {
		return Output{}, nil, err
	}
	return Output{Staging: step.Dir(dir), Image: in.Image, Claims: d, Name: in.Name}, nil, nil
}

func readModules(path string) ([]gomod.Module, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gomod.Read(f)
}

// readReports reads the reports that the runner collected, in the order of
// their file names.
func readReports(dir string) ([]claims.Report, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	reports := []claims.Report{}
	left := int64(claims.MaxDocument)
	for _, e := range entries {
		node, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !e.Type().IsRegular() {
			return nil, fmt.Errorf("%q is not a report: the folder holds NODE.json files only", e.Name())
		}
		b, err := readBounded(filepath.Join(dir, e.Name()), left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(b))
		r := claims.Report{Node: node}
		if err := json.Unmarshal(b, &struct {
			Step     *string          `json:"step"`
			Evidence *[]step.Evidence `json:"evidence"`
		}{&r.Step, &r.Evidence}); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: the reports have more than %d bytes together", filepath.Base(path), claims.MaxDocument)
	}
	return b, err
}
