package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// line is text from outside on a line of its own: it can't end the line, nor move the
// cursor.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		return r
	}, clean(s))
}

// writeVerdict prints a verdict for people: outcome, level, findings, waivers.
func writeVerdict(w io.Writer, passed bool, level policy.Level, findings []policy.Finding, waivers []policy.Waiver, kev string) {
	outcome := "PASSED"
	if !passed {
		outcome = "FAILED"
	}
	fmt.Fprintf(w, "verdict    %s\n", outcome)
	fmt.Fprintf(w, "level      SLSA Build L%d, computed from observed facts\n", level.Build)
	for _, r := range level.Reasons {
		mark := "+"
		if !r.Holds {
			mark = "-"
		}
		fmt.Fprintf(w, "           %s L%d %s: %s\n", mark, r.Level, line(r.Need), line(r.Why))
	}
	fmt.Fprintf(w, "KEV        %s\n", line(kev))
	for _, f := range findings {
		state := f.Severity
		if f.Waived {
			state = "waived"
		}
		fmt.Fprintf(w, "%-10s %s: %s\n", state, line(f.Rule), line(f.Reason))
		for i, d := range f.Details {
			if i == 10 {
				fmt.Fprintf(w, "           … and %d more; -o json shows all\n", len(f.Details)-i)
				break
			}
			fmt.Fprintf(w, "           %s\n", line(d))
		}
		if !f.Waived {
			fmt.Fprintf(w, "           fix: %s\n", line(f.Fix))
		}
	}
	for _, x := range waivers {
		state := x.State
		if x.Why != "" {
			state += ", " + x.Why
		}
		fmt.Fprintf(w, "waiver     %s until %s (%s), by %s: %s\n", line(x.ID), line(x.Expires), line(state), line(x.By()), line(x.Reason))
	}
}

func writeEvidence(w io.Writer, evidence []policy.EvidenceStatus) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nEVIDENCE\tON\tTIER\tSIGNER\tSTATUS\tREFERRER")
	for _, e := range evidence {
		status := e.Status
		if e.Why != "" {
			status += ": " + line(e.Why)
		}
		if e.From != "" {
			status += ", in " + line(e.From)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", shortType(e.Type), e.Subject.Short(), e.Tier, e.Signer, status, e.Digest.Short())
	}
	t.Flush()
	said := map[string]bool{}
	for _, e := range evidence {
		if e.Identity == nil {
			continue
		}
		who := fmt.Sprintf("%s is %s, by issuer %s", e.Signer, line(e.Identity.Subject), line(e.Identity.Issuer))
		if !said[who] {
			said[who] = true
			fmt.Fprintln(w, who)
		}
	}
}

// gateOf makes a failed verdict the error that exits with 3.
func gateOf(v policy.Verdict) error {
	if v.Passed {
		return nil
	}
	gate := &step.GateError{Gate: "policy " + v.Policy.Name, Fix: "see the fix of each finding above"}
	for _, f := range v.Findings {
		if f.Severity == "error" && !f.Waived {
			gate.Findings = append(gate.Findings, line(f.Rule+": "+f.Reason))
		}
	}
	return gate
}
