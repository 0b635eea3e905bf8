package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Media types and annotations of cosign's SIGNATURE_SPEC.md and ATTESTATION_SPEC.md.
const (
	legacySigned   = "application/vnd.dev.cosign.simplesigning.v1+json"
	legacyAttested = "application/vnd.dsse.envelope.v1+json"

	legacySignature   = "dev.cosignproject.cosign/signature"
	legacyCertificate = "dev.sigstore.cosign/certificate"
	legacyChain       = "dev.sigstore.cosign/chain"
	legacyTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
	legacyPredicate   = "predicateType"
)

// maxLegacy bounds how much one tag may hold; cosign reads no more.
const maxLegacy = 1000

// SignatureTag is the tag under which cosign 2 and the verifiers of its time look for
// the signatures of an image.
func SignatureTag(image step.Digest) string { return "sha256-" + image.Hex() + ".sig" }

// AttestationTag is the tag under which they look for its attestations.
func AttestationTag(image step.Digest) string { return "sha256-" + image.Hex() + ".att" }

// Legacy is a signature or an attestation in the layout of cosign 2: one layer of the
// manifest under the tag. It has no place for entries of Rekor v2.
type Legacy struct {
	mediaType   string
	content     []byte
	annotations map[string]string
}

// SimpleSigning is what cosign 2 signs of an image at a place.
func SimpleSigning(place oci.Locator, image step.Digest) ([]byte, error) {
	if _, err := place.At(image); err != nil {
		return nil, err
	}
	name := place.Repository
	if place.IsLayout() {
		name = "layout" // which has no repository, and one must be named
	}
	return json.Marshal(payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: name},
		Image:    payload.Image{DockerManifestDigest: string(image)},
		Type:     payload.CosignSignatureType,
	}})
}

// SignSimple signs what SimpleSigning returns. The bundle, for LegacySignature, holds
// certificate and timestamps as those of Sign do. It goes to no log.
func SignSimple(ctx context.Context, s *Signer, text []byte) ([]byte, error) {
	if s.identity != nil && len(s.services.timestamps) == 0 {
		return nil, step.Usagef("the signing configuration has no timestamp authority: in cosign's tags nothing else tells that a certificate was valid when it signed\n  fix: add one, or sign with a key")
	}
	b, err := s.seal(ctx, &sign.PlainData{Data: text}, text)
	if err != nil {
		return nil, fmt.Errorf("sign for cosign's tag: %w", err)
	}
	return b, nil
}

// LegacySignature is a signature by SignSimple of text.
func LegacySignature(s *Signer, text, signed []byte) (Legacy, error) {
	b, err := readBundle(signed)
	if err != nil {
		return Legacy{}, err
	}
	m := b.GetMessageSignature()
	if m == nil {
		return Legacy{}, errors.New("bundle: it signs a statement, not a message")
	}
	l := Legacy{mediaType: legacySigned, content: text}
	l.annotations, err = s.annotations(b, m.GetSignature())
	return l, err
}

// LegacyAttestation is the attestation in a bundle: the same envelope, signature,
// certificate and time.
func LegacyAttestation(s *Signer, signed []byte, predicateType string) (Legacy, error) {
	b, statement, err := parseBundle(signed)
	if err != nil {
		return Legacy{}, err
	}
	l := Legacy{mediaType: legacyAttested}
	env := b.GetDsseEnvelope()
	sig := env.GetSignatures()[0]
	if l.content, err = json.Marshal(dsse.Envelope{
		PayloadType: env.GetPayloadType(), Payload: base64.StdEncoding.EncodeToString(statement),
		Signatures: []dsse.Signature{{KeyID: sig.GetKeyid(), Sig: base64.StdEncoding.EncodeToString(sig.GetSig())}},
	}); err != nil {
		return Legacy{}, err
	}
	if l.annotations, err = s.annotations(b, sig.GetSig()); err != nil {
		return Legacy{}, err
	}
	if l.annotations[legacyTimestamp] == "" {
		// The envelope has it. With a timestamp it stays: cosign takes one to be about
		// what stands here, and about the whole envelope if nothing does.
		l.annotations[legacySignature] = ""
	}
	l.annotations[legacyPredicate] = predicateType
	return l, nil
}

