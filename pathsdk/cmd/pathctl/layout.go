package main

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// The layouts in which evidence hangs on an image.
const (
	layoutReferrers = "referrers"
	layoutBoth      = "both"
)

func addLayout(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "layout", layoutReferrers, "how evidence hangs on the image: referrers; or both, which adds cosign 2's tags, sha256-DIGEST.sig and .att")
	_ = cmd.RegisterFlagCompletionFunc("layout", cobra.FixedCompletions([]string{layoutReferrers, layoutBoth}, cobra.ShellCompDirectiveNoFileComp))
}

func checkLayout(layout string) error {
	if layout != layoutReferrers && layout != layoutBoth {
		return step.Usagef("--layout %.60q: want %s or %s", layout, layoutReferrers, layoutBoth)
	}
	return nil
}

// imageTags are cosign 2's tags of one image.
type imageTags struct {
	place  oci.Locator
	image  step.Digest
	text   []byte // of the signature
	signed signature
}

// tags signs what the publication's tags need beside the evidence. It is signed first,
// and remembered as the evidence is, so that nothing is signed again after a failure.
func (a *app) tags(ctx context.Context, signer *attest.Signer, p publication, place oci.Locator) ([]imageTags, error) {
	if p.Layout != layoutBoth {
		return nil, nil
	}
	var all []imageTags
	for _, s := range p.Evidence {
		if s.Type != evidence.Signature {
			continue
		}
		for _, on := range s.On {
			t := imageTags{place: place, image: oci.Digest(on)}
			var err error
			if t.text, err = attest.SimpleSigning(place, t.image); err != nil {
				return nil, err
			}
			if t.signed, err = a.sign(ctx, signer, t.text, attest.SignSimple); err != nil {
				return nil, fmt.Errorf("--layout %s: %w", p.Layout, err)
			}
			all = append(all, t)
		}
	}
	return all, nil
}

// write writes both tags, and counts the new signatures.
func (t imageTags) write(ctx context.Context, signer *attest.Signer, statements []statement, signatures []signature, opts ...oci.Option) (fresh int, err error) {
	sig, err := attest.LegacySignature(signer, t.text, t.signed.bundle)
	if err != nil {
		return 0, err
	}
	var attestations []attest.Legacy
	for i, s := range statements {
		on := slices.ContainsFunc(s.On, func(d v1.Descriptor) bool { return oci.Digest(d) == t.image })
		if !on || s.Type == evidence.Signature {
			continue
		}
		l, err := attest.LegacyAttestation(signer, signatures[i].bundle, s.signed().URI)
		if err != nil {
			return 0, err
		}
		attestations = append(attestations, l)
	}
	if _, err := attest.WriteLegacy(ctx, t.place, attest.SignatureTag(t.image), []attest.Legacy{sig}, opts...); err != nil {
		return 0, err
	}
	if len(attestations) > 0 {
		if _, err := attest.WriteLegacy(ctx, t.place, attest.AttestationTag(t.image), attestations, opts...); err != nil {
			return 0, err
		}
	}
	if !t.signed.known {
		fresh = 1
	}
	return fresh, nil
}
