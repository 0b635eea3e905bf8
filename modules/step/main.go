// Steps and zones of Paved Paths, each in a container of its own.
//
// Every step of the catalog is a function here, typed and generated; so are the
// zones of a path: produce runs the service's code and knows no secret, attest
// signs and never runs it, judge verifies. Path modules such as microservice are
// made of these.
//
// All of them run pathctl, one static binary. Give it with --tool; without, it is
// taken from the released image or built from this module's own repository, which
// takes some minutes the first time.
package main

import (
	"context"
	"fmt"
	"strings"

	"dagger/step/internal/dagger"
)

// Step runs steps and zones of paved paths.
type Step struct {
	// The pathctl that runs in every container.
	Tool *dagger.File
	// +private
	GoImage string
}

func New(
	// pathctl, a static Linux binary; released or built from this repository when empty
	// +optional
	tool *dagger.File,
	// image with Go and a shell, by digest; it compiles the service, and pathctl where that is built
	// +optional
	goImage string,
	// this module's own repository, from which pathctl is built
	// +defaultPath="/"
	// +ignore=["**", "!go.mod", "!go.sum", "!pathsdk/**"]
	repository *dagger.Directory,
) (*Step, error) {
	m := &Step{Tool: tool, GoImage: goImage}
	if m.GoImage == "" {
		m.GoImage = defaultGoImage
	}
	// By a tag, two zones could get two images.
	if !strings.Contains(m.GoImage, "@sha256:") {
		return nil, fmt.Errorf("go-image: %.200q has no digest: give HOST/NAME@sha256:…", m.GoImage)
	}
	if m.Tool == nil {
		m.Tool = m.released(repository)
	}
	return m, nil
}

// Explain says what each step of a path does, in which zone, and what it proves.
func (m *Step) Explain(ctx context.Context, path string) (string, error) {
	return m.online().WithExec([]string{pathctl, "explain", path}).Stdout(ctx)
}
