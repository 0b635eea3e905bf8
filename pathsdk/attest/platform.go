package attest

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	kjson "sigs.k8s.io/json"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
)

// errOwn marks an envelope that another signer of the trust root has signed: what
// hangs on the image as a referrer, in the layout of cosign 2.
var errOwn = errors.New("a copy for readers of cosign's tags")

// CollectPlatforms reads what build platforms say of every image themselves, as Tekton
// Chains does: DSSE envelopes below the tag AttestationTag, signed by the key of a
// signer with RolePlatform. They count for provenance alone. An envelope that can't
// be used is an entry with Err, as in Collect; so is one that nobody in the trust root
// signed. Those of other signers, and those with a certificate, are left out: a tag
// proves no time, so their referrers count. Without a platform in the trust root no tag
// is asked for.
func CollectPlatforms(ctx context.Context, place oci.Locator, s oci.Store, images []oci.Image, t *Trust, opts ...oci.Option) ([]Found, error) {
	if !slices.ContainsFunc(t.Signers(), func(s TrustedSigner) bool { return s.Has(RolePlatform) }) {
		return nil, nil
	}
	var found []Found
	for _, im := range images {
		place.Tag, place.Digest = AttestationTag(im.Digest), ""
		d, err := oci.Resolve(ctx, place, opts...)
		if errors.Is(err, oci.ErrNotFound) {
			continue
		}
		if errors.Is(err, oci.ErrContent) {
			// Whoever can push a tag must not hide what else there is.
			found = append(found, Found{Image: im.Digest, Err: refuse(RefusedMalformed, fmt.Errorf("tag %s: %w", AttestationTag(im.Digest), err))})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for attestations of %s: %w", im.Digest, err)
		}
		layers, err := envelopes(ctx, s, Found{Digest: d, Image: im.Digest})
		if err != nil {
			found = append(found, Found{Digest: d, Image: im.Digest, Err: err})
		}
		for _, layer := range layers {
			f := Found{Digest: oci.Digest(layer), Image: im.Digest, content: oci.Digest(layer)}
			if f.platform(ctx, s, t, layer); !errors.Is(f.Err, errOwn) {
				found = append(found, f)
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read attestations: %w", err)
		}
	}
	return found, nil
}

// envelopes lists the layers below a tag that may be a platform's, each once.
func envelopes(ctx context.Context, s oci.Store, tag Found) ([]v1.Descriptor, error) {
	m, err := s.Manifest(ctx, tag.Digest)
	if err != nil {
		return nil, refuse(RefusedUnreadable, fmt.Errorf("read attestations: %w", err))
	}
	c, err := m.Content()
	if err != nil {
		return nil, refuse(RefusedUnreadable, fmt.Errorf("read attestations: %w", err))
	}
	if c.Index || len(c.Layers) > maxLegacy {
		return nil, refuse(RefusedMalformed, fmt.Errorf("tag %s is an index, or has more than %d layers", AttestationTag(tag.Image), maxLegacy))
	}
	var out []v1.Descriptor
	for _, l := range c.Layers {
		again := slices.ContainsFunc(out, func(o v1.Descriptor) bool { return o.Digest == l.Digest && o.Size == l.Size })
		if string(l.MediaType) == legacyAttested && l.Annotations[legacyCertificate] == "" && !again {
			out = append(out, l)
		}
	}
	return out, nil
}

// platform fetches and verifies one envelope.
func (f *Found) platform(ctx context.Context, s oci.Store, t *Trust, layer v1.Descriptor) {
	raw, err := oci.ReadBlob(ctx, s, layer, MaxBundle)
	if err != nil {
		f.Err = refuse(RefusedUnreadable, fmt.Errorf("read envelope: %w", err))
		return
	}
	v, err := t.checkEnvelope(raw)
	f.PredicateType = v.Statement.PredicateType
	switch sub := v.Statement.Subject.Digest; {
	case err != nil:
		f.Err = err
	case f.PredicateType != evidence.Provenance.URI:
		f.Err = refuse(RefusedPredicate, fmt.Errorf("a platform's word counts for %s alone\n  fix: for Tekton Chains set artifacts.pipelinerun.format to slsa/v2alpha4", evidence.Provenance.URI))
	case sub != f.Image:
		f.Err = refuse(RefusedSubject, fmt.Errorf("the statement is about %s, but it hangs on %s", sub, f.Image))
	default:
		f.Verified = &v
	}
}

// checkEnvelope verifies a DSSE envelope with one signature by a platform's key. It also
// returns what could be read of one that it refuses.
func (t *Trust) checkEnvelope(raw []byte) (v Verified, err error) {
	b, err := envelopeBundle(raw)
	if err != nil {
		return v, refuse(RefusedMalformed, err)
	}
	payload, err := payloadOf(b)
	if err != nil {
		return v, refuse(RefusedMalformed, err)
	}
	st, stErr := evidence.ParseStatement(payload)
	v.Statement = st
	// Whoever made the envelope chose its key id, and Chains' are of another form than our
	// hints: every key is tried.
	for _, hint := range slices.Sorted(maps.Keys(t.signers)) {
		b.VerificationMaterial = keyMaterial(hint)
		if t.verifySignature(b) != nil {
			continue
		}
		if v.Signer = t.signers[hint]; !v.Signer.Has(RolePlatform) {
			return v, errOwn
		}
		if stErr != nil {
			return v, refuse(RefusedMalformed, stErr)
		}
		// What the platform's control plane says of its own run it has observed.
		v.Statement.Tier = cmp.Or(st.Tier, evidence.Observed)
		if v.Tier = v.Statement.Tier; v.Tier.Rank() > v.Signer.MaxTier.Rank() {
			v.Tier = v.Signer.MaxTier
		}
		return v, nil
	}
	return v, refuse(RefusedUnknownSigner, fmt.Errorf("%w: no key there has signed the envelope", ErrUnknownSigner))
}

func keyMaterial(hint string) *protobundle.VerificationMaterial {
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: hint}}}
}

// envelopeBundle makes a bundle of an envelope, so that one verifier checks both. Nothing
// is verified.
func envelopeBundle(raw []byte) (*bundle.Bundle, error) {
	var env dsse.Envelope
	strict, err := kjson.UnmarshalStrict(raw, &env, kjson.DisallowDuplicateFields)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	out := &protodsse.Envelope{PayloadType: env.PayloadType}
	if out.Payload, err = base64.StdEncoding.Strict().DecodeString(env.Payload); err != nil {
		return nil, fmt.Errorf("envelope: payload: %w", err)
	}
	for i, s := range env.Signatures {
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil {
			return nil, fmt.Errorf("envelope: signatures[%d]: %w", i, err)
		}
		// Without its key id: nobody signs that, and the library skips keys of another.
		out.Signatures = append(out.Signatures, &protodsse.Signature{Sig: sig})
	}
	b, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType: BundleType, VerificationMaterial: keyMaterial("none"), Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: out},
	})
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	return b, nil
}