// annotations are a signature, and who vouches for it.
func (s *Signer) annotations(b *bundle.Bundle, sig []byte) (map[string]string, error) {
	all := map[string]string{legacySignature: base64.StdEncoding.EncodeToString(sig)}
	// There is place for one.
	if times := b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps(); len(times) > 0 {
		text, err := json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": times[0].GetSignedTimestamp()})
		if err != nil {
			return nil, err
		}
		all[legacyTimestamp] = string(text)
	}
	content, err := b.VerificationContent()
	if err != nil {
		return nil, err
	}
	cert := content.Certificate()
	if cert == nil {
		return all, nil
	}
	chains, err := verify.VerifyLeafCertificate(cert.NotBefore, cert, s.services.trusted)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	for i, c := range chains[0] {
		name := legacyChain
		if i == 0 {
			name = legacyCertificate
		}
		all[name] += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return all, nil
}

// WriteLegacy adds layers to what is under a tag, SignatureTag or AttestationTag, in a
// registry or a layout. What is there stays; what is there already is not added. The
// tag is written last, when all that it names is there.
func WriteLegacy(ctx context.Context, place oci.Locator, tag string, add []Legacy, opts ...oci.Option) (step.Digest, error) {
	d, err := writeLegacy(ctx, place, tag, add, opts)
	if err != nil {
		return "", fmt.Errorf("write tag %s: %w", tag, err)
	}
	return d, nil
}

func writeLegacy(ctx context.Context, place oci.Locator, tag string, add []Legacy, opts []oci.Option) (step.Digest, error) {
	if len(add) == 0 {
		return "", errors.New("there is nothing to write")
	}
	w, err := oci.Open(ctx, place, opts...)
	if err != nil {
		return "", err
	}
	place.Tag, place.Digest = tag, ""
	old, err := oci.Resolve(ctx, place, opts...)
	if err != nil && !errors.Is(err, oci.ErrNotFound) {
		return "", err
	}
	var layers []v1.Descriptor
	if old != "" {
		if layers, err = legacyLayers(ctx, w, old, add); err != nil {
			return "", err
		}
	}
	were := len(layers)
	for _, a := range add {
		desc, err := w.PutBlob(ctx, a.mediaType, a.content)
		if err != nil {
			return "", err
		}
		desc.Annotations = a.annotations
		// All must fit: one who may push must not put ours out with a like of it.
		if !slices.ContainsFunc(layers, func(l v1.Descriptor) bool {
			return l.Digest == desc.Digest && l.Size == desc.Size && maps.Equal(l.Annotations, desc.Annotations)
		}) {
			layers = append(layers, desc)
		}
	}
	if old != "" && len(layers) == were {
		return old, nil
	}
	return putLegacy(ctx, w, layers, tag)
}

// legacyLayers reads what is there.
func legacyLayers(ctx context.Context, s oci.Store, d step.Digest, add []Legacy) ([]v1.Descriptor, error) {
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	c, err := m.Content()
	if err != nil {
		return nil, err
	}
	other := slices.ContainsFunc(c.Layers, func(l v1.Descriptor) bool { return string(l.MediaType) != add[0].mediaType })
	if c.Index || c.Subject != nil || other {
		return nil, fmt.Errorf("%s there holds something else than %s\n  fix: see who wrote it, and remove the tag", d, add[0].mediaType)
	}
	return c.Layers, nil
}

func putLegacy(ctx context.Context, w oci.Writer, layers []v1.Descriptor, tag string) (step.Digest, error) {
	config := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: layers}
	if m.Config, err = w.PutBlob(ctx, string(types.OCIConfigJSON), text); err != nil {
		return "", err
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	if len(layers) > maxLegacy || len(manifest) > oci.MaxManifest {
		return "", fmt.Errorf("it would hold %d layers in a manifest of %d bytes, more than the limits of %d and %d\n  fix: remove the tag, and publish again", len(layers), len(manifest), maxLegacy, oci.MaxManifest)
	}
	put, err := w.PutManifest(ctx, string(types.OCIManifestSchema1), manifest, tag)
	if err != nil {
		return "", err
	}
	return oci.Digest(put), nil
}
