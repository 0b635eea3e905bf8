package evidence

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/package-url/packageurl-go"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// ReferenceV01 is the predicate Reference v0.1 (in-toto/attestation
// spec/predicates/reference.md at commit 044ba49a7f6d): it points to documents about the
// subject that the statement does not hold. We sign one in the place of a predicate that
// is larger than MaxInline.
type ReferenceV01 struct {
	Attester Attester `json:"attester"`
	// References are the documents; Referenced is about the one that we refer to.
	References []ResourceDescriptor `json:"references"`
}

// Attester is the system that provides the documents.
type Attester struct {
	ID string `json:"id"`
}

// AttesterID identifies this attester in a reference.
const AttesterID = "https://github.com/pavedpaths/paths/attesters/pathctl/v1"

// Keys in the annotations of a reference's descriptor. The specification has no field
// for what the document is, beyond its media type, nor for its size.
const (
	typeAnnotation = "pavedpaths.dev/predicateType"
	sizeAnnotation = "pavedpaths.dev/size"
)

var _ Predicate = ReferenceV01{}

// Type is Reference.
func (ReferenceV01) Type() Type { return Reference }

// Encode validates p and encodes it.
func (p ReferenceV01) Encode() (json.RawMessage, error) { return encode(Reference, p) }

// ParseReference reads a reference v0.1 predicate.
func ParseReference(raw json.RawMessage) (ReferenceV01, error) {
	return parse[ReferenceV01](Reference, raw)
}

// Validate checks the required fields and every descriptor.
func (p ReferenceV01) Validate() error {
	if err := missing("attester.id", p.Attester.ID, "references", len(p.References) > 0); err != nil {
		return err
	}
	for i, r := range p.References {
		err := missing("downloadLocation", r.DownloadLocation, "mediaType", r.MediaType)
		if err == nil {
			err = r.Validate()
		}
		if err != nil {
			return fmt.Errorf("references[%d]: %w", i, err)
		}
	}
	return nil
}

// Referenced is a predicate that is stored as a blob of its own, in the repository of
// the image that it is about.
type Referenced struct {
	Type   Type
	Digest step.Digest
	Size   int64 // in bytes
}

// Refer makes the reference to a predicate about s. It refuses a predicate that its own
// type's parser would. What it gives as the place to download from is a package URL: the
// blob lies wherever the image does, and moves with it, so no address would stay right.
func Refer(t Type, predicate json.RawMessage, digest step.Digest, s step.Subject) (ReferenceV01, error) {
	if err := Check(t, predicate); err != nil {
		return ReferenceV01{}, err
	}
	name := first(s.Name, "image")
	return ReferenceV01{
		Attester: Attester{ID: AttesterID},
		References: []ResourceDescriptor{{
			Digest:           SHA256(digest),
			DownloadLocation: packageurl.NewPackageURL(packageurl.TypeOCI, "", name, string(digest), nil, "").ToString(),
			MediaType:        t.MediaType(),
			Annotations:      map[string]any{typeAnnotation: t.URI, sizeAnnotation: int64(len(predicate))},
		}},
	}, nil
}

// Referenced is the one predicate that p refers to, in the form in which Refer writes
// it. It is an error if there are several, and if what is named is nothing that we read:
// a predicate of an unknown type, of more than MaxPredicate bytes, or another reference.
// Where to download it from does not matter.
func (p ReferenceV01) Referenced() (Referenced, error) {
	var r Referenced
	if n := len(p.References); n != 1 {
		return r, fmt.Errorf("it refers to %d documents, want exactly one", n)
	}
	d := p.References[0]
	uri, _ := d.Annotations[typeAnnotation].(string)
	if uri == Reference.URI {
		return r, errors.New("it refers to another reference")
	}
	t, ok := Lookup(uri)
	if !ok || t.URI != uri { // Lookup also knows short names
		return r, fmt.Errorf("it refers to a document whose annotation %s is %.80q, and that is no predicate type known here", typeAnnotation, uri)
	}
	r.Type = t
	if r.Size, _ = d.Annotations[sizeAnnotation].(int64); r.Size <= 0 || r.Size > MaxPredicate {
		return r, fmt.Errorf("it refers to a document whose annotation %s is %.40q, want 1 to %d", sizeAnnotation, fmt.Sprint(d.Annotations[sizeAnnotation]), MaxPredicate)
	}
	var err error
	if r.Digest, err = step.ParseDigest("sha256:" + d.Digest["sha256"]); err != nil {
		return r, fmt.Errorf("it refers to a document without a digest: %w", err)
	}
	return r, nil
}

// MediaType is the media type of a predicate of that type that is stored by itself.
func (t Type) MediaType() string {
	switch t {
	case SPDX:
		return "application/spdx+json"
	case CycloneDX:
		return "application/vnd.cyclonedx+json"
	}
	return "application/json"
}
