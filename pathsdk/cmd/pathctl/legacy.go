package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest/legacy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// legacyResult is the outcome as JSON: what was verified, or why it was not.
type legacyResult struct {
	Verified bool             `json:"verified"`
	Legacy   *legacy.Verified `json:"provenance,omitempty"`
	Findings []string         `json:"findings,omitempty"`
}

func newEvidenceLegacy(a *app) *cobra.Command {
	var e legacy.Expect
	var provenance, entry, root string
	cmd := &cobra.Command{
		Use:   "legacy DIGEST",
		Short: "Verify provenance that slsa-github-generator made",
		Long: `Legacy verifies SLSA provenance v0.2 by slsa-github-generator about the artifact
with a digest, offline: signature, certificate and transparency log against a
Sigstore trust root that you give, and builder, repository and tag against what
you expect.

Provenance is a file (a DSSE envelope or a Sigstore bundle) or an OCI layout that
cosign save wrote. Container provenance carries the log's promise. That of the
generic and Go builders does not, and is refused unless its entry in the log is
given as a file. The public trust root is trusted_root.json of Sigstore's TUF
repository.

Exit code 0 means that it holds, 3 that it was refused, with the reason.`,
		Example: `  cosign save ghcr.io/team/app@sha256:… --dir app
  pathctl evidence legacy sha256:… --provenance app --trusted-root trusted_root.json \
    --builder-id https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml \
    --source-uri github.com/team/app --source-tag v1.2.3

  curl -o entry.json 'https://rekor.sigstore.dev/api/v1/log/entries?logIndex=…'
  pathctl evidence legacy sha256:… --provenance app.intoto.jsonl --log-entry entry.json --trusted-root trusted_root.json \
    --builder-id https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_go_slsa3.yml@v1.9.0 \
    --source-uri github.com/team/app -o json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			e.Digest = step.Digest(args[0])
			if err := e.Validate(); err != nil {
				return err
			}
			for name, v := range map[string]string{"provenance": provenance, "trusted-root": root} {
				if v == "" {
					return step.Usagef("--%s is missing; see: pathctl evidence legacy --help", name)
				}
			}
			return a.legacy(e, provenance, entry, root)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&provenance, "provenance", "", "file or OCI layout with the provenance")
	fl.StringVar(&root, "trusted-root", "", "trusted_root.json of the Sigstore instance that signed")
	fl.StringVar(&e.BuilderID, "builder-id", "", "workflow that must have built it; with @TAG behind it that version only")
	fl.StringVar(&e.SourceURI, "source-uri", "", "repository that it must be built from, as github.com/OWNER/NAME")
	fl.StringVar(&e.SourceTag, "source-tag", "", "git tag that it must be built from; any ref when empty")
	fl.StringVar(&entry, "log-entry", "", "entry of the transparency log, for provenance that carries none")
	return cmd
}

func (a *app) legacy(e legacy.Expect, provenance, entry, root string) error {
	trust, err := legacy.LoadRoot(root)
	if err != nil {
		return fmt.Errorf("--trusted-root: %w", err)
	}
	sources, err := legacy.Read(provenance)
	if err != nil {
		return fmt.Errorf("--provenance: %w", err)
	}
	if entry != "" {
		if sources, err = legacy.WithEntry(sources, entry); err != nil {
			return fmt.Errorf("--log-entry: %w", err)
		}
	}
	v, err := legacy.Verify(trust, sources, e)
	if errors.Is(err, step.ErrUsage) {
		return err
	}
	if err != nil {
		gate := &step.GateError{Gate: "legacy provenance", Findings: strings.Split(clean(err.Error()), "\n"), Fix: "do not use the artifact, or mend what is expected of it"}
		if errors.Is(err, legacy.ErrNoLogProof) {
			gate.Fix = "fetch its entry from the transparency log and give it as --log-entry FILE"
		}
		if err := a.print(legacyResult{Findings: gate.Findings}, func(io.Writer) {}); err != nil {
			return err
		}
		return gate
	}
	return a.print(legacyResult{Verified: true, Legacy: &v}, func(w io.Writer) {
		fmt.Fprintf(w, "verified   %s\n", v.Digest)
		fmt.Fprintf(w, "builder    %s\n", clean(v.BuilderID))
		fmt.Fprintf(w, "source     %s@%s\n", clean(v.SourceURI), clean(v.SourceRef))
		fmt.Fprintf(w, "commit     %s\n", clean(v.SourceCommit))
		fmt.Fprintf(w, "trigger    %s on a %s runner\n", clean(v.Trigger), clean(v.Runner))
		fmt.Fprintf(w, "signed on  %s, log index %d\n", v.SignedOn.Format(time.RFC3339), v.LogIndex)
	})
}
