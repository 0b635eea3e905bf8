package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// Separation says from which SLSA Build level on a provenance must be signed by
// somebody else than the producer: the run's identity as the provenance observed it.
type Separation struct {
	// From is the lowest level that demands it, 1 to 3; 2 when it is 0.
	From int `json:"from,omitempty"`
	// Exceptions name producers that may build and sign in one job.
	Exceptions []SeparationException `json:"exceptions,omitempty"`
}

// SeparationException lets a producer sign for itself. Its name shows among the
// reasons of every level that rests on it.
type SeparationException struct {
	// Name is unique in the policy.
	Name string `json:"name"`
	// Producer is a regular expression (RE2) for the producer's whole identity.
	Producer string `json:"producer"`
	// Reason says why the policy's owner accepts it.
	Reason string `json:"reason"`

	producer *regexp.Regexp
}

func (s *Separation) check() error {
	if s.From < 0 || s.From > provenance.MaxLevel {
		return fmt.Errorf("separation.from is %d: want a level from 1 to %d", s.From, provenance.MaxLevel)
	}
	seen := map[string]bool{}
	for i := range s.Exceptions {
		e := &s.Exceptions[i]
		at := fmt.Sprintf("separation.exceptions[%d]", i)
		switch {
		case !idPattern.MatchString(e.Name):
			return fmt.Errorf("%s: name %.60q is not lower-case words joined by dashes", at, e.Name)
		case seen[e.Name]:
			return fmt.Errorf("%s: name %s stands there twice", at, e.Name)
		case strings.TrimSpace(e.Reason) == "":
			return fmt.Errorf("%s: reason is missing: say why a producer may sign for itself", at)
		case e.Producer == "":
			return fmt.Errorf("%s: producer is missing: a regular expression for its whole identity", at)
		}
		seen[e.Name] = true
		// Compiled alone first: what closes our group must not open another.
		if _, err := regexp.Compile(e.Producer); err != nil {
			return fmt.Errorf("%s: producer: %w", at, err)
		}
		e.producer = regexp.MustCompile(`\A(?:` + e.Producer + `)\z`)
	}
	return nil
}

func (s *Separation) excepted(producer string) (string, bool) {
	for _, e := range s.Exceptions {
		if e.producer.MatchString(producer) {
			return fmt.Sprintf("%s (%s)", e.Name, e.Reason), true
		}
	}
	return "", false
}
