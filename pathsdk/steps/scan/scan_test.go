package scan

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
)

func amd64(bom string) map[string]string { return map[string]string{"linux/amd64": bom} }

func TestVulnerabilities(t *testing.T) {
	f := newFixture(t, amd64(sbomOf("", goService...)), nil)
	out, report, _ := f.ok(t)
	want := []Finding{
		{ID: "CVE-2024-45337", Aliases: []string{"GHSA-v778-237x-gjrc"}, Package: "golang.org/x/crypto", PURL: "pkg:golang/golang.org/x/crypto@v0.30.0",
			Version: "v0.30.0", FixedVersion: "0.31.0", Severity: "critical", SeveritySource: "ghsa",
			URL: "https://avd.aquasec.com/nvd/cve-2024-45337", CVSS: 9.1, CVSSVector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N"},
		{ID: "CVE-2024-45338", Aliases: []string{"GHSA-w32m-9786-jp63"}, Package: "golang.org/x/net", PURL: "pkg:golang/golang.org/x/net@v0.17.0",
			Version: "v0.17.0", FixedVersion: "0.33.0", Severity: "high", SeveritySource: "ghsa", URL: "https://avd.aquasec.com/nvd/cve-2024-45338"},
		{ID: "CVE-2025-22869", Aliases: []string{"GHSA-hcg3-q754-cr77"}, Package: "golang.org/x/crypto", PURL: "pkg:golang/golang.org/x/crypto@v0.30.0",
			Version: "v0.30.0", FixedVersion: "0.35.0", Severity: "high", SeveritySource: "ghsa", URL: "https://avd.aquasec.com/nvd/cve-2025-22869"},
		{ID: "CVE-2025-30204", Aliases: []string{"GHSA-mh63-6h87-95cp"}, Package: "github.com/golang-jwt/jwt/v4", PURL: "pkg:golang/github.com/golang-jwt/jwt/v4@v4.5.0",
			Version: "v4.5.0", FixedVersion: "4.5.2", Severity: "high", SeveritySource: "ghsa", URL: "https://avd.aquasec.com/nvd/cve-2025-30204"},
		{ID: "GHSA-m425-mq94-257g", Package: "google.golang.org/grpc", PURL: "pkg:golang/google.golang.org/grpc@v1.57.0",
			Version: "v1.57.0", FixedVersion: "1.56.3, 1.57.1, 1.58.3", Severity: "high", SeveritySource: "ghsa",
			URL: "https://github.com/advisories/GHSA-m425-mq94-257g", CVSS: 7.5, CVSSVector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"},
		{ID: "CVE-2025-22870", Aliases: []string{"GHSA-qxp5-gwg8-xv66"}, Package: "golang.org/x/net", PURL: "pkg:golang/golang.org/x/net@v0.17.0",
			Version: "v0.17.0", FixedVersion: "0.36.0", Severity: "medium", SeveritySource: "ghsa", URL: "https://avd.aquasec.com/nvd/cve-2025-22870"},
		{ID: "CVE-2024-51744", Aliases: []string{"GHSA-29wx-vh33-7x7r"}, Package: "github.com/golang-jwt/jwt/v4", PURL: "pkg:golang/github.com/golang-jwt/jwt/v4@v4.5.0",
			Version: "v4.5.0", FixedVersion: "4.5.1", Severity: "low", SeveritySource: "ghsa", URL: "https://avd.aquasec.com/nvd/cve-2024-51744",
			CVSS: 3.1, CVSSVector: "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N"},
	}
	got := report.Platforms[0].Findings
	for i := range got {
		if got[i].Title == "" {
			t.Errorf("%s has no title", got[i].ID)
		}
		got[i].Title = ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	counts := []int{out.Critical, out.High, out.Medium, out.Low, out.Unknown, out.Secrets}
	if diff := cmp.Diff([]int{1, 4, 1, 1, 0, 0}, counts); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(f.log.String(), "small one") {
		t.Error("nothing says that the database is the small one")
	}
}

func TestEvidence(t *testing.T) {
	f := newFixture(t, map[string]string{"linux/amd64": sbomOf("", goService...), "linux/arm/v7": sbomOf("")},
		[]file{{"etc/app.conf", "token = " + githubToken + "\n"}})
	out, report, ev := f.ok(t)
	if len(ev) != 4 || out.Digest != f.in.Image {
		t.Fatalf("%d pieces of evidence about %s", len(ev), out.Digest)
	}
	for i, p := range report.Platforms {
		subject := step.Subject{Name: p.Platform, Digest: p.Digest}
		vulns, secrets := ev[2*i], ev[2*i+1]
		for _, e := range []step.Evidence{vulns, secrets} {
			if diff := cmp.Diff(&subject, e.Subject); diff != "" {
				t.Error(diff)
			}
		}
		v, err := evidence.ParseVulns(vulns.Predicate)
		if err != nil {
			t.Fatal(err)
		}
		if vulns.Type != "https://in-toto.io/attestation/vulns/v0.2" || v.Scanner.URI != "pkg:golang/github.com/aquasecurity/trivy@v0.70.0" {
			t.Errorf("type %s, scanner %s", vulns.Type, v.Scanner.URI)
		}
		want := evidence.VulnDB{URI: "oci://registry.example/vulndb:2#small", Version: string(f.in.DBDigest), LastUpdate: now}
		if diff := cmp.Diff(want, v.Scanner.DB); diff != "" {
			t.Error(diff)
		}
		if len(v.Scanner.Result) != len(p.Findings) {
			t.Errorf("%d results, %d findings", len(v.Scanner.Result), len(p.Findings))
		}
		s, err := evidence.ParseSCAI(secrets.Predicate)
		if err != nil {
			t.Fatal(err)
		}
		c := s.Attributes[0].Conditions
		if s.Attributes[0].Attribute != SecretsScanned || c["findings"] != 1.0 && c["findings"] != int64(1) || c["sourceDigest"] != string(f.in.SourceDigest) {
			t.Errorf("secret scan: %+v", s.Attributes[0])
		}
	}
	// Policy and report read a finding from the predicate alone.
	v, err := evidence.ParseVulns(ev[0].Predicate)
	if err != nil {
		t.Fatal(err)
	}
	back := map[string]Finding{}
	for _, r := range v.Scanner.Result {
		b, err := json.Marshal(r.Annotations[0])
		if err != nil {
			t.Fatal(err)
		}
		one := Finding{ID: r.ID}
		if err := json.Unmarshal(b, &one); err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Severity {
			if s.Method != "cvss_score" {
				one.SeveritySource = s.Method
			}
		}
		back[one.ID+one.Package] = one
	}
	for _, want := range report.Platforms[0].Findings {
		want.CVSS = 0 // text in the predicate
		if diff := cmp.Diff(want, back[want.ID+want.Package]); diff != "" {
			t.Errorf("%s is not the same in the predicate:\n%s", want.ID, diff)
		}
	}
}

func TestLocalDatabaseURI(t *testing.T) {
	tests := []struct {
		db   DB
		want string
	}{
		{DB{Source: "ghcr.io/aquasecurity/trivy-db:2"}, "oci://ghcr.io/aquasecurity/trivy-db:2"},
		{DB{Source: "file:trivy-db"}, "file:trivy-db"},
		{DB{Source: "oci:store:tag", Small: 3}, "oci:store:tag#small"},
	}
	for _, tt := range tests {
		if got := dbURI(tt.db); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.db, got, tt.want)
		}
	}
}

func TestDistribution(t *testing.T) {
	advisories := t.TempDir()
	const record = "id: CVE-2024-6119\ntitle: t\nseverity: %s\naffected: [{ecosystem: alpine 3.20, package: openssl, fixed: [3.3.2-r0]}]\n"
	if err := os.WriteFile(filepath.Join(advisories, "a.yaml"), []byte(strings.Replace(record, "%s", "unknown", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	alpine := "pkg:apk/alpine/libssl3@3.3.1-r3?arch=x86_64&distro=alpine-3.20.1&upstream=openssl"
	f := newFixture(t, amd64(sbomOf("alpine 3.20.1", "pkg:apk/alpine/openssl@3.3.1-r3?arch=x86_64&distro=alpine-3.20.1", alpine)), nil)
	if _, err := trivydb.Make(advisories, string(f.in.DB), now); err != nil {
		t.Fatal(err)
	}
	out, report, _ := f.ok(t)
	p := report.Platforms[0]
	if diff := cmp.Diff(&OS{Family: "alpine", Name: "3.20.1"}, p.OS, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".EndOfLife" }, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	if out.Unknown == 0 || p.Findings[0].ID != "CVE-2024-6119" || p.Findings[0].Severity != "unknown" || p.Findings[0].FixedVersion != "3.3.2-r0" {
		t.Errorf("findings %+v", p.Findings)
	}

	f = newFixture(t, amd64(sbomOf("plan9 4", "pkg:apk/plan9/openssl@3.3.1-r3")), nil)
	if _, report, _ := f.ok(t); len(report.Platforms[0].Notes) != 1 || !strings.Contains(report.Platforms[0].Notes[0], "plan9") {
		t.Errorf("notes %q", report.Platforms[0].Notes)
	}
	f = newFixture(t, amd64(sbomOf("", "pkg:apk/alpine/openssl@3.3.1-r3")), nil)
	if _, report, _ := f.ok(t); len(report.Platforms[0].Notes) != 1 || !strings.Contains(report.Platforms[0].Notes[0], "no distribution") {
		t.Errorf("notes %q", report.Platforms[0].Notes)
	}
}

func TestDeterministic(t *testing.T) {
	f := newFixture(t, map[string]string{"linux/amd64": sbomOf("", goService...), "linux/arm64": sbomOf("", goService...)},
		[]file{{"a/key.txt", githubToken}, {"b/key.txt", awsKey}}, file{"deploy/c.env", slackToken}, file{"deploy/d.env", githubToken})
	var first []byte
	for i := range 5 {
		f.env.Out = t.TempDir()
		out, _, ev := f.ok(t)
		b, err := os.ReadFile(string(out.Findings))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ev {
			b = append(b, e.Predicate...)
		}
		if i == 0 {
			first = b
		}
		if diff := cmp.Diff(string(first), string(b)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestConcurrentScans(t *testing.T) {
	f := newFixture(t, amd64(sbomOf("", goService...)), []file{{"etc/x", githubToken}})
	g := newFixture(t, amd64(sbomOf("")), nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			one, want := *f, 7
			if i%2 == 1 {
				one, want = *g, 0
			}
			one.env.Out = t.TempDir()
			_, report, _, err := one.run(t)
			if err != nil || len(report.Platforms[0].Findings) != want {
				t.Errorf("run %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestBadInputs(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, f *fixture)
		want   string
		usage  bool
	}{
		"no SBOM":        {func(t *testing.T, f *fixture) { os.Remove(sbomPath(f)) }, "no SBOM", false},
		"garbled SBOM":   {func(t *testing.T, f *fixture) { os.WriteFile(sbomPath(f), []byte(`{"bomFormat":`), 0o644) }, "CycloneDX", false},
		"other document": {func(t *testing.T, f *fixture) { os.WriteFile(sbomPath(f), []byte(`[1]`), 0o644) }, "CycloneDX", false},
		"no database":    {func(t *testing.T, f *fixture) { f.in.DB = step.Dir(t.TempDir()) }, "database", false},
		"garbled database": {func(t *testing.T, f *fixture) {
			os.WriteFile(filepath.Join(string(f.in.DB), trivydb.DBFile), make([]byte, 1<<20), 0o644)
		}, "database", false},
		"bad date":      {func(t *testing.T, f *fixture) { f.in.DBUpdated = "yesterday" }, "dbUpdated", true},
		"no layout":     {func(t *testing.T, f *fixture) { f.in.Layout = step.Dir(t.TempDir()) }, "layout", false},
		"another image": {func(t *testing.T, f *fixture) { f.in.Image = oci.DigestOf([]byte("x")) }, "", false},
		"no source":     {func(t *testing.T, f *fixture) { f.in.Source = "/no/such" }, "source", false},
		"forged layer": {func(t *testing.T, f *fixture) {
			// The last byte that nobody would miss.
			names, _ := filepath.Glob(filepath.Join(string(f.in.Layout), "blobs", "sha256", "*"))
			for _, n := range names {
				if b, _ := os.ReadFile(n); len(b) > 2 && b[0] == 0x1f {
					b[4] ^= 1 // gzip's time: the content stays
					os.Chmod(n, 0o644)
					os.WriteFile(n, b, 0o644)
				}
			}
		}, "digest", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, amd64(sbomOf("", goService...)), []file{{"etc/motd", "hello, world"}})
			tt.change(t, f)
			_, _, _, err := f.run(t)
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, step.ErrUsage) != tt.usage {
				t.Errorf("err = %v, want %q (usage %v)", err, tt.want, tt.usage)
			}
		})
	}
}

func sbomPath(f *fixture) string { return filepath.Join(string(f.in.SBOMs), "linux-amd64.cdx.json") }

func TestTimes(t *testing.T) {
	f := newFixture(t, amd64(sbomOf("")), nil)
	at := now.Add(-time.Second)
	f.env.Now = func() time.Time { at = at.Add(time.Second); return at }
	_, _, ev := f.ok(t)
	v, err := evidence.ParseVulns(ev[0].Predicate)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Metadata.ScanStartedOn.Equal(now) || !v.Metadata.ScanFinishedOn.Equal(now.Add(time.Second)) || v.Scanner.Result == nil {
		t.Errorf("%+v", v.Metadata)
	}
}

func TestTrivyVersion(t *testing.T) {
	b, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\s*github.com/aquasecurity/trivy v(\S+)`).FindSubmatch(b)
	if m == nil || string(m[1]) != trivyVersion {
		t.Errorf("trivyVersion is %s, go.mod has %s", trivyVersion, m[1])
	}
}

func TestConformance(t *testing.T) {
	f := newFixture(t, map[string]string{"linux/amd64": sbomOf("", goService...), "linux/arm64": sbomOf("", goService...)},
		[]file{{"etc/token", githubToken}})
	f.write(t, "vex.json", vexDoc(vexStatement(crypto, `[{"@id":"pkg:golang/golang.org/x/crypto"}]`, notAffected)))
	f.in.VEX = []string{"vex.json"}
	raw, err := json.Marshal(f.in)
	if err != nil {
		t.Fatal(err)
	}
	var in map[string]any
	if err := json.Unmarshal(raw, &in); err != nil {
		t.Fatal(err)
	}
	steptest.Run(t, New(), steptest.Case{In: in})
}

func FuzzSBOM(f *testing.F) {
	f.Add(sbomOf("alpine 3.20", goService...))
	f.Add(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"bom-ref":"a","type":"library","name":"n","purl":"pkg:golang/n@v1"}],"dependencies":[{"ref":"a","dependsOn":["a"]}]}`)
	f.Add(`{"bomFormat":"CycloneDX","components":[{"components":[{}]}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		bom, err := decodeFrom(t.Context(), strings.NewReader(s))
		if err == nil {
			for _, a := range bom.Applications {
				for _, p := range a.Packages {
					if p.Identifier.PURL == nil {
						t.Errorf("package %s without purl", p.Name)
					}
				}
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	f := newFixture(b, amd64(sbomOf("", goService...)), []file{
		{"ko-app/shop", strings.Repeat("\x00binary program text that is large \x7f", 300000)}, {"etc/passwd", "root:x:0:0\n"},
	}, file{"main.go", strings.Repeat("// some source\n", 2000)}, file{"README.md", "# shop"})
	for b.Loop() {
		f.env.Out = b.TempDir()
		f.ok(b)
	}
}
