package policy

import (
	"fmt"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// parseSecrets reads the SCAI report of a secret scan. Only the attributes that
// say "nothing found" make it clean; whatever else stands there is a finding, so
// that a report in other words never passes by mistake.
func parseSecrets(it *item) (fact, error) {
	p, err := evidence.ParseSCAI(it.Predicate)
	if err != nil {
		return fact{}, err
	}
	f := fact{findings: []record{}}
	clean := false
	for _, a := range p.Attributes {
		if a.Attribute == noSecretsAttribute {
			clean = true
			continue
		}
		where := ""
		if a.Target != nil {
			where = orElse(a.Target.Name, a.Target.URI)
		}
		rule, ok := a.Conditions["rule"].(string)
		if !ok {
			rule = a.Attribute
		}
		f.findings = append(f.findings, record{
			"image":    string(it.Image),
			"platform": it.platform,
			"ids":      []string{rule, fmt.Sprintf("%s@%s", rule, where)},
			"rule":     rule,
			"where":    where,
		})
	}
	f.rec = record{
		"clean":    clean && len(f.findings) == 0,
		"findings": int64(len(f.findings)),
	}
	return f, nil
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
