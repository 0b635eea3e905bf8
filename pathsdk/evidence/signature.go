package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
)

// SignatureV1 is the predicate of an image signature in the Sigstore bundle
// format, as cosign 2.6 and 3 write it: the statement's subject says all, and
// the predicate is an empty object.
type SignatureV1 struct{}

var _ Predicate = SignatureV1{}

// Type is Signature.
func (SignatureV1) Type() Type { return Signature }

// Encode gives the empty object.
func (SignatureV1) Encode() (json.RawMessage, error) { return json.RawMessage("{}"), nil }

// ParseSignature checks the predicate of an image signature: an object without
// fields. One that claims more is not what a verifier takes it for.
func ParseSignature(raw json.RawMessage) error {
	var m map[string]json.RawMessage
	if err := decode(raw, MaxPredicate, &m); err != nil {
		return fmt.Errorf("signature predicate: %w", err)
	}
	if m == nil {
		return errors.New("signature predicate: want an empty object, got null")
	}
	if len(m) > 0 {
		return fmt.Errorf("signature predicate: want an empty object, got %d fields", len(m))
	}
	return nil
}
