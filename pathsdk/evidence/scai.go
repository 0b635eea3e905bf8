package evidence

import (
	"encoding/json"
	"fmt"
)

// SCAIV03 is the predicate SCAI Attribute Report v0.3
// (in-toto/attestation spec/predicates/scai.md).
type SCAIV03 struct {
	// Attributes holds at least one assertion.
	Attributes []Attribute `json:"attributes"`
	// Producer describes what made the assertions.
	Producer *ResourceDescriptor `json:"producer,omitempty"`
}

// Attribute is one assertion about the subject.
type Attribute struct {
	Attribute string `json:"attribute"`
	// Target is the artifact that the attribute applies to, if not the subject.
	Target *ResourceDescriptor `json:"target,omitempty"`
	// Conditions say under which circumstances the attribute arises.
	Conditions map[string]any      `json:"conditions,omitempty"`
	Evidence   *ResourceDescriptor `json:"evidence,omitempty"`
}

var _ Predicate = SCAIV03{}

// Type is SCAI.
func (SCAIV03) Type() Type { return SCAI }

// Encode validates p and encodes it. The order of attributes is the producer's.
func (p SCAIV03) Encode() (json.RawMessage, error) { return encode(SCAI, p) }

// ParseSCAI reads a SCAI v0.3 predicate.
func ParseSCAI(raw json.RawMessage) (SCAIV03, error) { return parse[SCAIV03](SCAI, raw) }

// Validate checks the required fields and every descriptor.
func (p SCAIV03) Validate() error {
	if err := missing("attributes", len(p.Attributes) > 0); err != nil {
		return err
	}
	for i, a := range p.Attributes {
		if err := missing("attribute", a.Attribute); err != nil {
			return fmt.Errorf("attributes[%d]: %w", i, err)
		}
		for name, r := range map[string]*ResourceDescriptor{"target": a.Target, "evidence": a.Evidence} {
			if r == nil {
				continue
			}
			if err := r.Validate(); err != nil {
				return fmt.Errorf("attributes[%d].%s: %w", i, name, err)
			}
		}
	}
	if p.Producer != nil {
		if err := p.Producer.Validate(); err != nil {
			return fmt.Errorf("producer: %w", err)
		}
	}
	return nil
}
