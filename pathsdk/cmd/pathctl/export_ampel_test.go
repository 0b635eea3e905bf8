//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestExportAmpel: the Go types of AMPEL's policies know all that is exported, and
// nothing in it lets anybody or anything pass. AMPEL itself is not run.
func TestExportAmpel(t *testing.T) {
	check := filepath.Join(os.Getenv("PATHS_VERIFIERS"), "ampel-check")
	golden, err := filepath.Glob("../../policy/export/testdata/TestWrite_ampel*.yaml")
	if err != nil || len(golden) < 2 {
		t.Fatalf("%q: %v", golden, err)
	}
	dir := t.TempDir()
	run := func(name, text string) (string, error) {
		file := filepath.Join(dir, name+".hjson")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(check, file).CombinedOutput()
		return string(out), err
	}
	// What one file has not, the other has.
	changes := map[string]struct{ from, to, want string }{
		"unknown field of the set": {`(?m)^  "id":`, `  "unknown": 1, "id":`, "unknown field"},
		"unknown field of a key":   {`"data":`, `"unknown": "1", "data":`, "unknown field"},
		"key":                      {`PUBLIC KEY-----\\n`, `${0}A`, "parsing key"},
		"no issuer":                {`"issuer": ".*"`, `"issuer": ""`, "no issuer"},
		"mode":                     {`"mode": "exact"`, `"mode": "any"`, `mode "any"`},
		"nobody is named":          {`(?s)"identities": \[.*?\n      \],`, ``, "want an id, identities and tenets"},
		"not enforced":             {`"enforce": "ON"`, `"enforce": "OFF"`, "and enforced"},
		"any tenet will do":        {`"assertMode": "AND"`, `"assertMode": "OR"`, "want all tenets"},
		"code that does not parse": {`predicates\.size\(\)`, `predicates.size(`, "Syntax error"},
		"code that always holds":   {`size\(\) > 0`, `size() >= 0`, "of 0 predicates"},
		"pattern":                  {`"\\\\A\(\?:`, `${0}(`, "error parsing regexp"},
	}
	used := map[string]bool{}
	for i, g := range golden {
		raw, err := os.ReadFile(g)
		if err != nil {
			t.Fatal(err)
		}
		head, text, _ := strings.Cut(string(raw), "\n")
		if head != "==> ampel.hjson" || strings.Contains(text, "\n==> ") {
			t.Fatalf("%s: want one file, ampel.hjson", g)
		}
		out, err := run(fmt.Sprint(i), text)
		if err != nil {
			t.Errorf("%s: %v\n%s", g, err, out)
		}
		t.Log(out)
		for name, c := range changes {
			if changed := regexp.MustCompile(c.from).ReplaceAllString(text, c.to); changed != text {
				used[name] = true
				if out, err := run("changed", changed); err == nil || !strings.Contains(out, c.want) {
					t.Errorf("%s: %s: that is not refused for %q, so the check means nothing\n%s", g, name, c.want, out)
				}
			}
		}
	}
	for name := range changes {
		if !used[name] {
			t.Errorf("%s: no file has what is changed", name)
		}
	}
}
