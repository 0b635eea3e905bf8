// Package claims is the hand-over from the producer to the attester: an OCI
// artifact that names, by digest, the image, the source and the modules it was
// built from, and what the producer's steps reported. It is not signed, and
// whoever reads it believes nothing in it but what can be checked.
package claims

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	kjson "sigs.k8s.io/json"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// The media types of the artifact and its parts.
const (
	// ArtifactType is the type of the artifact, and of its first layer: the
	// claims as JSON.
	ArtifactType = "application/vnd.pavedpaths.claims.v1+json"
	// SourceType is the type of the second layer: the source as a tar archive,
	// not compressed, so that its digest is the source's.
	SourceType = "application/vnd.pavedpaths.source.v1.tar"
)

// The limits of an artifact.
const (
	// MaxDocument bounds the JSON, in bytes.
	MaxDocument = 64 << 20
	// MaxReports bounds the producer's steps that report something.
	MaxReports = 64
	// MaxEvidence bounds the pieces of evidence of all reports together.
	MaxEvidence = 256
	// MaxTarball bounds the source archive, in bytes: the limit of a tree, and
	// what the archive's own headers may add.
	MaxTarball = 1<<30 + 1<<28
)

// Claims is what the producer says.
type Claims struct {
	// Image is the digest of the image or index.
	Image step.Digest `json:"image"`
	// Name is the image's name, for people.
	Name string `json:"name"`
	// Source is the digest of the source archive.
	Source step.Digest `json:"source"`
	// Modules are the pinned modules of the build list.
	Modules []gomod.Module `json:"modules"`
	// Reports are sorted by node.
	Reports []Report `json:"reports"`
}

// Report is what one node of the path reported.
type Report struct {
	Node     string          `json:"node"`
	Step     string          `json:"step"`
	Evidence []step.Evidence `json:"evidence"`
}

// Validate reports what is wrong with the form of the claims.
func (c Claims) Validate() error {
	if _, err := step.ParseDigest(string(c.Image)); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if _, err := step.ParseDigest(string(c.Source)); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if !isName(c.Name, `^[a-z0-9]+((\.|_|__|-+|/)[a-z0-9]+)*$`, 255) {
		return fmt.Errorf("name %.80q is not the name of an image", c.Name)
	}
	if err := gomod.Check(c.Modules); err != nil {
		return err
	}
	if len(c.Reports) > MaxReports {
		return fmt.Errorf("%d reports are more than the limit of %d", len(c.Reports), MaxReports)
	}
	count := 0
	for i, r := range c.Reports {
		if i > 0 && c.Reports[i-1].Node >= r.Node {
			return fmt.Errorf("report of %.80q is repeated or out of order", r.Node)
		}
		if err := r.validate(c); err != nil {
			return fmt.Errorf("report of %.80q: %w", r.Node, err)
		}
		if count += len(r.Evidence); count > MaxEvidence {
			return fmt.Errorf("more than %d pieces of evidence", MaxEvidence)
		}
	}
	return nil
}

func (r Report) validate(c Claims) error {
	const name = `^[a-z0-9]+([-_.][a-z0-9]+)*$`
	if !isName(r.Node, name, 64) || !isName(r.Step, name, 64) {
		return fmt.Errorf("node or step %.80q is not a name", r.Step)
	}
	for i, e := range r.Evidence {
		if !isName(e.Type, `^[a-z]+://[!-~]+$`, 512) {
			return fmt.Errorf("evidence %d: type %.80q is not a URI", i, e.Type)
		}
		if p := strings.TrimSpace(string(e.Predicate)); !strings.HasPrefix(p, "{") || !utf8.ValidString(p) {
			return fmt.Errorf("evidence %d: the predicate is not a JSON object", i)
		}
		// The attester signs what it takes over. It must not be led to make a
		// statement about somebody else's artifact.
		if e.Subject == nil || e.Subject.Digest != c.Source && e.Subject.Digest != c.Image {
			return fmt.Errorf("evidence %d: its subject is neither the source nor the image", i)
		}
		if len(e.Subject.Name) > 255 || !utf8.ValidString(e.Subject.Name) {
			return fmt.Errorf("evidence %d: its subject has no proper name", i)
		}
	}
	return nil
}

func isName(s, form string, limit int) bool {
	return len(s) <= limit && regexp.MustCompile(form).MatchString(s)
}

// parse reads the JSON of claims. Names match by case, and neither unknown nor
// repeated ones are accepted: two readers must not see two documents in the
// same bytes.
func parse(b []byte) (Claims, error) {
	var c Claims
	if len(b) > MaxDocument {
		return c, fmt.Errorf("%d bytes are more than the limit of %d", len(b), MaxDocument)
	}
	if !utf8.Valid(b) {
		return c, errors.New("not valid UTF-8")
	}
	strict, err := kjson.UnmarshalStrict(b, &c, kjson.DisallowDuplicateFields, kjson.DisallowUnknownFields)
	if err != nil {
		return c, err
	}
	if len(strict) > 0 {
		return c, strict[0]
	}
	return c, c.Validate()
}
