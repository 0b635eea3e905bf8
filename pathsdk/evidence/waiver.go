package evidence

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// WaiverV1 is the predicate of a waiver, of our own: somebody with a name accepts one
// finding about the subject, an image, until a day. It makes nothing true; whether it
// counts is for the verifier's trust root and policy.
type WaiverV1 struct {
	// ID is what is accepted: a vulnerability's id, another finding's, or a rule's.
	ID string `json:"id"`
	// Reason says why, for whoever reads a verdict.
	Reason string `json:"reason"`
	// Expires is the last day in UTC on which it holds, as YYYY-MM-DD.
	Expires string `json:"expires"`
}

// MaxWaiverText bounds the fields of a waiver in bytes.
const MaxWaiverText = 500

var _ Predicate = WaiverV1{}

// Type is Waiver.
func (WaiverV1) Type() Type { return Waiver }

// Encode validates p and encodes it.
func (p WaiverV1) Encode() (json.RawMessage, error) { return encode(Waiver, p) }

// ParseWaiver reads a waiver v1 predicate.
func ParseWaiver(raw json.RawMessage) (WaiverV1, error) { return parse[WaiverV1](Waiver, raw) }

// Validate checks that every field is there, and that the day is one.
func (p WaiverV1) Validate() error {
	if err := missing("id", strings.TrimSpace(p.ID), "reason", strings.TrimSpace(p.Reason), "expires", p.Expires); err != nil {
		return err
	}
	for name, v := range map[string]string{"id": p.ID, "reason": p.Reason} {
		if strings.ContainsFunc(v, unicode.IsControl) {
			return fmt.Errorf("%s has control characters, such as the end of a line", name)
		}
		if len(v) > MaxWaiverText {
			return fmt.Errorf("%s has %d bytes, and may have %d", name, len(v), MaxWaiverText)
		}
	}
	if _, err := time.Parse(time.DateOnly, p.Expires); err != nil {
		return fmt.Errorf("expires %.40q is no day such as 2027-01-31", p.Expires)
	}
	return nil
}
