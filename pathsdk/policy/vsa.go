package policy

import (
	"encoding/json"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// VerifierID identifies this verifier in a VSA. Consumers accept pairs of it and
// a signer's identity.
const VerifierID = "https://github.com/pavedpaths/paths/verifiers/pathctl/v1"

// slsaVersion is the version of the SLSA specification whose Build track package
// provenance computes.
const slsaVersion = "1.1"

// VSAOptions are what a verdict does not know of itself; for SVRs, too.
type VSAOptions struct {
	// ResourceURI names the artifact as it was asked for; Reference of the
	// verdict when empty.
	ResourceURI string
	// PolicyURI names the policy; by default one made of its name.
	PolicyURI string
	// Version is the verifier's own version; empty leaves it out.
	Version string
}

// VSA is the predicate of the verification summary of a verdict
// (https://slsa.dev/spec/v1.1/verification_summary). A failed verdict has the
// level FAILED and no other. The input attestations are those that counts:
// invalid, foreign and superseded ones changed nothing.
func VSA(v Verdict, o VSAOptions) (json.RawMessage, error) {
	p := evidence.VSAV1{
		Verifier:           evidence.Verifier{ID: VerifierID},
		TimeVerified:       v.VerifiedOn,
		ResourceURI:        orElse(o.ResourceURI, v.Reference),
		Policy:             o.policy(v),
		VerificationResult: evidence.VerificationFailed,
		VerifiedLevels:     []string{evidence.VerificationFailed},
		SLSAVersion:        slsaVersion,
	}
	if o.Version != "" {
		p.Verifier.Version = map[string]string{"pathctl": o.Version}
	}
	if v.Passed {
		p.VerificationResult = evidence.VerificationPassed
		p.VerifiedLevels = []string{evidence.BuildLevel(v.Level.Build)}
		if v.Reproduced {
			p.VerifiedLevels = append(p.VerifiedLevels, Reproduced)
		}
	}
	seen := map[step.Digest]bool{}
	for _, e := range v.Evidence {
		if e.Status != StatusUsed && e.Status != StatusReproduces || seen[e.Digest] {
			continue
		}
		seen[e.Digest] = true
		p.InputAttestations = append(p.InputAttestations, evidence.ResourceDescriptor{
			Name:   e.Type,
			Digest: evidence.SHA256(e.Digest),
		})
	}
	return p.Encode()
}

// policy describes the policy of a verdict.
func (o VSAOptions) policy(v Verdict) evidence.ResourceDescriptor {
	return evidence.ResourceDescriptor{
		URI:    orElse(o.PolicyURI, "https://github.com/pavedpaths/paths/policies/"+v.Policy.Name),
		Digest: evidence.SHA256(v.Policy.Digest),
	}
}
