package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/policy/export"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxTUFRoot bounds a TUF repository's root.json, in bytes.
const maxTUFRoot = 1 << 20

type exportFlags struct {
	format, policy, trust, images, out string
	onePlatform                        bool
	tufMirror, tufRoot                 string
}

func newPolicyExport(a *app) *cobra.Command {
	f := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write what other verifiers can enforce of a policy and the trust root",
		Long: `Export turns the trust root's keys and identities, and the evidence that a policy
requires of images, into configuration for a verifier of another kind:

  kyverno            an ImageValidatingPolicy (policies.kyverno.io/v1) with the keys,
                     identities and trusted roots; for Kyverno 1.19
  policy-controller  a ClusterImagePolicy (policy.sigstore.dev/v1beta1) for each
                     requirement, and a TrustRoot for each identity; for version 0.14
  conforma           an EnterpriseContractPolicy's spec for each attester
  ampel              a PolicySet (carabiner.policy.v1), with a policy for each requirement

Only what the other verifier can enforce goes in. What it can't, such as rules in CEL,
tiers and the age of a scan, stands at the head of each file and is printed: judge
that with pathctl verify before an image is deployed.

A verifier looks at the digest that it is given. For images of several platforms that
is the index, and what the policy requires of each platform is left out; --one-platform
says that all images have one platform, so that it goes in.

Give each export a folder of its own: files of an earlier one stay there.`,
		Example: `  pathctl policy export --format kyverno --images 'registry.example.com/team/*' --out deploy/policy
  pathctl policy export --format kyverno --images 'registry.example.com/team/*' --one-platform --out - | kubectl apply -f -
  pathctl policy export --format policy-controller --images 'registry.example.com/team/**' --out deploy/policy
  pathctl policy export --format conforma --policy policy.yaml --trust trust.yaml --out deploy/policy
  pathctl policy export --format ampel --one-platform --out deploy/policy`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return a.exportPolicy(f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "whose configuration: "+strings.Join(export.Formats(), ", "))
	fl.StringVar(&f.policy, "policy", "microservice", "shipped policy by name, or a policy file")
	fl.StringVar(&f.trust, "trust", "", "trust root; HOME/trust.yaml when empty")
	fl.StringVar(&f.images, "images", "", "which images, as a glob in the other verifier's own words")
	fl.BoolVar(&f.onePlatform, "one-platform", false, "every image has one platform")
	fl.StringVar(&f.out, "out", "", "folder for the files, or - for standard output")
	fl.StringVar(&f.tufMirror, "tuf-mirror", "", "kyverno: URL of the TUF repository that it reads before it verifies identities; the public Sigstore's when empty")
	fl.StringVar(&f.tufRoot, "tuf-root", "", "kyverno: root.json of that repository")
	_ = cmd.RegisterFlagCompletionFunc("format", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return export.Formats(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func (a *app) exportPolicy(f *exportFlags) error {
	switch {
	case f.format == "":
		return step.Usagef("--format is missing; choose %s", strings.Join(export.Formats(), ", "))
	case f.out == "":
		return step.Usagef("--out is missing: a folder, or - for standard output")
	case f.out == "-" && a.output == "json":
		return step.Usagef("--out -: the files and --output json would mix; give a folder")
	case (f.tufMirror == "") != (f.tufRoot == ""):
		return step.Usagef("--tuf-mirror and --tuf-root belong together: give both, or none for the public Sigstore's")
	case f.tufMirror != "" && f.format != "kyverno":
		return step.Usagef("--tuf-mirror: %s reads no TUF repository; leave it out", f.format)
	}
	p, err := policy.Load(f.policy)
	if err != nil {
		return err
	}
	t, err := a.loadTrust(f.trust)
	if err != nil {
		return err
	}
	in := export.Input{Policy: p, Signers: signersOf(t), Images: f.images, OnePlatform: f.onePlatform}
	if f.tufRoot != "" {
		root, err := bounded.ReadFile(f.tufRoot, maxTUFRoot)
		if err != nil {
			return step.Usagef("--tuf-root: %w", err)
		}
		in.TUF = &export.TUF{Mirror: f.tufMirror, Root: root}
	}
	result, err := export.Write(f.format, in)
	if err != nil {
		return err
	}
	if f.out == "-" {
		for i, file := range result.Files {
			if i > 0 {
				fmt.Fprintln(a.stdout, "---")
			}
			if _, err := a.stdout.Write(file.Content); err != nil {
				return err
			}
		}
		writeExport(a.stderr, result)
		return nil
	}
	for i, file := range result.Files {
		path := filepath.Join(f.out, file.Name)
		if err := writeFile(path, file.Content, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		result.Files[i].Name = path
	}
	return a.print(result, func(w io.Writer) {
		for _, file := range result.Files {
			fmt.Fprintf(w, "wrote         %s\n", file.Name)
		}
		writeExport(w, result)
	})
}

// writeExport says what the other verifier does, what it does not, and what it needs.
func writeExport(w io.Writer, r export.Result) {
	for _, s := range r.Enforced {
		fmt.Fprintf(w, "enforced      %s\n", s)
	}
	for _, s := range r.NotEnforced {
		fmt.Fprintf(w, "not enforced  %s\n", s)
	}
	for _, s := range r.Notes {
		fmt.Fprintf(w, "to know       %s\n", s)
	}
}

// signersOf are the trust root's entries as other verifiers are told of them.
func signersOf(t *attest.Trust) []export.Signer {
	var all []export.Signer
	for _, s := range t.Signers() {
		e := export.Signer{Name: s.Name, Roles: s.Roles, MaxTier: s.MaxTier}
		if i := s.Identity; i != nil {
			e.Identity = &export.Identity{
				Issuer: i.Issuer, Subject: i.Subject, SubjectRegexp: i.SubjectRegexp,
				Log: i.Log != attest.LogNone, TrustedRoot: t.File(s.Name),
			}
		} else {
			e.Key = t.File(s.Name)
		}
		all = append(all, e)
	}
	return all
}
