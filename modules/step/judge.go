package main

import (
	"context"
	"encoding/json"
	"fmt"

	"dagger/step/internal/dagger"
)

// Judgement is a verdict on an image, and how it came about.
type Judgement struct {
	// Where the image is, by digest.
	Reference string
	// The vulnerability database of the scan, where this call made it.
	Database string
	// Digest of the image.
	Digest string
	// The policy accepted the image.
	Passed bool
	// SLSA Build level, computed from observed facts.
	Level int
	// Why it is that level: what holds, and what is missing for the next.
	Reasons []string
	// What the policy found, with what to do.
	Findings []string
	// The whole verdict, as JSON.
	Verdict *dagger.File
	// HTML report: one file, no network.
	Report *dagger.File
	// The evidence that the verdict rests on, one file each.
	Evidence *dagger.Directory
	// The image and its evidence as an OCI layout, if they are in no registry.
	Store *dagger.Directory
}

// Judge verifies an image by its evidence, a trust root and a policy; with a key
// it signs the verdict and attaches it to the image. It returns a verdict of
// refusal, and fails only where there can be none.
//
// +cache="never"
func (m *Step) Judge(
	ctx context.Context,
	// where the image is: HOST/REPO:TAG or HOST/REPO@DIGEST
	// +optional
	reference string,
	// an OCI layout with the image and its evidence, in place of a reference
	// +optional
	store *dagger.Directory,
	// folder with trust.yaml, and what it names: public keys beside it or in keys/, and Sigstore's trusted roots (trusted_root*.json) beside it; nothing else of it is read
	// +ignore=["**", "!trust.yaml", "!*.pub", "!keys/*.pub", "!trusted_root*.json"]
	trust *dagger.Directory,
	// a policy's name; the path's own when empty
	// +optional
	policy string,
	// more flags of pathctl verify, such as --kev=URL or --param=minLevel=2
	// +optional
	flags []string,
	// the verifier's private key; without one the verdict is not signed
	// +optional
	key *dagger.Secret,
	// passphrase of the key
	// +optional
	passphrase *dagger.Secret,
	// a way to a registry that only the caller can reach, such as tcp://127.0.0.1:5000
	// +optional
	tunnel *dagger.Service,
	// Docker's config.json with credentials for the registry
	// +optional
	registryConfig *dagger.Secret,
) (*Judgement, error) {
	if (reference == "") == (store == nil) {
		return nil, fmt.Errorf("give the image's reference, or a store with it: one of the two")
	}
	if policy == "" {
		policy = "microservice"
	}
	c := m.online().WithMountedDirectory("/in/trust", trust)
	if store != nil {
		c, reference = c.WithDirectory(layout, store), "oci:"+layout
	}
	reg := access{tunnel, registryConfig}
	c, err := reg.in(ctx, c, reference)
	if err != nil {
		return nil, err
	}
	args := []string{pathctl, "verify", reference, "--policy", policy, "--trust", "/in/trust/trust.yaml",
		"--out", out + "/verdict.json", "--report", out + "/report.html", "--evidence", out + "/evidence", "--output", "json"}
	if key != nil {
		c, args = c.WithMountedSecret(secrets+"verifier.key", key), append(args, "--attest", "--key", secrets+"verifier.key")
	}
	if passphrase != nil {
		c, args = c.WithMountedSecret(secrets+"passphrase", passphrase), append(args, "--passphrase-file", secrets+"passphrase")
	}
	c = always(c).WithExec(append(args, flags...), dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	code, err := c.ExitCode(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := c.Stdout(ctx)
	if err != nil {
		return nil, err
	}
	var v verdict
	if bad := json.Unmarshal([]byte(answer), &v); bad != nil || v.Digest == "" || code != 0 && code != refused {
		text, _ := c.Stderr(ctx)
		return nil, fmt.Errorf("%s", message(text))
	}
	j := v.judgement()
	j.Verdict, j.Report, j.Evidence = c.File(out+"/verdict.json"), c.File(out+"/report.html"), c.Directory(out+"/evidence")
	if store != nil {
		j.Store = c.Directory(layout)
	}
	return j, nil
}
