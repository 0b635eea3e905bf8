package main

import (
	"context"

	"dagger/microservice/internal/dagger"
)

// The service's tests, and its own custom steps, pass without network.
//
// +check
func (m *Microservice) TestsPass(
	ctx context.Context,
	// +defaultPath="/"
	// +ignore=[".git", ".paths"]
	source *dagger.Directory,
) error {
	_, err := m.produce(source, origin{}).Tested().Sync(ctx)
	return err
}

// The service compiles into an image without network, from pinned inputs alone.
//
// +check
func (m *Microservice) Builds(
	ctx context.Context,
	// +defaultPath="/"
	// +ignore=[".git", ".paths"]
	source *dagger.Directory,
) error {
	_, err := m.produce(source, origin{}).Built().Sync(ctx)
	return err
}

// Workflow keeps the GitHub workflow that runs this path as the version of this
// module wants it: .github/workflows/path.yaml.
//
// +generate
func (m *Microservice) Workflow(
	// +defaultPath="/"
	// +ignore=["**", "!.github/workflows/path.yaml"]
	source *dagger.Directory,
) *dagger.Changeset {
	return source.WithNewFile(".github/workflows/path.yaml", workflow).Changes(source)
}
