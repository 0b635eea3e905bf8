// Package reporttest makes data for tests of reports: a verdict that the shipped
// policy really gave, on evidence in the form that the steps make, of any size.
package reporttest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/report"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Image is what the data is about.
type Image struct {
	// Packages and Vulns are how many of each the image has.
	Packages, Vulns int
	// Platforms are its platforms; more than one make an index.
	Platforms []string
	// Name prefixes the names of packages, tests and the rest that comes from
	// outside.
	Name string
	// Bad lets tests, secret scan and policy fail.
	Bad bool
}

// Now is the time of judgement.
func Now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// Data judges the image.
func Data(t testing.TB, im Image) report.Data {
	t.Helper()
	p, err := policy.Load("microservice")
	if err != nil {
		t.Fatal(err)
	}
	in := im.input(t)
	v, err := policy.Judge(p, in)
	if err != nil {
		t.Fatal(err)
	}
	if v.Passed == im.Bad {
		t.Fatalf("passed is %t: %v", v.Passed, v.Findings)
	}
	return report.Data{Verdict: v, Path: paths.Microservice(), Steps: Steps(), Timings: timings(im.Bad), Generated: Now().Add(time.Second)}
}

// Digest of a name.
func Digest(name string) step.Digest {
	sum := sha256.Sum256([]byte(name))
	return step.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Steps are the specs of the path's steps, as far as a report needs them.
func Steps() map[string]step.Spec {
	all := map[string]step.Spec{}
	for _, s := range []step.Meta{
		{Name: "fetch", Zone: step.ZoneFetch, Summary: "Pins and downloads the inputs."},
		{Name: "test", Zone: step.ZoneBuild, Summary: "Runs the service's tests.", Evidence: []string{evidence.TestResult.URI}},
		{Name: "build", Zone: step.ZoneBuild, Summary: "Compiles the service into an image."},
		{Name: "custom", Zone: step.ZoneBuild, Summary: "Runs a command of the service's own.", Evidence: []string{evidence.TestResult.URI}},
		{Name: "publish", Zone: step.ZonePublish, Summary: "Hands image and claims over, by digest."},
		{Name: "receive", Zone: step.ZoneAttest, Summary: "Checks image and claims against their digests."},
		{Name: "vulndb", Zone: step.ZoneAttest, Summary: "Makes a vulnerability database available."},
		{Name: "sbom", Zone: step.ZoneAttest, Summary: "Lists every package.", Evidence: []string{evidence.SPDX.URI, evidence.CycloneDX.URI}},
		{Name: "scan", Zone: step.ZoneAttest, Summary: "Looks for vulnerabilities and secrets.", Evidence: []string{evidence.Vulns.URI, evidence.SCAI.URI}},
		{Name: "provenance", Zone: step.ZoneAttest, Summary: "Observes how the image was built.", Evidence: []string{evidence.Provenance.URI}},
	} {
		all[s.Name] = step.Spec{Meta: s}
	}
	return all
}

func timings(bad bool) []report.Timing {
	start := Now().Add(-time.Minute)
	at := func(node string, zone step.Zone, result string, from, ms int) report.Timing {
		return report.Timing{Node: node, Zone: string(zone), Result: result, Started: start.Add(time.Duration(from) * time.Millisecond), Elapsed: time.Duration(ms) * time.Millisecond}
	}
	test := "passed"
	if bad {
		test = "failed"
	}
	return []report.Timing{
		at("fetch", step.ZoneFetch, "passed", 0, 412),
		at("test", step.ZoneBuild, test, 413, 2210),
		at("build", step.ZoneBuild, "cached", 413, 6),
		at("publish", step.ZonePublish, "passed", 2624, 38),
		at("vulndb", step.ZoneAttest, "passed", 2670, 210),
		at("receive", step.ZoneAttest, "passed", 2671, 22),
		at("sbom", step.ZoneAttest, "passed", 2694, 61),
		at("provenance", step.ZoneAttest, "passed", 2882, 4),
		at("scan", step.ZoneAttest, "passed", 2883, 31),
		at("sign", step.ZoneAttest, "passed", 2915, 19),
	}
}

func (im Image) input(t testing.TB) policy.Input {
	in := policy.Input{Now: Now()}
	platforms := im.Platforms
	if len(platforms) == 0 {
		platforms = []string{"linux/amd64"}
	}
	if len(platforms) > 1 {
		in.Images = append(in.Images, policy.Image{Digest: Digest("index"), Index: true})
	}
	for _, p := range platforms {
		in.Images = append(in.Images, policy.Image{Digest: Digest(p), Platform: p})
	}
	in.Digest = in.Images[0].Digest
	in.Reference = "oci:examples/orders" + im.Name + "/.paths/store@" + string(in.Digest)
	add := func(on policy.Image, typ evidence.Type, tier evidence.Tier, p evidence.Predicate) {
		raw := json.RawMessage("{}")
		if p != nil {
			var err error
			if raw, err = p.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		in.Attestations = append(in.Attestations, im.attestation(on, typ, tier, raw))
	}
	for _, on := range in.Images {
		add(on, evidence.Signature, evidence.Derived, nil)
		add(on, evidence.Provenance, evidence.Observed, im.provenance())
		add(on, evidence.TestResult, evidence.Reported, im.tests())
		if on.Index {
			continue
		}
		add(on, evidence.Vulns, evidence.Derived, im.vulns(Now().Add(-time.Hour)))
		add(on, evidence.SCAI, evidence.Derived, im.secrets())
		in.Attestations = append(in.Attestations,
			im.attestation(on, evidence.SPDX, evidence.Derived, im.spdx(t)),
			im.attestation(on, evidence.CycloneDX, evidence.Derived, im.cyclonedx(t)))
	}
	last := in.Images[len(in.Images)-1]
	// Beside it: an old scan, one by a stranger, and one that is broken.
	old, err := im.vulns(Now().Add(-3 * time.Hour)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	superseded := im.attestation(last, evidence.Vulns, evidence.Derived, old)
	superseded.Digest = Digest(im.Name + "old")
	foreign := superseded
	foreign.Digest, foreign.Foreign, foreign.Signer = Digest(im.Name+"foreign"), true, ""
	broken := superseded
	broken.Digest, broken.Err = Digest(im.Name+"broken"), errors.New("the signature does not fit the statement"+im.Name)
	in.Attestations = append(in.Attestations, superseded, foreign, broken)
	return in
}

func (im Image) attestation(on policy.Image, typ evidence.Type, tier evidence.Tier, raw json.RawMessage) policy.Attestation {
	a := policy.Attestation{
		Digest: Digest(im.Name + typ.Name + string(on.Digest)), Image: on.Digest, Type: typ.URI, Subject: on.Digest,
		Signer: "attester", Roles: []string{"attester"}, MaxTier: evidence.Observed, MaxBuildLevel: 1, Tier: tier, Predicate: raw,
	}
	if typ == evidence.TestResult {
		a.Subject = Digest("source")
	}
	return a
}

func (im Image) provenance() evidence.ProvenanceV1 {
	source := Digest("source")
	param := func(v any) json.RawMessage {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err) // values of this file
		}
		return raw
	}
	deps := []evidence.ResourceDescriptor{
		{Name: "source", Digest: evidence.SHA256(source), MediaType: "application/x-tar"},
		{Name: "revision", URI: "git+https://example.com/team/orders@4c76bb580b2736d67751410fa4ab66d2b6b9b27d", Digest: map[string]string{"gitCommit": "4c76bb580b2736d67751410fa4ab66d2b6b9b27d"}},
		{Name: "base image", URI: "scratch", Digest: evidence.SHA256(Digest("base"))},
		{Name: "toolchain", URI: "pkg:generic/go@1.26.8", Digest: evidence.SHA256(Digest("go"))},
		{Name: "vulnerability database", URI: "mirror.gcr.io/aquasec/trivy-db:2", Digest: evidence.SHA256(Digest("db"))},
		{Name: "pathctl", URI: "pkg:golang/github.com/pavedpaths/paths@v0.1.0#pathsdk/cmd/pathctl", Digest: evidence.SHA256(Digest("pathctl"))},
	}
	for i := range im.Packages {
		p := im.pkg(i)
		deps = append(deps, evidence.ResourceDescriptor{Name: p.name, URI: p.purl, Digest: map[string]string{"dirHash": Digest(p.name).Hex()}})
	}
	started, finished := Now().Add(-time.Minute), Now().Add(-57*time.Second)
	return evidence.ProvenanceV1{
		BuildDefinition: evidence.BuildDefinition{
			BuildType: "https://github.com/pavedpaths/paths/buildtypes/path/v1",
			ExternalParameters: map[string]json.RawMessage{
				"path": param("microservice"), "version": param("0.1.0"),
				"inputs": param(map[string]any{
					"source": source, "revision": "4c76bb580b2736d67751410fa4ab66d2b6b9b27d", "repository": "https://example.com/team/orders" + im.Name,
					"dirty": true, "platforms": im.Platforms, "base": "scratch", "minCoverage": 60,
				}),
				"config": param(map[string]any{
					"apiVersion": "pavedpaths.dev/v1", "kind": "Service", "path": "microservice",
					"waivers": []any{
						map[string]any{"id": "CVE-2026-10000", "reason": "no listener on that port" + im.Name, "expires": "2026-03-31"},
						map[string]any{"id": "CVE-2025-0001", "reason": "waiting for upstream", "expires": "2026-01-31"},
					},
				}),
			},
			InternalParameters: map[string]json.RawMessage{
				"facts": param([]map[string]string{
					{"name": "host", "value": "workstation", "how": "the runner was started from a command line, without a hosted platform around it"},
					{"name": "provenance.source", "value": "runner", "how": "the record was written by the runner on the same machine; nothing else vouches for it"},
					{"name": "build.fence", "value": "landlock+namespaces", "how": "the kernel applied it to the child before any user code ran"},
					{"name": "build.network", "value": "none", "how": "the kernel gave the child a network of its own"},
					{"name": "build.keys", "value": "unreachable", "how": "keys, step cache and store lie outside of the fence"},
					{"name": "build.caches", "value": "shared", "how": "Go's build cache on this machine survives from one build to the next"},
					{"name": "build.ephemeral", "value": "false", "how": "the machine outlives the build"},
				}),
			},
			ResolvedDependencies: deps,
		},
		RunDetails: evidence.RunDetails{
			Builder:  evidence.Builder{ID: "https://github.com/pavedpaths/paths/builders/workstation/v1", Version: map[string]string{"pathctl": "v0.1.0"}},
			Metadata: &evidence.BuildMetadata{InvocationID: "8d0c7f4e2b1a4c55", StartedOn: &started, FinishedOn: &finished},
		},
	}
}

func (im Image) tests() evidence.TestResultV01 {
	p := evidence.TestResultV01{Result: evidence.TestsPassed, Configuration: []evidence.ResourceDescriptor{
		{Name: "source", Digest: evidence.SHA256(Digest("source"))},
		{Name: "go test", Content: []byte(`["go","test","./..."]`), Annotations: map[string]any{"coverage": "83.1"}},
	}}
	for i := range 24 {
		p.PassedTests = append(p.PassedTests, fmt.Sprintf("example.com/team/orders/store.TestOrder%s/case_%d", im.Name, i))
	}
	if im.Bad {
		p.Result, p.FailedTests = evidence.TestsFailed, []string{"example.com/team/orders.TestPayment" + im.Name}
	}
	return p
}

func (im Image) vulns(at time.Time) evidence.VulnsV02 {
	p := evidence.VulnsV02{
		Scanner: evidence.VulnScanner{
			URI: "pkg:golang/github.com/aquasecurity/trivy@v0.70.0", Version: "v0.70.0",
			DB:     evidence.VulnDB{URI: "oci://127.0.0.1:5000/trivy-db:2#small", Version: string(Digest("db")), LastUpdate: Now().Add(-6 * time.Hour)},
			Result: []evidence.VulnResult{},
		},
		Metadata: evidence.VulnMetadata{ScanStartedOn: at.Add(-time.Second), ScanFinishedOn: at},
	}
	for i := range im.Vulns {
		// The first is waived, the second is answered by VEX, and the rest are
		// below the policy's threshold.
		severity, score := []string{"low", "medium", "unknown"}[i%3], "4.3"
		switch {
		case i == 0:
			severity, score = "high", "8.1"
		case i == 1:
			severity, score = "critical", "9.8"
		case i == 2 && im.Bad:
			severity, score = "critical", "9.1"
		}
		pkg := im.pkg(i)
		a := map[string]any{
			"severity": severity, "package": pkg.name, "version": pkg.version, "purl": pkg.purl, "title": "denial of service by a crafted header" + im.Name,
			"url": fmt.Sprintf("https://avd.aquasec.com/nvd/cve-2026-%d", 10000+i), "aliases": []string{fmt.Sprintf("GHSA-%04d-abcd-wxyz", i)},
		}
		if i%2 == 0 {
			a["fixedVersion"] = "v9.9.9"
		}
		if i == 1 {
			a["vex"] = map[string]any{"status": "not_affected", "justification": "vulnerable_code_not_in_execute_path", "statement": "the parser is never called" + im.Name, "document": "https://example.com/vex/1"}
		}
		p.Scanner.Result = append(p.Scanner.Result, evidence.VulnResult{
			ID: fmt.Sprintf("CVE-2026-%d", 10000+i), Annotations: []map[string]any{a},
			Severity: []evidence.VulnSeverity{{Method: "ghsa", Score: severity}, {Method: "cvss_score", Score: score}},
		})
	}
	return p
}

func (im Image) secrets() evidence.SCAIV03 {
	secrets := []any{}
	if im.Bad {
		secrets = append(secrets, map[string]any{"rule": "aws-access-key-id", "severity": "critical", "title": "AWS Access Key ID", "target": "source", "file": "deploy/" + im.Name + ".env", "line": 3})
	}
	return evidence.SCAIV03{Attributes: []evidence.Attribute{{Attribute: "SECRETS_SCANNED", Conditions: map[string]any{
		"rules": "built-in", "findings": len(secrets), "secrets": secrets, "sourceDigest": string(Digest("source")),
		"image": map[string]any{"files": 4, "bytes": 21_000_000, "skipped": 1}, "source": map[string]any{"files": 61, "bytes": 180_000, "skipped": 3},
	}}}}
}
