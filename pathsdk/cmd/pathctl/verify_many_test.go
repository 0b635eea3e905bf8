package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/policy"
)

// withoutScan removes the scan from a layout, so that the policy refuses.
func withoutScan(t *testing.T, home, store string) {
	t.Helper()
	var all []listed
	if err := json.Unmarshal([]byte(pathctl(t, home, "evidence", "ls", "oci:"+store, "-o", "json").stdout), &all); err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.Type == evidence.Vulns.URI {
			if err := os.Remove(filepath.Join(store, "blobs", "sha256", l.Digest.Hex())); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no scan among %v", all)
}

func TestVerifyMany(t *testing.T) {
	home, good := shipOnce(t)
	_, bad := shipOnce(t)
	withoutScan(t, home, bad)
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		passed []bool // of each verdict, in order
		stderr string
	}{
		{"all pass", []string{good, good, good}, 0, []bool{true, true, true}, ""},
		{"one is refused", []string{good, bad, good}, 3, []bool{true, false, true}, bad + "@sha256:"},
		{"all are refused", []string{bad, bad}, 3, []bool{false, false}, bad + "@sha256:"},
		{"one can't be read", []string{good, nowhere, bad}, 1, []bool{true, false}, "oci:" + nowhere + ": "},
		{"none can be read", []string{nowhere, nowhere}, 1, nil, "oci:" + nowhere + ": "},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "verdicts.json")
			args := []string{"verify", "-o", "json", "--out", out}
			for _, dir := range c.args {
				args = append(args, "oci:"+dir)
			}
			res := pathctl(t, home, args...)
			if res.code != c.code || !strings.Contains(res.stderr, c.stderr) {
				t.Errorf("exit %d, want %d and %q in:\n%s", res.code, c.code, c.stderr, res.stderr)
			}
			if c.passed == nil {
				if _, err := os.Stat(out); err == nil || res.stdout != "" {
					t.Errorf("nothing was judged, but there are results:\n%s", res.stdout)
				}
				return
			}
			written, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			for from, text := range map[string]string{"standard output": res.stdout, "--out": string(written)} {
				var verdicts []policy.Verdict
				if err := json.Unmarshal([]byte(text), &verdicts); err != nil {
					t.Fatalf("%s: %v\n%s", from, err, text)
				}
				if len(verdicts) != len(c.passed) {
					t.Fatalf("%s: %d verdicts, want %d", from, len(verdicts), len(c.passed))
				}
				for i, v := range verdicts {
					if v.Passed != c.passed[i] {
						t.Errorf("%s: verdict %d on %s: passed is %v", from, i, v.Reference, v.Passed)
					}
				}
			}
		})
	}
}

// One image gives an object, as before there could be several.
func TestVerifyOneIsNoList(t *testing.T) {
	home, store := shipOnce(t)
	res := pathctl(t, home, "verify", "-o", "json", "oci:"+store)
	var v policy.Verdict
	if err := json.Unmarshal([]byte(res.stdout), &v); err != nil || res.code != 0 || !v.Passed {
		t.Errorf("exit %d, %v\n%s%s", res.code, err, res.stdout, res.stderr)
	}
}

func TestReportOfManyIsRefused(t *testing.T) {
	home, store := shipOnce(t)
	res := pathctl(t, home, "verify", "oci:"+store, "oci:"+store, "--report", filepath.Join(t.TempDir(), "report.html"))
	if res.code != 2 || !strings.Contains(res.stderr, "--report") {
		t.Errorf("exit %d\n%s", res.code, res.stderr)
	}
}
