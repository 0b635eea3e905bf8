package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	kjson "sigs.k8s.io/json"
)

const (
	// MaxPredicate is the largest predicate in bytes that is written or read: as much
	// as a scan reads of an SBOM.
	MaxPredicate = 64 << 20
	// MaxInline is the largest predicate in bytes that a statement of ours holds; a
	// larger one is referred to. In base64 in its bundle it is well below the 10 MB
	// from which on Kyverno refuses the image with all of its other evidence.
	MaxInline = 4 << 20
	// MaxStatement is the largest statement in bytes that is read: GitHub, the strictest
	// among the services that store attestations, takes predicates of 16 MiB.
	MaxStatement = 16<<20 + 64<<10
)

// decode reads one JSON value into v. Unlike encoding/json it matches names by
// case and refuses repeated ones: two readers must not see two documents in the
// same bytes. Unknown fields are ignored, as the parsing rules of the in-toto
// Attestation Framework (spec/v1/README.md#parsing-rules) demand.
func decode(raw []byte, limit int, v any) error {
	if len(raw) > limit {
		return fmt.Errorf("%d bytes are more than the limit of %d", len(raw), limit)
	}
	if !utf8.Valid(raw) {
		return errors.New("not valid UTF-8")
	}
	strict, err := kjson.UnmarshalStrict(raw, v, kjson.DisallowDuplicateFields)
	if err != nil {
		return fmt.Errorf("not the expected JSON: %w", err)
	}
	if len(strict) > 0 {
		return strict[0]
	}
	return nil
}

// parse decodes a predicate of one type and validates it.
func parse[P interface{ Validate() error }](t Type, raw json.RawMessage) (P, error) {
	var p P
	if err := decode(raw, MaxPredicate, &p); err != nil {
		return p, fmt.Errorf("%s predicate: %w", t.Name, err)
	}
	if err := p.Validate(); err != nil {
		return p, fmt.Errorf("%s predicate: %w", t.Name, err)
	}
	return p, nil
}

// encode validates and encodes a predicate of one type.
func encode(t Type, p interface{ Validate() error }) (json.RawMessage, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s predicate: %w", t.Name, err)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%s predicate: %w", t.Name, err)
	}
	if len(raw) > MaxPredicate {
		return nil, fmt.Errorf("%s predicate: %d bytes are more than the limit of %d", t.Name, len(raw), MaxPredicate)
	}
	return raw, nil
}

// missing reports the first name whose value is absent; pairs are name, value.
func missing(pairs ...any) error {
	for i := 0; i < len(pairs); i += 2 {
		absent := false
		switch v := pairs[i+1].(type) {
		case string:
			absent = v == ""
		case time.Time:
			absent = v.IsZero()
		case bool:
			absent = !v
		}
		if absent {
			return fmt.Errorf("%s is missing", pairs[i])
		}
	}
	return nil
}

// utc drops the zone, so that the same moment has one encoding.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Round(0)
}
