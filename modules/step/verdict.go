package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// refused is pathctl's exit code for a gate that refused.
const refused = 3

// verdict is what this module reads of pathctl's.
type verdict struct {
	Reference string
	Digest    string
	Passed    bool
	Level     struct {
		Build   int
		Reasons []struct {
			Level     int
			Need, Why string
			Holds     bool
		}
	}
	Findings []struct {
		Rule, Severity, Reason, Fix string
		Details                     []string
		Waived                      bool
	}
}

func (v verdict) judgement() *Judgement {
	j := &Judgement{Reference: v.Reference, Digest: v.Digest, Passed: v.Passed, Level: v.Level.Build}
	for _, r := range v.Level.Reasons {
		mark := "-"
		if r.Holds {
			mark = "+"
		}
		j.Reasons = append(j.Reasons, fmt.Sprintf("%s L%d %s: %s", mark, r.Level, r.Need, r.Why))
	}
	for _, f := range v.Findings {
		state := f.Severity
		if f.Waived {
			state = "waived"
		}
		text := fmt.Sprintf("%s %s: %s", state, f.Rule, f.Reason)
		for _, d := range f.Details {
			text += "\n  " + d
		}
		if !f.Waived && f.Fix != "" {
			text += "\n  fix: " + f.Fix
		}
		j.Findings = append(j.Findings, text)
	}
	return j
}

// message is the error that pathctl wrote as JSON, for people.
func message(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	var e struct{ Error string }
	if json.Unmarshal([]byte(lines[len(lines)-1]), &e) == nil && e.Error != "" {
		return e.Error
	}
	return strings.TrimSpace(stderr)
}
