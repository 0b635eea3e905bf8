package depcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packages lists the packages of the SDK with their direct imports. -find
// leaves out everything that they import in turn.
func packages(t *testing.T) []Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-find", "-json=ImportPath,Name,Dir,GoFiles,Imports", SDK+"/...")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []Package
	for dec := json.NewDecoder(&stdout); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestSDK(t *testing.T) {
	pkgs := packages(t)
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages only", len(pkgs))
	}
	for _, found := range Check(pkgs) {
		t.Error(found)
	}
	for _, p := range pkgs {
		found, err := CheckSource(p)
		if err != nil {
			t.Error(err)
		}
		for _, f := range found {
			t.Error(f)
		}
	}
}

func TestCheck(t *testing.T) {
	const m = SDK + "/"
	tests := map[string]struct {
		pkg     string
		imports []string
		want    string // empty if it may
	}{
		"contract and std":        {"step", []string{"encoding/json"}, ""},
		"contract and library":    {"step", []string{"golang.org/x/mod/semver"}, "the standard library only"},
		"contract and ours":       {"step", []string{m + "evidence"}, "the standard library only"},
		"steptest and evidence":   {"step/steptest", []string{m + "evidence", "github.com/google/go-cmp/cmp"}, ""},
		"step":                    {"steps/sbom", []string{m + "step", m + "evidence", m + "oci", m + "claims", m + "internal/tree", m + "steps/sbom/x", "github.com/anchore/syft/syft"}, ""},
		"step and step":           {"steps/sbom", []string{m + "steps/scan"}, "nothing of other steps"},
		"step and runner":         {"steps/sbom", []string{m + "run"}, "nothing of other steps"},
		"step and attest":         {"steps/sbom", []string{m + "attest"}, "nothing of other steps"},
		"step and policy":         {"steps/scan", []string{m + "policy"}, "nothing of other steps"},
		"step and provenance":     {"steps/scan", []string{m + "provenance"}, "nothing of other steps"},
		"provenance step":         {"steps/provenance", []string{m + "provenance"}, ""},
		"provenance and scan":     {"steps/provenance", []string{m + "steps/scan"}, "turns facts into a predicate"},
		"path and catalog":        {"paths", []string{m + "catalog"}, "a path is data"},
		"catalog":                 {"catalog", []string{m + "steps/scan", m + "paths", m + "step"}, ""},
		"catalog and run":         {"catalog", []string{m + "run"}, "two lists"},
		"policy and attest":       {"policy", []string{m + "attest"}, "can't reach a key"},
		"policy and cel":          {"policy", []string{m + "provenance", "github.com/google/cel-go/cel"}, ""},
		"attest and policy":       {"attest", []string{m + "policy"}, "judges nothing"},
		"evidence and attest":     {"evidence", []string{m + "attest"}, "one way"},
		"run and a step":          {"run", []string{m + "steps/scan"}, "from the catalog alone"},
		"run and attest":          {"run", []string{m + "attest"}, "no key"},
		"internal and run":        {"internal/tree", []string{m + "run"}, "serves those above"},
		"service and catalog":     {"service", []string{m + "catalog"}, "must not cost"},
		"cmd may":                 {"cmd/pathctl", []string{m + "run", m + "attest", m + "policy", m + "catalog", "github.com/charmbracelet/bubbletea"}, ""},
		"syft elsewhere":          {"oci", []string{"github.com/anchore/syft/syft/sbom"}, "one importer for each heavy library"},
		"trivy in scan":           {"steps/scan", []string{"github.com/aquasecurity/trivy/pkg/sbom", "github.com/aquasecurity/trivy-db/pkg/db"}, ""},
		"trivy elsewhere":         {"cmd/pathctl", []string{"github.com/aquasecurity/trivy-db/pkg/db"}, "one importer"},
		"trivy-java is another":   {"oci", []string{"github.com/aquasecurity/trivy-java-db/pkg/db"}, ""},
		"cosign elsewhere":        {"run", []string{"github.com/sigstore/cosign/v2/pkg/cosign"}, "one importer"},
		"sigstore-go elsewhere":   {"policy", []string{"github.com/sigstore/sigstore-go/pkg/verify"}, "one importer"},
		"a KMS elsewhere":         {"cmd/pathctl", []string{"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"}, "one importer"},
		"slsa-verifier elsewhere": {"attest", []string{"github.com/slsa-framework/slsa-verifier/v2/verifiers/utils"}, "one importer"},
		"slsa-verifier in legacy": {"attest/legacy", []string{m + "attest", "github.com/sigstore/sigstore-go/pkg/verify", "github.com/slsa-framework/slsa-verifier/v2/verifiers/utils"}, ""},
		"ko elsewhere":            {"steps/publish", []string{"github.com/google/ko/pkg/build"}, "one importer"},
		"landlock elsewhere":      {"steps/build", []string{"github.com/landlock-lsm/go-landlock/landlock"}, "one importer"},
		"landlock in the fence":   {"run/fence", []string{"github.com/landlock-lsm/go-landlock/landlock"}, ""},
		"cel elsewhere":           {"service", []string{"github.com/google/cel-go/cel"}, "one importer"},
		"bubbletea elsewhere":     {"run", []string{"github.com/charmbracelet/bubbletea"}, "one importer"},
		"a name that says nought": {"internal/util", nil, "says nothing"},
		"deeper":                  {"run/common/x", nil, "says nothing"},
		"a prefix is no package":  {"stepsister", []string{m + "run"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found := strings.Join(Check([]Package{{ImportPath: m + tt.pkg, Name: filepath.Base(tt.pkg), Imports: tt.imports}}), "\n")
			if tt.want == "" && found != "" || !strings.Contains(found, tt.want) {
				t.Errorf("got %q, want %q", found, tt.want)
			}
		})
	}
}

func TestCheckSource(t *testing.T) {
	for code, tt := range map[string]struct{ pkg, want string }{
		`import "fmt"; func f() { fmt.Println() }`: {"cmd/pathctl", "uses fmt.Println"},
		`import f "fmt"; func g() { f.Print() }`:   {"run", "uses fmt.Print"},
		`import "log"; var l = log.Default()`:      {"run", "imports log"},
		`import "log"; var m = log.Default()`:      {"cmd/pathctl", ""},
		`import "os"; var w = os.Stderr`:           {"oci", "only cmd"},
		`import "os"; var x = os.Stderr`:           {"cmd/pathctl", ""},
		`import "os"; var y = os.Getenv("HOME")`:   {"run", "only run/host"},
		`import "os"; var z = os.Getenv("HOME")`:   {"run/host", ""},
		`import "os"; var a = os.Environ()`:        {"cmd/pathctl", "only run/host"},
		`import "os"; var b = os.Environ()`:        {"step/steptest", ""},
		`func init() {}`:                           {"oci", "init function"},
		`type t int; func (t) init() {}`:           {"oci", ""},
		`import "log/slog"; var c = slog.Default`:  {"oci", ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte("package x; "+code), 0o644); err != nil {
			t.Fatal(err)
		}
		list, err := CheckSource(Package{ImportPath: SDK + "/" + tt.pkg, Dir: dir, GoFiles: []string{"x.go"}})
		found := strings.Join(list, "\n")
		if err != nil || tt.want == "" && found != "" || !strings.Contains(found, tt.want) {
			t.Errorf("%s in %s: got %q, %v, want %q", code, tt.pkg, found, err, tt.want)
		}
	}
}
