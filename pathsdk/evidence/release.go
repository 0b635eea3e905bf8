package evidence

import (
	"encoding/json"
	"fmt"

	"github.com/package-url/packageurl-go"
)

// ReleaseV02 is the predicate release v0.2 (in-toto/attestation
// spec/predicates/release.md; its examples still carry the type of v0.1, where
// the package's id had another name). It says which artifacts, the subjects,
// make up one version of a package; the registry of the package signs it.
type ReleaseV02 struct {
	// PURL is the package URL of one version of one package.
	PURL string `json:"purl"`
	// PackageID stays the same when the package is renamed.
	PackageID string `json:"packageId,omitempty"`
}

var _ Predicate = ReleaseV02{}

// Type is Release.
func (ReleaseV02) Type() Type { return Release }

// Encode validates p and encodes it.
func (p ReleaseV02) Encode() (json.RawMessage, error) { return encode(Release, p) }

// ParseRelease reads a release v0.2 predicate.
func ParseRelease(raw json.RawMessage) (ReleaseV02, error) { return parse[ReleaseV02](Release, raw) }

// Validate checks that purl is a package URL with a version, which package URLs
// need not have otherwise.
func (p ReleaseV02) Validate() error {
	if err := missing("purl", p.PURL); err != nil {
		return err
	}
	purl, err := packageurl.FromString(p.PURL)
	if err != nil {
		return fmt.Errorf("purl %.200q: %w", p.PURL, err)
	}
	if purl.Version == "" {
		return fmt.Errorf("purl %.200q: the version is missing, and a release is of one version", p.PURL)
	}
	return nil
}
