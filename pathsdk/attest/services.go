package attest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	// maxConfig bounds a signing configuration and a trusted root.
	maxConfig = 1 << 20
	// asking bounds one request to a service.
	asking = 30 * time.Second
	// certificateMargin is how long a certificate must still live to be used.
	certificateMargin = 2 * time.Minute
)

// Services are those of a Sigstore: they vouch for who signed (Fulcio), when
// (RFC 3161), and let everybody see it (Rekor).
type Services struct {
	fulcio     sign.CertificateProvider // nil without one
	timestamps []*sign.TimestampAuthority
	logs       []sign.Transparency
	trusted    *root.TrustedRoot
	provider   string // OIDC issuer at which people log in; empty without one
	transport  http.RoundTripper
}

// LoadServices reads which services to ask, from Sigstore's SigningConfig v0.2, and
// what they are verified with, from its TrustedRoot: both as JSON in files.
func LoadServices(signingConfig, trustedRoot string, transport http.RoundTripper) (*Services, error) {
	text, err := readFile(signingConfig, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("signing configuration: %w", err)
	}
	config, err := root.NewSigningConfigFromJSON(text)
	if err != nil {
		return nil, step.Usagef("signing configuration %s: %w", signingConfig, err)
	}
	if text, err = readFile(trustedRoot, maxConfig); err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	v := &Services{transport: transport}
	if v.trusted, err = root.NewTrustedRootFromJSON(text); err != nil {
		return nil, step.Usagef("trusted root %s: %w", trustedRoot, err)
	}
	if err := v.choose(config, transport); err != nil {
		return nil, step.Usagef("signing configuration %s: %w", signingConfig, err)
	}
	return v, nil
}

// choose takes the services that the configuration's selectors name.
func (v *Services) choose(config *root.SigningConfig, transport http.RoundTripper) error {
	now, timed := time.Now(), len(config.TimestampAuthorityURLs()) > 0
	if urls := config.FulcioCertificateAuthorityURLs(); len(urls) > 0 {
		s, err := root.SelectService(urls, sign.FulcioAPIVersions, now)
		if err != nil {
			return fmt.Errorf("certificate authority: %w", err)
		}
		v.fulcio = sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.URL, Timeout: asking, Transport: retrying(transport)})
	}
	if urls := config.OIDCProviderURLs(); len(urls) > 0 {
		s, err := root.SelectService(urls, []uint32{1}, now)
		if err != nil {
			return fmt.Errorf("OIDC provider: %w", err)
		}
		v.provider = s.URL
	}
	if urls := config.TimestampAuthorityURLs(); len(urls) > 0 {
		chosen, err := root.SelectServices(urls, config.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return fmt.Errorf("timestamp authority: %w", err)
		}
		for _, s := range chosen {
			v.timestamps = append(v.timestamps, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: s.URL, Timeout: asking, Transport: retrying(transport)}))
		}
	}
	if urls := config.RekorLogURLs(); len(urls) > 0 {
		chosen, err := root.SelectServices(urls, config.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return fmt.Errorf("transparency log: %w", err)
		}
		for _, s := range chosen {
			o := &sign.RekorOptions{BaseURL: s.URL, Timeout: asking, Retries: retries, Version: s.MajorAPIVersion}
			if s.MajorAPIVersion == rekorTiles {
				o.ClientV2 = newTiles(s.URL, transport, v.trusted)
				v.logs = append(v.logs, sign.NewRekor(o))
				continue
			}
			// Rekor v1 says when it took an entry; v2 does not.
			timed = true
			v.logs = append(v.logs, &oneByOne{log: sign.NewRekor(o)})
		}
	}
	if !timed {
		return errors.New("it has no timestamp authority, and no log that gives a time: nobody could say when something was signed")
	}
	return nil
}

// oneByOne asks a log for one entry at a time: sigstore-go makes its client at the
// first, and does not expect another one meanwhile.
type oneByOne struct {
	mu  sync.Mutex
	log sign.Transparency
}

// GetTransparencyLogEntry implements sign.Transparency.
func (o *oneByOne) GetTransparencyLogEntry(ctx context.Context, keyOrCertPEM []byte, b *protobundle.Bundle) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log.GetTransparencyLogEntry(ctx, keyOrCertPEM, b)
}

// Token returns an OIDC identity token, fresh enough to be used at once. It is
// called again when a certificate has run out.
type Token func(context.Context) (string, error)

