// Package legacy verifies the SLSA provenance v0.2 that slsa-github-generator
// made, offline. That generator is no longer maintained, but what it signed stays
// in use for as long as the releases do.
//
// Its provenance is a DSSE envelope, signed by a reusable workflow with a
// certificate of ten minutes; only a transparency log says that the signature was
// made within them. Container provenance carries the log's promise. That of the
// generic and Go builders does not: its log entry must be given, and without one
// nothing is verified.
//
// sigstore-go verifies signature, certificate and log. What the certificate and
// the statement must say follows slsa-verifier, whose rules for builder ids, tags
// and repositories are used as they are. The rest of slsa-verifier v2.7.1 fetches
// its trust root from the internet, and does not compile with sigstore-go v1.1.
package legacy

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/slsa-framework/slsa-verifier/v2/verifiers/utils"

	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// issuer is the identity provider of GitHub Actions.
const issuer = "https://token.actions.githubusercontent.com"

const github = "https://github.com/"

// ErrNoLogProof says that nothing proves when the signature was made. Whoever
// stole an expired key could have made it since.
var ErrNoLogProof = errors.New("no log proof: the provenance carries no transparency log entry, so nothing says that it was signed while its certificate was valid")

// Expect is what provenance must be about; all but SourceTag is required.
type Expect struct {
	// Digest of the artifact.
	Digest step.Digest
	// BuilderID is the reusable workflow that built it, such as
	// https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml,
	// with @v2.1.0 behind it if only that version will do.
	BuilderID string
	// SourceURI is the repository, such as github.com/team/service.
	SourceURI string
	// SourceTag is the git tag that it was built from; empty for any ref.
	SourceTag string
}

// Verified is what provenance proves.
type Verified struct {
	Digest    step.Digest `json:"digest"`
	BuilderID string      `json:"builderId"`
	BuildType string      `json:"buildType"`
	SourceURI string      `json:"sourceUri"`
	// SourceRef is the full git ref, SourceCommit the commit that it was then.
	SourceRef    string `json:"sourceRef"`
	SourceCommit string `json:"sourceCommit"`
	// Trigger is the event that started the workflow.
	Trigger string `json:"trigger"`
	// Runner is github-hosted or self-hosted; empty in certificates before 2023.
	Runner string `json:"runner,omitempty"`
	RunURI string `json:"runUri,omitempty"`
	// SignedOn is the time at which the log took the signature.
	SignedOn time.Time `json:"signedOn"`
	LogIndex int64     `json:"logIndex"`
}

// Root is the trust root that a Sigstore instance publishes.
type Root struct{ material *root.TrustedRoot }

const maxRoot = 4 << 20

// LoadRoot reads a trusted_root.json. There is no default: a trust root is given
// locally, and one that came with this code would not know of a revoked log.
func LoadRoot(path string) (*Root, error) {
	b, err := bounded.ReadFile(path, maxRoot)
	if err != nil {
		return nil, err
	}
	tr, err := root.NewTrustedRootFromJSON(b)
	if err != nil {
		return nil, step.Usagef("%s is no Sigstore trusted_root.json: %w", path, err)
	}
	return &Root{tr}, nil
}

// Validate checks that what is expected can be met at all.
func (e Expect) Validate() error {
	if _, err := step.ParseDigest(string(e.Digest)); err != nil {
		return step.Usagef("artifact: %w", err)
	}
	name, version, err := utils.ParseBuilderID(e.BuilderID, false)
	if err != nil || !strings.HasPrefix(name, github) {
		return step.Usagef("builder id %q: give the URL of a workflow on github.com, with @TAG behind it or without", e.BuilderID)
	}
	if version != "" {
		if err := utils.IsValidBuilderTag("refs/tags/"+strings.TrimPrefix(version, "refs/tags/"), false); err != nil {
			return step.Usagef("builder id %q: %w", e.BuilderID, err)
		}
	}
	if repo := e.repository(); !strings.HasPrefix(repo, github) || strings.Count(strings.TrimPrefix(repo, github), "/") != 1 || strings.Contains(repo, "@") {
		return step.Usagef("source %q: give a repository as github.com/OWNER/NAME", e.SourceURI)
	}
	if strings.HasPrefix(e.SourceTag, "refs/") {
		return step.Usagef("source tag %q: give the name of the tag alone", e.SourceTag)
	}
	return nil
}

// repository is the URL of the source repository.
func (e Expect) repository() string {
	return strings.TrimPrefix(utils.NormalizeGitURI(e.SourceURI), "git+")
}

