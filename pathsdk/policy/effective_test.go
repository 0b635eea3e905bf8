package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestEffectiveOn: a rule that comes into force later warns until then.
func TestEffectiveOn(t *testing.T) {
	source, err := policy.Source("microservice")
	if err != nil {
		t.Fatal(err)
	}
	with := func(date string) (*policy.Policy, error) {
		text := strings.Replace(string(source), "\nrules:\n", "\nrules:\n  - id: new-rule\n    expr: 1 > 2\n    reason: it is new\n    fix: do more\n    effectiveOn: "+date+"\n", 1)
		return policy.Parse([]byte(text))
	}
	p, err := with("2027-01-15")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ now, severity, from string }{
		{"2026-11-26T00:00:00Z", policy.SeverityWarning, "2027-01-15"},
		{"2027-01-14T23:59:59Z", policy.SeverityWarning, "2027-01-15"},
		{"2027-01-14T23:59:59-01:00", policy.SeverityError, ""}, // the day is UTC's
		{"2027-01-15T00:00:00Z", policy.SeverityError, ""},
		{"2030-01-01T00:00:00Z", policy.SeverityError, ""},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		digest := step.Digest("sha256:" + strings.Repeat("1", 64))
		v, err := policy.Judge(p, policy.Input{Reference: "x", Digest: digest, Now: now, Images: []policy.Image{{Digest: digest}}})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range v.Findings {
			if f.Rule != "new-rule" {
				continue
			}
			found = true
			if f.Severity != tt.severity || f.BlocksFrom != tt.from || strings.Contains(f.Reason, "2027-01-15") != (tt.from != "") {
				t.Errorf("at %s: %+v", tt.now, f)
			}
		}
		if !found {
			t.Errorf("at %s the rule found nothing", tt.now)
		}
	}
	for _, bad := range []string{"soon", "2027-13-01", "'2027-01-15T00:00:00Z'", "2027"} {
		if _, err := with(bad); err == nil || !strings.Contains(err.Error(), "effectiveOn") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