// NewIdentitySigner returns a signer in the name of the identity in tokens. Its key is
// made here and leaves the process never; certificates are asked for when something is
// signed.
func NewIdentitySigner(ctx context.Context, v *Services, token Token) (*Signer, error) {
	if v.fulcio == nil {
		return nil, step.Usagef("the signing configuration has no certificate authority, which signing by identity needs: add one, or sign with a key")
	}
	text, err := token(ctx)
	if err != nil {
		return nil, err
	}
	who, err := readToken(text)
	if err != nil {
		return nil, fmt.Errorf("identity token: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	pair, err := inProcess(key)
	if err != nil {
		return nil, err
	}
	return &Signer{
		pair: pair, id: who.id(), services: v,
		identity: &certificates{fulcio: v.fulcio, token: token, issuer: who.Issuer},
	}, nil
}

// certificates gets short-lived certificates, and uses each for as long as it lives.
type certificates struct {
	fulcio sign.CertificateProvider
	token  Token
	issuer string

	mu    sync.Mutex
	der   []byte
	until time.Time
}

var _ sign.CertificateProvider = (*certificates)(nil)

// GetCertificate implements sign.CertificateProvider.
func (c *certificates) GetCertificate(ctx context.Context, pair sign.Keypair, _ *sign.CertificateProviderOptions) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Until(c.until) > certificateMargin {
		return c.der, nil
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	der, err := c.fulcio.GetCertificate(ctx, pair, &sign.CertificateProviderOptions{IDToken: token})
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: unreadable certificate: %w", err)
	}
	c.der, c.until = der, cert.NotAfter
	return der, nil
}

// verify checks that a bundle is by somebody of the same issuer. Whom exactly the
// certificate names is the authority's to say, and the verifier's to judge.
func (c *certificates) verify(v *Services, b *bundle.Bundle, what verify.ArtifactPolicyOption, logged bool) error {
	who, err := certifiedBy(b)
	if err != nil {
		return err
	}
	if who.Issuer != c.issuer {
		return fmt.Errorf("the certificate's issuer is %.200q, want %.200q", who.Issuer, c.issuer)
	}
	checks, err := newVerifier(v.trusted, logged && len(v.logs) > 0)
	if err != nil {
		return err
	}
	_, err = checks.Verify(b, verify.NewPolicy(what, verify.WithoutIdentitiesUnsafe()))
	return err
}

// verifyKey checks what the services say of a bundle that is signed with a plain key.
func (v *Services) verifyKey(b *bundle.Bundle, what verify.ArtifactPolicyOption, key *ecdsa.PublicKey, logged bool) error {
	plain, err := signature.LoadDefaultVerifier(key)
	if err != nil {
		return err
	}
	known := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(plain, time.Time{}, time.Time{}), nil
	})
	var opts []verify.VerifierOption
	if len(v.timestamps) > 0 {
		opts = append(opts, verify.WithSignedTimestamps(len(v.timestamps)))
	} else {
		opts = append(opts, verify.WithNoObserverTimestamps())
	}
	if logged && len(v.logs) > 0 {
		opts = append(opts, verify.WithTransparencyLog(len(v.logs)))
	}
	checks, err := verify.NewVerifier(root.TrustedMaterialCollection{v.trusted, known}, opts...)
	if err != nil {
		return err
	}
	_, err = checks.Verify(b, verify.NewPolicy(what, verify.WithKey()))
	return err
}

// verifierPEM is what logs verify the signature with.
func (s *Signer) verifierPEM(b *bundle.Bundle) ([]byte, error) {
	if c := b.GetVerificationMaterial().GetCertificate(); c != nil {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.GetRawBytes()}), nil
	}
	text, err := s.pair.GetPublicKeyPem()
	return []byte(text), err
}

// unverified says why what was just signed does not verify.
func (v *Services) unverified(b *bundle.Bundle, err error) error {
	if why := v.clocks(b); why != "" {
		return fmt.Errorf("what was signed does not verify: %s\n  fix: set the clock that is wrong, and run the same command again", why)
	}
	return fmt.Errorf("what was signed does not verify: %w\n  fix: give the trusted root that belongs to the signing configuration", err)
}

// clocks says how the times of two authorities contradict each other; empty if they
// don't.
func (v *Services) clocks(b *bundle.Bundle) string {
	content, err := b.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return ""
	}
	cert := content.Certificate()
	times, _, err := verify.VerifySignedTimestamp(b, v.trusted)
	if err != nil {
		return ""
	}
	for _, t := range times {
		if t.Time.Before(cert.NotBefore) || t.Time.After(cert.NotAfter) {
			return fmt.Sprintf("the certificate is valid from %s to %s, but the timestamp authority says that it is %s, and this machine's clock %s",
				stamp(cert.NotBefore), stamp(cert.NotAfter), stamp(t.Time), stamp(time.Now()))
		}
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
