package attest

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Identity is whom a short-lived certificate names, and the Sigstore that vouches
// for it. One of Subject and SubjectRegexp is set.
type Identity struct {
	// TrustedRoot is the path of the Sigstore's TrustedRoot (trusted_root.json),
	// relative to the trust root's file: its certificate authorities, transparency
	// logs and timestamp authorities.
	TrustedRoot string `json:"trustedRoot"`
	// Issuer is the URL of the token's OIDC issuer, byte for byte.
	Issuer string `json:"issuer"`
	// Subject is the certificate's subject alternative name, byte for byte, such as
	// https://github.com/o/r/.github/workflows/attest.yaml@refs/tags/v1 or an e-mail
	// address.
	Subject string `json:"subject,omitempty"`
	// SubjectRegexp is a regular expression (RE2) for the whole name.
	SubjectRegexp string `json:"subjectRegexp,omitempty"`
	// Log says whether an entry in a transparency log is needed: LogRequired, which
	// is also meant when it is empty, or LogNone, where a timestamp is enough.
	Log string `json:"log,omitempty"`
}

// What an Identity may ask of transparency logs.
const (
	LogRequired = "required"
	LogNone     = "none"
)

func (i Identity) validate() error {
	if i.TrustedRoot == "" {
		return errors.New("identity.trustedRoot is missing: the path of the Sigstore's trusted_root.json")
	}
	if err := checkIssuer(i.Issuer); err != nil {
		return fmt.Errorf("identity.issuer: %w", err)
	}
	if (i.Subject == "") == (i.SubjectRegexp == "") {
		return errors.New("identity: want one of subject and subjectRegexp")
	}
	if i.Log != "" && i.Log != LogRequired && i.Log != LogNone {
		return fmt.Errorf("identity.log %.60q is neither %s nor %s", i.Log, LogRequired, LogNone)
	}
	return nil
}

func checkIssuer(issuer string) error {
	if u, err := url.Parse(issuer); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%.200q is not the URL of an OIDC issuer", issuer)
	}
	return nil
}

// trustedIdentity is an entry of the trust root that is recognised by identity.
type trustedIdentity struct {
	TrustedSigner
	want     verify.CertificateIdentity
	verifier *verify.Verifier
	material root.TrustedMaterial
}

// newTrustedIdentity reads the Sigstore's trusted root.
func newTrustedIdentity(s TrustedSigner, trustedRoot []byte) (*trustedIdentity, error) {
	material, err := root.NewTrustedRootFromJSON(trustedRoot)
	if err != nil {
		return nil, fmt.Errorf("not a Sigstore trusted root: %w", err)
	}
	t := &trustedIdentity{TrustedSigner: s, material: material}
	pattern := ""
	if s.Identity.SubjectRegexp != "" {
		// Compiled alone first: what closes our group must not open another.
		if _, err := regexp.Compile(s.Identity.SubjectRegexp); err != nil {
			return nil, fmt.Errorf("subjectRegexp: %w", err)
		}
		pattern = `\A(?:` + s.Identity.SubjectRegexp + `)\z`
	}
	if t.want, err = verify.NewShortCertificateIdentity(s.Identity.Issuer, "", s.Identity.Subject, pattern); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if t.verifier, err = newVerifier(material, s.Identity.Log != LogNone); err != nil {
		return nil, err
	}
	return t, nil
}

// newVerifier asks for what the Sigstore's trusted root promises: a time that
// somebody else than the signer vouches for, an entry in a log if one is needed, and
// one in a certificate log where the Sigstore has such a log.
func newVerifier(material root.TrustedMaterial, log bool) (*verify.Verifier, error) {
	var opts []verify.VerifierOption
	if log {
		if len(material.RekorLogs()) == 0 {
			return nil, fmt.Errorf("the trusted root has no transparency log: give another, or say log: %s", LogNone)
		}
		opts = append(opts, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	} else {
		if len(material.TimestampingAuthorities()) == 0 {
			return nil, errors.New("the trusted root has no timestamp authority, without which nobody knows when something was signed")
		}
		opts = append(opts, verify.WithSignedTimestamps(1))
	}
	if len(material.FulcioCertificateAuthorities()) == 0 {
		return nil, errors.New("the trusted root has no certificate authority")
	}
	if len(material.CTLogs()) > 0 {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	return verify.NewVerifier(material, opts...)
}

// Certified is whom a certificate names.
type Certified struct {
	Issuer  string
	Subject string
	// Run is the URL of the run that it was issued to, where its issuer says one.
	Run string
}

// certifiedBy reads whom the bundle's certificate names. Nothing is verified.
func certifiedBy(b *bundle.Bundle) (certificate.Summary, error) {
	content, err := b.VerificationContent()
	if err != nil {
		return certificate.Summary{}, err
	}
	cert := content.Certificate()
	if cert == nil {
		return certificate.Summary{}, errors.New("it has no certificate")
	}
	return certificate.SummarizeCertificate(cert)
}

// candidates are who in the trust root a bundle's certificate may name, and whom it
// names. Nothing is verified.
func (t *Trust) candidates(b *bundle.Bundle) ([]candidate, *Certified, error) {
	named, err := certifiedBy(b)
	if err != nil {
		return nil, nil, refuse(RefusedMalformed, fmt.Errorf("certificate: %w", err))
	}
	who := &Certified{Issuer: named.Issuer, Subject: named.SubjectAlternativeName, Run: named.RunInvocationURI}
	var found []candidate
	for _, id := range t.identities {
		if id.want.Verify(named) == nil {
			found = append(found, candidate{id.TrustedSigner, id.verify})
		}
	}
	if len(found) == 0 {
		return nil, who, refuse(RefusedUnknownSigner, fmt.Errorf("%w: nobody there is %.200q by issuer %.200q", ErrUnknownSigner, who.Subject, who.Issuer))
	}
	return found, who, nil
}

// verify checks certificate, log, time and signature.
func (t *trustedIdentity) verify(b *bundle.Bundle) error {
	// Collect compares the statement's subject with the image.
	_, err := t.verifier.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithCertificateIdentity(t.want)))
	if err == nil {
		return nil
	}
	return refuse(t.why(b), err)
}

// why finds out what the verifier has refused. Its errors are texts, so it is asked
// once more for each part.
func (t *trustedIdentity) why(b *bundle.Bundle) Code {
	content, err := b.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return RefusedMalformed
	}
	cert := content.Certificate()
	if _, err := verify.VerifyLeafCertificate(cert.NotBefore, cert, t.material); err != nil {
		return RefusedCertificate
	}
	entries, err := b.TlogEntries()
	if err != nil {
		return RefusedMalformed
	}
	for _, e := range entries {
		if at := e.IntegratedTime(); at.Unix() > 0 && (at.Before(cert.NotBefore) || at.After(cert.NotAfter)) {
			return RefusedExpired
		}
	}
	logged, err := t.verifier.VerifyTransparencyLogInclusion(b)
	if err != nil {
		return RefusedNoLog
	}
	times, err := t.verifier.VerifyObserverTimestamps(b, logged)
	if err != nil {
		return RefusedNoTime
	}
	for _, at := range times {
		if _, err := verify.VerifyLeafCertificate(at.Timestamp, cert, t.material); err != nil {
			return RefusedExpired
		}
	}
	return RefusedSignature
}
