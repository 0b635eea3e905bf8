package policy

import (
	"encoding/json"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Attestation is one referrer, after its signature was checked or failed to.
type Attestation struct {
	// Digest is the referrer's manifest digest, Image the image it hangs on.
	Digest step.Digest
	Image  step.Digest
	// Type is the predicate type URI, Subject the statement's one subject.
	Type    string
	Subject step.Digest
	// Signer is the trust root's name of whoever signed; Roles, MaxTier and
	// MaxBuildLevel are what the trust root allows them.
	Signer        string
	Roles         []string
	MaxTier       evidence.Tier
	MaxBuildLevel int
	// RunIssuers are the platforms whose word on runs the trust root takes when this
	// signer passes it on, by OIDC issuer.
	RunIssuers []string
	// Identity is whom the signer's certificate names; nil if they have a key.
	Identity *Identity
	// Tier is the tier that the statement claims.
	Tier evidence.Tier
	// Predicate is the signed predicate.
	Predicate json.RawMessage
	// Err says why the referrer is not usable, and Code says it in one word; nil if
	// its signature holds.
	Err  error
	Code string
	// Foreign is true if nobody in the trust root signed it.
	Foreign bool
}

// Input is what Judge judges.
type Input struct {
	// Reference is what the caller asked about, for people; Digest is the image.
	Reference string
	Digest    step.Digest
	// Images are the image and, if it is an index, its platform manifests.
	Images       []Image
	Attestations []Attestation
	// Now is the time of judgement: freshness, waivers and the verdict use it.
	Now time.Time
	// KEV is the list of known exploited vulnerabilities; nil if none was given.
	KEV KEV
	// KEVSource names the list, for the verdict.
	KEVSource string
	// Waivers replace those in the provenance; nil keeps them.
	Waivers []Waiver
	// Reproduction is another place of the same image, with a second builder's
	// provenance; nil if none is asked for.
	Reproduction *Reproduction
	// Params override the policy's defaults; values are Go values of the
	// parameter's type, or text.
	Params map[string]any
}

// KEV is a list of known exploited vulnerabilities.
type KEV interface {
	// Has reports whether the list has that CVE id.
	Has(id string) bool
}

// KEVIDs is a KEV list in memory.
type KEVIDs map[string]bool

// Has reports whether the list has that id.
func (k KEVIDs) Has(id string) bool { return k[id] }

var _ KEV = KEVIDs(nil)
