package policy

import (
	"fmt"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// parseSecrets reads the SCAI report of a secret scan, which is one assertion:
// the scan ran, and these are its findings. Whatever else stands there is not
// understood, and so no evidence.
func parseSecrets(it *item) (fact, error) {
	p, err := evidence.ParseSCAI(it.Predicate)
	if err != nil {
		return fact{}, err
	}
	if len(p.Attributes) != 1 || p.Attributes[0].Attribute != secretsAttribute {
		return fact{}, fmt.Errorf("scai predicate: want the attribute %s alone", secretsAttribute)
	}
	c := notes{m: p.Attributes[0].Conditions}
	list, ok := c.m["secrets"].([]any)
	if !ok {
		return fact{}, fmt.Errorf("scai predicate: conditions.secrets is no list")
	}
	if n, ok := count(c.m["findings"]); !ok || n != int64(len(list)) {
		return fact{}, fmt.Errorf("scai predicate: conditions.findings is not the number of secrets, %d", len(list))
	}
	image, source := c.object("image"), c.object("source")
	imageFiles, ok1 := count(image.m["files"])
	sourceFiles, ok2 := count(source.m["files"])
	if !ok1 || !ok2 {
		return fact{}, fmt.Errorf("scai predicate: conditions do not say how many files of image and source were scanned")
	}
	f := fact{findings: make([]record, 0, len(list))}
	for i, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			return fact{}, fmt.Errorf("scai predicate: conditions.secrets[%d] is no object", i)
		}
		s := notes{m: m}
		rule, file := s.text("rule"), s.text("file")
		if s.err != nil {
			return fact{}, fmt.Errorf("scai predicate: conditions.secrets[%d]: %w", i, s.err)
		}
		where := fmt.Sprintf("%s of the %s", file, s.text("target"))
		if n, ok := count(m["line"]); ok && n > 0 {
			where += fmt.Sprintf(", line %d", n)
		}
		f.findings = append(f.findings, record{
			"image":    string(it.Image),
			"platform": it.platform,
			"ids":      []string{rule + "@" + file, rule},
			"rule":     rule,
			"where":    where,
		})
	}
	f.rec = record{
		"findings":    int64(len(list)),
		"source":      c.text("sourceDigest"),
		"imageFiles":  imageFiles,
		"sourceFiles": sourceFiles,
		"truncated":   image.flag("truncated") || source.flag("truncated"),
	}
	for _, n := range []notes{c, image, source} {
		if n.err != nil {
			return fact{}, fmt.Errorf("scai predicate: conditions: %w", n.err)
		}
	}
	return f, nil
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
