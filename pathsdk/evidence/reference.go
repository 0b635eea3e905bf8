package evidence

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// ReferenceV01 is the predicate reference v0.1 (in-toto/attestation
// spec/predicates/reference.md at commit 044ba49a7f6d): it signs documents by their digests. We write one for
// a predicate that is too large to be signed and sent along as a whole.
type ReferenceV01 struct {
	Attester   ReferenceAttester    `json:"attester"`
	References []ResourceDescriptor `json:"references"`
}

// ReferenceAttester is the system that provides the documents.
type ReferenceAttester struct {
	ID string `json:"id"`
}

// AttesterID names our attester.
const AttesterID = "https://github.com/pavedpaths/paths/attesters/pathctl/v1"

// referencedType is the annotation of a reference with the referenced predicate's type.
const referencedType = "pavedpaths.dev/predicateType"

var _ Predicate = ReferenceV01{}

// Type is Reference.
func (ReferenceV01) Type() Type { return Reference }

// Encode validates p and encodes it.
func (p ReferenceV01) Encode() (json.RawMessage, error) { return encode(Reference, p) }

// ParseReference reads a reference v0.1 predicate.
func ParseReference(raw json.RawMessage) (ReferenceV01, error) {
	return parse[ReferenceV01](Reference, raw)
}

// Validate checks the fields that the specification requires, of each reference too,
// and that each has a digest, without which it proves nothing.
func (p ReferenceV01) Validate() error {
	if err := missing("attester.id", p.Attester.ID, "references", len(p.References) > 0); err != nil {
		return err
	}
	for i, r := range p.References {
		at := fmt.Sprintf("references[%d].", i)
		if err := missing(at+"downloadLocation", r.DownloadLocation, at+"mediaType", r.MediaType, at+"digest", r.Digest["sha256"]); err != nil {
			return err
		}
	}
	return validateAll("references", p.References)
}

// ReferTo makes the reference to one predicate of ours, which hangs beside it in the
// same place and is found by its digest alone.
func ReferTo(t Type, digest step.Digest) ReferenceV01 {
	return ReferenceV01{
		Attester: ReferenceAttester{AttesterID},
		References: []ResourceDescriptor{{
			Name: t.Name, Digest: SHA256(digest), MediaType: t.MediaType(),
			DownloadLocation: "pkg:oci/" + t.Name + "@sha256%3A" + digest.Hex(),
			Annotations:      map[string]any{referencedType: t.URI},
		}},
	}
}

// Referenced is the type and the digest of the one predicate of ours that p refers to.
func (p ReferenceV01) Referenced() (Type, step.Digest, error) {
	if len(p.References) != 1 {
		return Type{}, "", fmt.Errorf("%d references: want one predicate", len(p.References))
	}
	r := p.References[0]
	uri, _ := r.Annotations[referencedType].(string)
	t, ok := Lookup(uri)
	switch {
	case !ok || t.URI != uri:
		return Type{}, "", fmt.Errorf("it refers to a predicate of unknown type %.100q", uri)
	case t == Reference:
		return Type{}, "", errors.New("it refers to a reference")
	}
	d, err := step.ParseDigest("sha256:" + r.Digest["sha256"])
	return t, d, err
}

// MediaType is that of a predicate of the type as a document.
func (t Type) MediaType() string {
	switch t {
	case SPDX:
		return "application/spdx+json"
	case CycloneDX:
		return "application/vnd.cyclonedx+json"
	}
	return "application/json"
}
