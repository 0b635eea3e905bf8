package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/claims"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// statement is one piece of evidence about to be signed.
type statement struct {
	Type evidence.Type
	Tier evidence.Tier
	// On are the images that the referrer hangs on.
	On []v1.Descriptor
	// Bytes are the in-toto Statement.
	Bytes []byte
	// Apart is the predicate that they refer to, and goes beside them; nil if they hold
	// it themselves.
	Apart []byte
}

// signed is the predicate type of the statement itself.
func (s statement) signed() evidence.Type {
	if s.Apart != nil {
		return evidence.Reference
	}
	return s.Type
}

// state writes the statement about a subject, with the predicate inside or, if it is too
// large for that, apart.
func (s *statement) state(predicate json.RawMessage, about step.Subject) error {
	if len(predicate) > evidence.MaxInline {
		reference, err := evidence.Refer(s.Type, predicate, oci.DigestOf(predicate), about)
		if err != nil {
			return err
		}
		s.Apart = predicate
		if predicate, err = reference.Encode(); err != nil {
			return err
		}
	}
	var err error
	s.Bytes, err = evidence.New(s.signed(), predicate, about, s.Tier)
	return err
}

// statementsOf gives each piece of evidence its tier by where it was made: the
// producer's claims are reported, whatever they say of themselves.
func statementsOf(c claims.Claims, images []oci.Image, records []provenance.NodeRecord) ([]statement, error) {
	by := map[step.Digest]oci.Image{}
	for _, im := range images {
		by[im.Digest] = im
	}
	var all []statement
	add := func(e step.Evidence, tier func(evidence.Type) evidence.Tier) error {
		t, ok := evidence.Lookup(e.Type)
		if !ok {
			return fmt.Errorf("evidence of unknown type %.100q", e.Type)
		}
		if e.Subject == nil {
			return fmt.Errorf("%s names no subject", t.Name)
		}
		s := statement{Type: t, Tier: tier(t)}
		on := images // about the source, for instance
		if im, ok := by[e.Subject.Digest]; ok {
			on = []oci.Image{im}
		}
		for _, im := range on {
			s.On = append(s.On, im.Descriptor)
		}
		if err := s.state(e.Predicate, *e.Subject); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	}
	for _, im := range images {
		sig, err := evidence.SignatureV1{}.Encode()
		if err != nil {
			return nil, err
		}
		e := step.Evidence{Type: evidence.Signature.URI, Predicate: sig, Subject: &step.Subject{Name: c.Name, Digest: im.Digest}}
		if err := add(e, func(t evidence.Type) evidence.Tier { return tierOf(step.ZoneAttest, t) }); err != nil {
			return nil, err
		}
	}
	for _, rec := range records {
		for _, e := range rec.Evidence {
			if e.Subject == nil {
				e.Subject = &rec.Subject
			}
			if err := add(e, func(t evidence.Type) evidence.Tier { return tierOf(rec.Zone, t) }); err != nil {
				return nil, fmt.Errorf("%s: %w", rec.ID, err)
			}
		}
	}
	for _, report := range c.Reports {
		for _, e := range report.Evidence {
			// A producer reports on its source and its tests. What the attester
			// derives and observes itself, it takes from nobody.
			if e.Type != evidence.TestResult.URI {
				return nil, fmt.Errorf("claims: step %s reports %.100q; a producer's evidence is %s only", report.Step, e.Type, evidence.TestResult.URI)
			}
			if err := add(e, func(evidence.Type) evidence.Tier { return evidence.Reported }); err != nil {
				return nil, fmt.Errorf("claims of step %s: %w", report.Step, err)
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return order(all[i].Type) < order(all[j].Type) })
	return all, nil
}

func order(t evidence.Type) int {
	return slices.IndexFunc(evidence.Types(), func(o evidence.Type) bool { return o.URI == t.URI })
}