// Verify checks provenance against a trust root and what is expected. Of several
// sources one must hold; the error has the reason of each.
func Verify(trust *Root, sources []Source, e Expect) (Verified, error) {
	if err := e.Validate(); err != nil {
		return Verified{}, err
	}
	if len(sources) == 0 {
		return Verified{}, errors.New("there is no provenance in it")
	}
	var errs []error
	for _, s := range sources {
		v, err := verifyOne(trust, s, e)
		if err == nil {
			return v, nil
		}
		errs = append(errs, err)
	}
	return Verified{}, errors.Join(errs...)
}

func verifyOne(trust *Root, s Source, e Expect) (v Verified, err error) {
	// Whoever made the file chooses the bytes. There are some with which the libraries
	// end the program (a log entry of kind intoto without a version).
	defer func() {
		if r := recover(); r != nil {
			v, err = Verified{}, fmt.Errorf("provenance: reading it ended in: %v", r)
		}
	}()
	b, err := s.bundle()
	if err != nil {
		return Verified{}, err
	}
	// The certificate must be of GitHub Actions; which workflow is checked below.
	id, err := verify.NewShortCertificateIdentity(issuer, "", "", "^"+github)
	if err != nil {
		return Verified{}, err
	}
	sev, err := verify.NewVerifier(trust.material,
		verify.WithTransparencyLog(1), verify.WithIntegratedTimestamps(1), verify.WithSignedCertificateTimestamps(1))
	if err != nil {
		return Verified{}, err
	}
	digest, err := hex.DecodeString(e.Digest.Hex())
	if err != nil {
		return Verified{}, err
	}
	res, err := sev.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), verify.WithCertificateIdentity(id)))
	if err != nil {
		return Verified{}, fmt.Errorf("signature: %w", err)
	}
	content, err := b.VerificationContent()
	if err != nil {
		return Verified{}, err
	}
	st, err := parseStatement(b.GetDsseEnvelope().GetPayload())
	if err != nil {
		return Verified{}, err
	}
	v, err = judge(content.Certificate(), res.Signature.Certificate, st, e)
	if err != nil {
		return Verified{}, err
	}
	v.LogIndex = b.GetVerificationMaterial().GetTlogEntries()[0].GetLogIndex()
	if len(res.VerifiedTimestamps) > 0 {
		v.SignedOn = res.VerifiedTimestamps[0].Timestamp.UTC()
	}
	return v, nil
}

// judge holds certificate, statement and what is expected against each other.
// The certificate is what GitHub and Fulcio say of the run; of the statement only
// that is believed which the certificate confirms.
func judge(leaf *x509.Certificate, c *certificate.Summary, st statement, e Expect) (Verified, error) {
	if leaf == nil || c == nil || len(leaf.URIs) != 1 {
		return Verified{}, errors.New("certificate: want exactly one URI that names the workflow")
	}
	san := leaf.URIs[0].String()
	builder, err := utils.TrustedBuilderIDNew(san, true)
	if err != nil {
		return Verified{}, fmt.Errorf("builder: the certificate is of %s: %w", san, err)
	}
	if err := builder.MatchesLoose(e.BuilderID, true); err != nil {
		return Verified{}, fmt.Errorf("builder: the certificate is of %s, not of %s: %w", san, e.BuilderID, err)
	}
	// A branch of the builder could be anything by now; a version is reviewed.
	if err := utils.IsValidBuilderTag(builder.Version(), false); err != nil {
		return Verified{}, fmt.Errorf("builder: %s is no release: %w", san, err)
	}
	if st.Predicate.Builder.ID != san {
		return Verified{}, fmt.Errorf("builder: the statement says %.200q, the certificate %s", st.Predicate.Builder.ID, san)
	}
	claims, err := claimsOf(c)
	if err != nil {
		return Verified{}, err
	}
	if claims.repository != e.repository() {
		return Verified{}, fmt.Errorf("source: it was built from %s, not from %s", claims.repository, e.repository())
	}
	if err := st.agrees(claims); err != nil {
		return Verified{}, fmt.Errorf("source: %w", err)
	}
	if e.SourceTag != "" {
		tag, err := utils.TagFromGitRef(claims.ref)
		if err != nil {
			return Verified{}, fmt.Errorf("source: it was built from %s, which is no tag, not from tag %s", claims.ref, e.SourceTag)
		}
		if tag != e.SourceTag {
			return Verified{}, fmt.Errorf("source: it was built from tag %s, not from tag %s", tag, e.SourceTag)
		}
	}
	return Verified{
		Digest: e.Digest, BuilderID: san, BuildType: st.Predicate.BuildType,
		SourceURI: claims.repository, SourceRef: claims.ref, SourceCommit: claims.commit,
		Trigger: claims.trigger, Runner: c.RunnerEnvironment, RunURI: c.RunInvocationURI,
	}, nil
}
