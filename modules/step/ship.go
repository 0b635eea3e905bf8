package main

import (
	"context"

	"dagger/step/internal/dagger"
)

// Ship runs all zones of a path, from the source to the verdict on the image, each
// in a container of its own: what produce, attest and judge do one by one.
//
// +cache="never"
func (m *Step) Ship(
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
	// the attester's private key, as pathctl key init writes it
	attesterKey *dagger.Secret,
	// the verifier's private key
	verifierKey *dagger.Secret,
	// passphrase of both keys
	// +optional
	passphrase *dagger.Secret,
	// where the image goes: HOST/REPO[:TAG], or HOST/REPO/ to add the image's name; the result's store when empty
	// +optional
	to string,
	// a way to a registry that only the caller can reach, such as tcp://127.0.0.1:5000
	// +optional
	tunnel *dagger.Service,
	// Docker's config.json with credentials for the registry
	// +optional
	registryConfig *dagger.Secret,
	// folder with a vulnerability database; public mirrors are asked when empty
	// +optional
	vulnDB *dagger.Directory,
	// also write a cosign v2 signature tag
	// +optional
	legacySignature bool,
	// folder with trust.yaml, and what it names: public keys beside it or in keys/, and Sigstore's trusted roots (trusted_root*.json) beside it; nothing else of it is read
	// +ignore=["**", "!trust.yaml", "!*.pub", "!keys/*.pub", "!trusted_root*.json"]
	trust *dagger.Directory,
	// a policy's name; the path's own when empty
	// +optional
	policy string,
	// more flags of pathctl verify, such as --kev=URL or --param=minLevel=2
	// +optional
	flags []string,
) (*Judgement, error) {
	if vulnDB != nil {
		// Where the attester will have it; the producer only records that it was given.
		inputs = append(inputs, "--vuln-db="+vulnDBFolder)
	}
	if err := plainSource(ctx, source); err != nil {
		return nil, err
	}
	p, err := m.Produce(ctx, source, revision, repository, created, dirty, inputs)
	if err != nil {
		return nil, err
	}
	h, err := p.all(ctx)
	if err != nil {
		return nil, plain(err)
	}
	a, err := m.Attest(ctx, h.fetched, h.tested, h.built, h.published, attesterKey, passphrase, to, tunnel, registryConfig, vulnDB, legacySignature)
	if err != nil {
		return nil, err
	}
	reference := a.Reference
	if a.Store != nil {
		reference = ""
	}
	j, err := m.Judge(ctx, reference, a.Store, trust, policy, flags, verifierKey, passphrase, tunnel, registryConfig)
	if err != nil {
		return nil, err
	}
	j.Database = a.Database
	return j, nil
}
