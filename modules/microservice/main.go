// The paved path of a network service in Go: from its source to a tested,
// reproducible, signed and verified image that explains itself.
//
// ship does all of it, and ends with the digest, the verdict and the SLSA level.
// The service's code runs in containers without network, secrets or a way to this
// session; keys are in containers that never run the service's code.
//
//	dagger call ship --source . --to registry.example.com/team/orders:v1 \
//	  --revision "$(git rev-parse HEAD)" --created "$(git log -1 --format=%cI)" \
//	  --attester-key file://$HOME/.paths/keys/attester.key \
//	  --verifier-key file://$HOME/.paths/keys/verifier.key --trust ~/.paths
//
// pathctl key init makes the keys and the trust root. test and build run a part of
// it, verify judges an image that is there, explain says what each step proves. In
// a repository that has installed this module, dagger check tests and builds the
// service.
package main

import (
	"context"

	"dagger/microservice/internal/dagger"
)

// Microservice takes a Go service from source to a verified image.
type Microservice struct {
	// +private
	Step *dagger.Step
	// +private
	Inputs inputs
}

// produce is the producer's part; nothing in it has run yet.
func (m *Microservice) produce(source *dagger.Directory, of origin) *dagger.StepProduced {
	return m.Step.Produce(source, dagger.StepProduceOpts{
		Revision: of.revision, Repository: of.repository, Created: of.created, Dirty: of.dirty, Inputs: m.Inputs,
	})
}

// origin is what version control says of a source. A folder that is given to
// Dagger can't say it, so it comes as arguments.
type origin struct {
	revision, repository, created string
	dirty                         bool
}

// Test runs the service's tests, and its own custom steps, without network. It
// fails if one of them does.
func (m *Microservice) Test(
	// the folder with the service's source, the root of a Go module
	// +ignore=[".git", ".paths"]
	source *dagger.Directory,
) *Tested {
	return &Tested{Files: m.produce(source, origin{}).Tested().Directory("files")}
}

// Build compiles the service into a reproducible image. Revision and created
// become part of it.
func (m *Microservice) Build(
	ctx context.Context,
	// the folder with the service's source, the root of a Go module
	// +ignore=[".git", ".paths"]
	source *dagger.Directory,
	// commit of the source, such as $(git rev-parse HEAD)
	// +optional
	revision string,
	// URL of the source's repository
	// +optional
	repository string,
	// time of the commit, such as $(git log -1 --format=%cI)
	// +optional
	created string,
	// the source differs from its revision
	// +optional
	dirty bool,
) (*Built, error) {
	return newBuilt(ctx, m.Step, m.produce(source, origin{revision, repository, created, dirty}))
}

// Explain says what each step of the path does, in which zone, and what it proves.
func (m *Microservice) Explain(ctx context.Context) (string, error) {
	return m.Step.Explain(ctx, pathName)
}
