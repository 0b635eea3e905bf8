package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dagger/step/internal/dagger"
)

// Attested is an image in its place, with signed evidence on its digest.
type Attested struct {
	// Where the image is, by digest.
	Reference string
	// The image and its evidence as an OCI layout, if they went into no registry.
	Store *dagger.Directory
	// The vulnerability database of the scan.
	Database string
}

// Attest examines what the producer made, signs the evidence, and publishes both.
// It never runs code of the service. Keys are in this container alone.
//
// +cache="never"
func (m *Step) Attest(
	ctx context.Context,
	// what the producer's zones handed over
	fetched *dagger.Directory,
	tested *dagger.Directory,
	built *dagger.Directory,
	published *dagger.Directory,
	// the attester's private key, as pathctl key init writes it
	key *dagger.Secret,
	// passphrase of the key
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
) (*Attested, error) {
	if strings.HasPrefix(to, "oci:") {
		return nil, fmt.Errorf("to: %.100q is a folder, which a container can't write: leave it empty, and export the result's store", to)
	}
	stored := to == ""
	if stored {
		to = "oci:" + layout
	}
	args := []string{pathctl, "attest", "--from", "/in/fetch", "--from", "/in/test", "--from", "/in/build", "--from", "/in/publish",
		"--to", to, "--key", secrets + "attester.key", "--output", "json"}
	c := m.handed(m.online(), handovers{fetched: fetched, tested: tested, built: built}).
		WithMountedDirectory("/in/publish", published).
		WithMountedCache(home, dag.CacheVolume("paths-attest")).
		WithMountedSecret(secrets+"attester.key", key)
	if passphrase != nil {
		c, args = c.WithMountedSecret(secrets+"passphrase", passphrase), append(args, "--passphrase-file", secrets+"passphrase")
	}
	if vulnDB != nil {
		c, args = c.WithMountedDirectory(vulnDBFolder, vulnDB), append(args, "--vuln-db", vulnDBFolder)
	}
	if legacySignature {
		args = append(args, "--layout", "both")
	}
	c, err := access{tunnel, registryConfig}.in(ctx, c, to)
	if err != nil {
		return nil, err
	}
	c = always(c).WithExec(args)
	answer, err := c.Stdout(ctx)
	if err != nil {
		return nil, plain(err)
	}
	var res Attested
	if err := json.Unmarshal([]byte(answer), &res); err != nil {
		return nil, fmt.Errorf("attest: unreadable answer: %w", err)
	}
	if stored {
		res.Store = c.Directory(layout)
	}
	return &res, nil
}

// plain is what pathctl said, in place of what the engine says about it. The exit
// code stays that of pathctl.
func plain(err error) error {
	if e := (*dagger.ExecError)(nil); errors.As(err, &e) && e.Stderr != "" {
		return &said{text: strings.TrimSpace(e.Stderr), err: e}
	}
	return err
}

type said struct {
	text string
	err  *dagger.ExecError
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.err }
