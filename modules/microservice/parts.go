package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"dagger/microservice/internal/dagger"
)

// Tested is what the tests left.
type Tested struct {
	// Everything that they left, by step: JUnit results, coverage, output of custom steps.
	Files *dagger.Directory
}

// JUnit results, for tools that read them.
func (t *Tested) Junit() *dagger.File { return t.Files.File("test/junit/junit.xml") }

// Built is an image that was built, before anybody attests to it.
type Built struct {
	// Digest of the image, or of the index of several platforms.
	Digest string
	// Name of the image.
	Name string
	// The image, by platform.
	Platforms []string
	// OCI layout with the image and nothing else.
	Layout *dagger.Directory
	// +private
	Step *dagger.Step
}

func newBuilt(ctx context.Context, step *dagger.Step, p *dagger.StepProduced) (*Built, error) {
	dir := p.Built()
	raw, err := dir.File("record.json").Contents(ctx)
	if err != nil {
		return nil, err
	}
	var rec struct {
		Nodes []struct {
			Output struct {
				Digest, Name string
				Platforms    []string
			}
		}
	}
	if err := json.Unmarshal([]byte(raw), &rec); err != nil {
		return nil, fmt.Errorf("unreadable record of the build: %w", err)
	}
	if len(rec.Nodes) != 1 {
		return nil, fmt.Errorf("the record of the build has %d nodes, want one", len(rec.Nodes))
	}
	o := rec.Nodes[0].Output
	return &Built{Digest: o.Digest, Name: o.Name, Platforms: o.Platforms, Layout: dir.Directory("files/build/layout/layout"), Step: step}, nil
}

// The image as a container.
func (b *Built) Container(
	// the platform, where there are several
	// +optional
	platform string,
) *dagger.Container {
	return dag.Container(dagger.ContainerOpts{Platform: dagger.Platform(platform)}).Import(b.Step.Archive(b.Layout))
}

// The image's files in /image of a container that has a shell, which the image may
// not have: `debug terminal`.
func (b *Built) Debug(
	// the platform, where there are several
	// +optional
	platform string,
) *dagger.Container {
	return b.Step.Debug(b.Container(platform))
}

// inputs are inputs of the path as flags of pathctl.
type inputs []string

func (in *inputs) text(flag, v string) {
	if v != "" {
		*in = append(*in, "--"+flag+"="+v)
	}
}

func (in *inputs) list(flag string, v []string) { in.text(flag, strings.Join(v, ",")) }

func (in *inputs) number(flag string, v int) {
	if v != 0 {
		in.text(flag, strconv.Itoa(v))
	}
}
