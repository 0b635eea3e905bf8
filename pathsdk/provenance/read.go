package provenance

import (
	"errors"
	"fmt"
	"unicode/utf8"

	kjson "sigs.k8s.io/json"
)

// The largest records in bytes that are read.
const (
	MaxRecord   = 8 << 20
	MaxHandover = 64 << 20
)

// ParseRecord reads a run record. Unknown and repeated fields are errors: the
// runner of the same binary wrote it, so anything else in it was tampered with.
func ParseRecord(b []byte) (Record, error) { return parse(b, MaxRecord) }

func parse(b []byte, limit int) (Record, error) {
	var r Record
	if len(b) > limit {
		return r, fmt.Errorf("run record: %d bytes are more than the limit of %d", len(b), limit)
	}
	if !utf8.Valid(b) {
		return r, errors.New("run record: not valid UTF-8")
	}
	strict, err := kjson.UnmarshalStrict(b, &r)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return Record{}, fmt.Errorf("run record: %w", err)
	}
	return r, nil
}
