package policy

import (
	"encoding/json"
	"testing"
)

func TestShippedPolicies(t *testing.T) {
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		results, err := Test(p, "shipped/"+name+"_test.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			t.Run(r.Name, func(t *testing.T) {
				for _, problem := range r.Problems {
					t.Error(problem)
				}
				if t.Failed() {
					f, _ := json.MarshalIndent(r.Verdict.Findings, "", "  ")
					t.Logf("%s", f)
				}
			})
		}
	}
}
