package evidence

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// ResourceDescriptor describes an artifact or resource, as in in-toto
// Attestation Framework v1 (spec/v1/resource_descriptor.md).
type ResourceDescriptor struct {
	Name string `json:"name,omitempty"`
	URI  string `json:"uri,omitempty"`
	// Digest maps the names of spec/v1/digest_set.md to lower-case hexadecimal.
	Digest map[string]string `json:"digest,omitempty"`
	// Content is base64 in JSON, and should be below 1 KB.
	Content          []byte         `json:"content,omitempty"`
	DownloadLocation string         `json:"downloadLocation,omitempty"`
	MediaType        string         `json:"mediaType,omitempty"`
	Annotations      map[string]any `json:"annotations,omitempty"`
}

// SHA256 is the digest set of one content digest.
func SHA256(d step.Digest) map[string]string {
	return map[string]string{"sha256": d.Hex()}
}

// Validate checks that one of uri, digest and content is set, and that digests
// of the algorithms that we use are well formed.
func (r ResourceDescriptor) Validate() error {
	if r.URI == "" && len(r.Digest) == 0 && len(r.Content) == 0 {
		return errors.New("one of uri, digest and content is required")
	}
	for _, alg := range slices.Sorted(maps.Keys(r.Digest)) {
		if err := checkDigest(alg, r.Digest[alg]); err != nil {
			return err
		}
	}
	return nil
}

// checkDigest checks one entry of a DigestSet. Other algorithms than the ones
// listed are ignored, as spec/v1/digest_set.md says.
func checkDigest(alg, value string) error {
	var sizes []int
	switch alg {
	case "sha256", "dirHash":
		sizes = []int{32}
	case "sha384":
		sizes = []int{48}
	case "sha512":
		sizes = []int{64}
	case "sha1":
		sizes = []int{20}
	case "gitCommit", "gitTree", "gitBlob", "gitTag":
		sizes = []int{20, 32}
	default:
		return nil
	}
	b, err := hex.DecodeString(value)
	if err != nil || strings.ToLower(value) != value || !slices.Contains(sizes, len(b)) {
		return fmt.Errorf("digest %s:%.130s is not lower-case hexadecimal of the right length", alg, value)
	}
	return nil
}

func validateAll(field string, rs []ResourceDescriptor) error {
	for i, r := range rs {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("%s[%d]: %w", field, i, err)
		}
	}
	return nil
}
