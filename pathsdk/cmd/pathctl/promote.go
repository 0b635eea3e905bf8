package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// promoted is what promote did.
type promoted struct {
	// Reference is the image in its new place, by digest.
	Reference string `json:"reference"`
	// Referrers is how many hang on it there.
	Referrers int            `json:"referrers"`
	Verdict   policy.Verdict `json:"verdict"`
}

func newPromote(a *app) *cobra.Command {
	f := &verifyFlags{attest: true}
	var to string
	cmd := &cobra.Command{
		Use:   "promote REF --to REF",
		Short: "Take an image that passes a policy to another registry, with all its evidence",
		Long: `Promote judges an image by the policy of the place where it is to go, copies it with
everything that hangs on it, by digest, and judges it again there. Only then it signs
what it saw, a release and a verdict (VSA), and tags the image: who deploys from there
finds nothing that was not judged there.

What is there already is not copied again, and what was signed is not signed again: a
promotion that was cut off is finished by the same command.

Exit code 3 means that the policy refused, with the reasons.`,
		Example: `  pathctl promote staging.example.com/team/orders@sha256:… --to registry.example.com/team/orders:v1
  pathctl promote staging.example.com/team/orders:v1 --to registry.example.com/team/orders:v1 --policy production.yaml \
      --identity-token /var/run/sigstore/token --signing-config signing_config.json --trusted-root trusted_root.json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.promote(cmd.Context(), args[0], to, f)
			if err != nil {
				return err
			}
			if !res.Verdict.Passed {
				if err := a.print(res.Verdict, func(w io.Writer) { writeVerdicts(w, []policy.Verdict{res.Verdict}) }); err != nil {
					return err
				}
				return gateOf(res.Verdict)
			}
			return a.print(res, func(w io.Writer) {
				writeVerdicts(w, []policy.Verdict{res.Verdict})
				fmt.Fprintf(w, "promoted   with %d referrers\n", res.Referrers)
			})
		},
	}
	f.policy.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&to, "to", "", "where the image goes: HOST/REPO[:TAG] or oci:DIR[:TAG]")
	fl.StringVar(&f.trust, "trust", "", "trust root; HOME/trust.yaml when empty")
	fl.StringVar(&f.waivers, "waivers", "", "paths.yaml whose waivers replace those in the provenance")
	f.signer.add(cmd, attest.RoleVerifier)
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func (a *app) promote(ctx context.Context, from, to string, f *verifyFlags) (promoted, error) {
	var res promoted
	place, err := oci.ParseLocator(to)
	if err != nil {
		return res, err
	}
	if place.Digest != "" {
		return res, step.Usagef("--to %s: the digest is the image's own; give the place, and a tag", to)
	}
	j, err := a.newJudge(ctx, f)
	if err != nil {
		return res, err
	}
	signer := j.signer
	j.signer, j.deep = nil, true // nothing is signed before the image is in its place

	// The tag is read once: what is judged is what is copied.
	source, err := j.examine(ctx, from)
	if err != nil {
		return res, err
	}
	source.place.Tag, source.place.Digest = "", source.digest
	if res.Verdict, err = j.judge(ctx, source.place.String()); err != nil || !res.Verdict.Passed {
		return res, err
	}
	dst, err := oci.Open(ctx, place, oci.WithCreate(), oci.WithTransport(a.transport()))
	if err != nil {
		return res, err
	}
	if err := oci.Copy(ctx, dst, source.store, source.digest, ""); err != nil {
		return res, fmt.Errorf("copy %s: %w", source.digest, err)
	}
	for _, im := range source.images {
		n, err := oci.CopyReferrers(ctx, dst, source.store, im.Digest)
		if err != nil {
			return res, fmt.Errorf("copy what hangs on %s: %w", im.Digest, err)
		}
		res.Referrers += n
	}
	if err := oci.Settle(ctx, dst); err != nil {
		return res, err
	}
	at := place
	at.Tag, at.Digest = "", source.digest
	res.Reference = at.String()
	// Judged anew, from what the new place holds; with a signer it is also signed.
	j.signer = signer
	j.also = func(e examined) ([]step.Evidence, error) { return release(e, imageName(e)) }
	if res.Verdict, err = j.judge(ctx, res.Reference); err != nil {
		return res, err
	}
	if !res.Verdict.Passed {
		return res, nil
	}
	return res, oci.Tag(ctx, dst, source.digest, place.Tag)
}

// release is the evidence that this version of the image is one that was released here.
func release(e examined, name string) ([]step.Evidence, error) {
	purl := "pkg:oci/" + name + "@" + url.QueryEscape(string(e.digest))
	if !e.place.IsLayout() {
		purl += "?repository_url=" + url.QueryEscape(e.place.Place())
	}
	raw, err := evidence.ReleaseV02{PURL: purl}.Encode()
	if err != nil {
		return nil, errors.Join(errors.New("the release"), err)
	}
	return []step.Evidence{{Type: evidence.Release.URI, Predicate: raw}}, nil
}
