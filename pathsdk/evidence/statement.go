package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// StatementType is the type of every statement, in-toto Statement v1
// (spec/v1/statement.md).
const StatementType = "https://in-toto.io/Statement/v1"

// PayloadType is the DSSE payload type of a statement (spec/v1/envelope.md).
const PayloadType = "application/vnd.in-toto+json"

// Statement is a parsed in-toto Statement v1 about exactly one artifact.
type Statement struct {
	// PredicateType is the predicate's type URI, known or not.
	PredicateType string
	// Subject is the artifact that the statement is about.
	Subject step.Subject
	// Tier is what the statement claims for itself: empty if it claims none,
	// and never more than its signer may give (package attest checks that).
	Tier Tier
	// Predicate is the predicate's JSON object; a missing one is {}.
	Predicate json.RawMessage
}

type statement struct {
	Type          string               `json:"_type"`
	Subject       []ResourceDescriptor `json:"subject"`
	PredicateType string               `json:"predicateType"`
	Predicate     json.RawMessage      `json:"predicate"`
}

// New encodes a statement with predicate about s. It refuses a predicate that
// its own type's parser would: nothing malformed is ever signed. It refuses one of more
// than MaxInline bytes, too: Refer to it. The same arguments give the same bytes.
func New(t Type, predicate json.RawMessage, s step.Subject, tier Tier) ([]byte, error) {
	if _, err := step.ParseDigest(string(s.Digest)); err != nil {
		return nil, fmt.Errorf("%s statement: subject: %w", t.Name, err)
	}
	if tier.Rank() == 0 {
		return nil, fmt.Errorf("%s statement: tier %q is none of reported, derived, observed, reproduced", t.Name, tier)
	}
	if n := len(predicate); n > MaxInline {
		return nil, fmt.Errorf("%s statement: a predicate of %d bytes is more than the limit of %d, and is to be referred to", t.Name, n, MaxInline)
	}
	if err := Check(t, predicate); err != nil {
		return nil, err
	}
	b, err := json.Marshal(statement{
		Type: StatementType,
		Subject: []ResourceDescriptor{{
			Name:        s.Name,
			Digest:      SHA256(s.Digest),
			Annotations: map[string]any{TierAnnotation: string(tier)},
		}},
		PredicateType: t.URI,
		Predicate:     predicate,
	})
	if err != nil {
		return nil, fmt.Errorf("%s statement: %w", t.Name, err)
	}
	return b, nil
}

// ParseStatement reads a statement of at most MaxStatement bytes. It accepts
// exactly one subject, with a sha256 digest; the predicate must be an object,
// and is checked no further (Check and the parsers do that).
func ParseStatement(b []byte) (Statement, error) {
	var s statement
	if err := decode(b, MaxStatement, &s); err != nil {
		return Statement{}, fmt.Errorf("statement: %w", err)
	}
	if s.Type != StatementType {
		return Statement{}, fmt.Errorf("statement: _type is %.80q, want %s", s.Type, StatementType)
	}
	if s.PredicateType == "" {
		return Statement{}, errors.New("statement: predicateType is missing")
	}
	if len(s.Subject) != 1 {
		return Statement{}, fmt.Errorf("statement: %d subjects, want exactly one", len(s.Subject))
	}
	sub := s.Subject[0]
	d, err := step.ParseDigest("sha256:" + sub.Digest["sha256"])
	if err != nil {
		return Statement{}, fmt.Errorf("statement: subject: %w", err)
	}
	out := Statement{
		PredicateType: s.PredicateType,
		Subject:       step.Subject{Name: sub.Name, Digest: d},
		Predicate:     s.Predicate,
	}
	if v, ok := sub.Annotations[TierAnnotation]; ok {
		text, _ := v.(string)
		if out.Tier = Tier(text); out.Tier.Rank() == 0 {
			return Statement{}, fmt.Errorf("statement: tier %.40q is unknown", fmt.Sprint(v))
		}
	}
	if len(out.Predicate) == 0 {
		out.Predicate = json.RawMessage("{}")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(out.Predicate, " \t\r\n"), []byte("{")) {
		return Statement{}, errors.New("statement: predicate is not an object")
	}
	return out, nil
}

// Check runs the strict parser of type t on a predicate.
func Check(t Type, predicate json.RawMessage) error {
	var err error
	switch t.URI {
	case Provenance.URI:
		_, err = ParseProvenance(predicate)
	case VSA.URI:
		_, err = ParseVSA(predicate)
	case SPDX.URI:
		_, err = ParseSPDX(predicate)
	case CycloneDX.URI:
		_, err = ParseCycloneDX(predicate)
	case Vulns.URI:
		_, err = ParseVulns(predicate)
	case TestResult.URI:
		_, err = ParseTestResult(predicate)
	case SCAI.URI:
		_, err = ParseSCAI(predicate)
	case SVR.URI:
		_, err = ParseSVR(predicate)
	case Release.URI:
		_, err = ParseRelease(predicate)
	case Waiver.URI:
		_, err = ParseWaiver(predicate)
	case Signature.URI:
		err = ParseSignature(predicate)
	case Reference.URI:
		_, err = ParseReference(predicate)
	default:
		err = fmt.Errorf("predicate type %.80q is unknown", t.URI)
	}
	return err
}

// Predicate is implemented by every predicate struct of this package.
type Predicate interface {
	// Type is the predicate's type.
	Type() Type
	// Encode validates the predicate and encodes it: the same value gives the
	// same bytes, whatever order its lists were filled in.
	Encode() (json.RawMessage, error)
}

// Claim makes the unsigned evidence that a step returns. about may be nil for
// the subject of the step's output.
func Claim(p Predicate, about *step.Subject) (step.Evidence, error) {
	raw, err := p.Encode()
	if err != nil {
		return step.Evidence{}, err
	}
	return step.Evidence{Type: p.Type().URI, Predicate: raw, Subject: about}, nil
}
