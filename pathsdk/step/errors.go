package step

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUsage marks errors that the caller can mend by giving other inputs. The
// command line exits with 2.
var ErrUsage = errors.New("usage")

// Usagef returns an error that wraps ErrUsage. The text names the input, the
// cause and what to do next; it does not repeat the word usage.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ error }

func (e *usageError) Unwrap() []error { return []error{ErrUsage, e.error} }

// GateError says that the step ran, and that what it found may not pass. The
// command line exits with 3 and shows the findings.
type GateError struct {
	// Gate names what refused, such as "tests" or "sbom completeness".
	Gate string
	// Findings say what was found, one line each.
	Findings []string
	// Fix says what to do next.
	Fix string
}

// Error joins gate, findings and fix; at most five findings are spelled out.
func (e *GateError) Error() string {
	shown, more := e.Findings, 0
	if len(shown) > 5 {
		more = len(shown) - 5
		shown = shown[:5]
	}
	s := e.Gate + ": " + strings.Join(shown, "; ")
	if more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	if e.Fix != "" {
		s += "\n  fix: " + e.Fix
	}
	return s
}
