package step

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// File is the path of a regular file on this host.
type File string

// Dir is the path of a folder on this host.
type Dir string

// Secret is the path of a file that holds a secret. Its content is never
// logged, cached or passed in an argument.
type Secret string

// Digest is a content digest, "sha256:" and 64 lower-case hexadecimal digits.
type Digest string

// ParseDigest checks the form of a digest.
func ParseDigest(s string) (Digest, error) {
	h, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(h) != 64 || strings.ToLower(h) != h {
		return "", fmt.Errorf("digest %q: want sha256: and 64 lower-case hexadecimal digits", s)
	}
	if _, err := hex.DecodeString(h); err != nil {
		return "", fmt.Errorf("digest %q: want sha256: and 64 lower-case hexadecimal digits", s)
	}
	return Digest(s), nil
}

// Hex returns the hexadecimal part of the digest.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// Short returns the first 12 hexadecimal digits, for people.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

// Duration is a time span; its JSON is text such as "24h" or "90s", as
// time.ParseDuration reads it.
type Duration time.Duration

// String is the text form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the text form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text form.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration: want text such as %q", "24h")
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("duration %q: want text such as %q", s, "24h")
	}
	*d = Duration(v)
	return nil
}
