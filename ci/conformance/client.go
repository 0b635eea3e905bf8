package main

// This file is the client, and the only one that knows a Sigstore library.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// verification is one question: is this bundle by that signer, over this artifact?
type verification struct {
	bundle, root, artifact string
	identity, issuer       string
	key                    string // in place of identity and issuer
}

// withRoot trusts a plain key beside the logs and authorities of a trust root.
type withRoot struct {
	*root.TrustedPublicKeyMaterial
	logs root.TrustedMaterial
}

func (w withRoot) RekorLogs() map[string]*root.TransparencyLog { return w.logs.RekorLogs() }
func (w withRoot) TimestampingAuthorities() []root.TimestampingAuthority {
	return w.logs.TimestampingAuthorities()
}

func (q verification) verify() error {
	artifact, err := q.artifactOption()
	if err != nil {
		return err
	}
	var trust root.TrustedMaterial
	if q.root != "" {
		if trust, err = root.NewTrustedRootFromPath(q.root); err != nil {
			return fmt.Errorf("%w: trust root: %w", errUsage, err)
		}
	}
	var who verify.PolicyOption
	options := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	if q.key != "" {
		keys, err := readKey(q.key)
		if err != nil {
			return err
		}
		who = verify.WithKey()
		if trust == nil {
			// Nothing to hold a log entry against: the signature alone counts.
			trust, options = keys, []verify.VerifierOption{verify.WithNoObserverTimestamps()}
		} else {
			trust = withRoot{keys, trust}
		}
	} else {
		id, err := verify.NewShortCertificateIdentity(q.issuer, "", q.identity, "")
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		who = verify.WithCertificateIdentity(id)
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(trust, options...)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(q.bundle)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if err := q.sameMessage(&b); err != nil {
		return err
	}
	_, err = v.Verify(&b, verify.NewPolicy(artifact, who))
	return err
}

// sameMessage compares the digest that a bundle has of its message with that of
// the artifact. Nobody signed it, and the library ignores it; but somebody who
// looks bundles up by it must not find another artifact's.
func (q verification) sameMessage(b *bundle.Bundle) error {
	said := b.GetMessageSignature().GetMessageDigest()
	if len(said.GetDigest()) == 0 {
		return nil
	}
	if said.GetAlgorithm() != protocommon.HashAlgorithm_SHA2_256 {
		return fmt.Errorf("bundle: message digest is %s, want SHA2_256", said.GetAlgorithm())
	}
	is, err := q.digest()
	if err != nil {
		return err
	}
	if !bytes.Equal(said.GetDigest(), is) {
		return fmt.Errorf("bundle: message digest is %x, the artifact's %x", said.GetDigest(), is)
	}
	return nil
}

// digest is the SHA-256 of the artifact.
func (q verification) digest() ([]byte, error) {
	if text, ok := isDigest(q.artifact); ok {
		b, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		return b, nil
	}
	b, err := os.ReadFile(q.artifact)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

func (q verification) artifactOption() (verify.ArtifactPolicyOption, error) {
	if _, ok := isDigest(q.artifact); ok {
		digest, err := q.digest()
		if err != nil {
			return nil, err
		}
		return verify.WithArtifactDigest("sha256", digest), nil
	}
	b, err := os.ReadFile(q.artifact)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return verify.WithArtifact(bytes.NewReader(b)), nil
}

func readKey(path string) (*root.TrustedPublicKeyMaterial, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("%w: key: %w", errUsage, err)
	}
	sv, err := signature.LoadDefaultVerifier(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: key: %w", errUsage, err)
	}
	return root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(sv, time.Time{}, time.Time{}), nil
	}), nil
}

// signing makes a bundle with a key that is thrown away.
type signing struct {
	artifact, bundle, root, config string
	token                          string
	intoto                         bool
}

func (q signing) sign() error {
	data, err := os.ReadFile(q.artifact)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	trust, err := root.NewTrustedRootFromPath(q.root)
	if err != nil {
		return fmt.Errorf("%w: trust root: %w", errUsage, err)
	}
	config, err := root.NewSigningConfigFromPath(q.config)
	if err != nil {
		return fmt.Errorf("%w: signing config: %w", errUsage, err)
	}
	now := time.Now()
	ca, err := root.SelectService(config.FulcioCertificateAuthorityURLs(), []uint32{1}, now)
	if err != nil {
		return fmt.Errorf("signing config: certificate authority: %w", err)
	}
	tsas, err := root.SelectServices(config.TimestampAuthorityURLs(), config.TimestampAuthorityURLsConfig(), []uint32{1}, now)
	if err != nil {
		return fmt.Errorf("signing config: timestamp authority: %w", err)
	}
	logs, err := root.SelectServices(config.RekorLogURLs(), config.RekorLogURLsConfig(), []uint32{1, 2}, now)
	if err != nil {
		return fmt.Errorf("signing config: log: %w", err)
	}
	opts := sign.BundleOptions{
		Context: context.Background(), TrustedRoot: trust,
		CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: ca.URL, Timeout: 30 * time.Second, Retries: 1}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: q.token},
	}
	for _, s := range tsas {
		opts.TimestampAuthorities = append(opts.TimestampAuthorities,
			sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: s.URL, Timeout: 30 * time.Second, Retries: 1}))
	}
	for _, s := range logs {
		opts.TransparencyLogs = append(opts.TransparencyLogs,
			sign.NewRekor(&sign.RekorOptions{BaseURL: s.URL, Timeout: 90 * time.Second, Retries: 1, Version: s.MajorAPIVersion}))
	}
	var content sign.Content = &sign.PlainData{Data: data}
	if q.intoto {
		content = &sign.DSSEData{Data: data, PayloadType: "application/vnd.in-toto+json"}
	}
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return err
	}
	b, err := sign.Bundle(content, key, opts)
	if err != nil {
		return err
	}
	raw, err := protojson.Marshal(b)
	if err != nil {
		return err
	}
	return os.WriteFile(q.bundle, raw, 0o644)
}
