package evidence_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	provpb "github.com/in-toto/attestation/go/predicates/provenance/v1"
	releasepb "github.com/in-toto/attestation/go/predicates/release/v02"
	scaipb "github.com/in-toto/attestation/go/predicates/scai/v0"
	svrpb "github.com/in-toto/attestation/go/predicates/svr/v01"
	testpb "github.com/in-toto/attestation/go/predicates/test_result/v0"
	vsapb "github.com/in-toto/attestation/go/predicates/vsa/v1"
	vulnspb "github.com/in-toto/attestation/go/predicates/vulns/v02"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var (
	day  = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	resA = evidence.ResourceDescriptor{Name: "a", URI: "https://example.com/a", Digest: evidence.SHA256("sha256:" + hexA)}
	resB = evidence.ResourceDescriptor{Name: "b", URI: "https://example.com/b", Digest: evidence.SHA256("sha256:" + hexB)}
)

// samples holds one predicate of every struct type with every field set.
func samples() []evidence.Predicate {
	later := day.Add(time.Minute)
	return []evidence.Predicate{
		evidence.TestResultV01{
			Result:        evidence.TestsFailed,
			Configuration: []evidence.ResourceDescriptor{resA},
			URL:           "https://example.com/run/1",
			PassedTests:   []string{"b", "a"},
			WarnedTests:   []string{"w"},
			FailedTests:   []string{"f"},
		},
		evidence.VulnsV02{
			Scanner: evidence.VulnScanner{
				URI: "pkg:golang/example.com/scanner@v1.0.0", Version: "1.0.0",
				DB: evidence.VulnDB{URI: "https://example.com/db", Version: "2", LastUpdate: day},
				Result: []evidence.VulnResult{
					{ID: "CVE-2026-2", Severity: []evidence.VulnSeverity{{Method: "nvd", Score: "high"}, {Method: "cvss_score", Score: "7.5"}}},
					{ID: "CVE-2026-1", Severity: []evidence.VulnSeverity{{Method: "nvd", Score: "low"}}, Annotations: []map[string]any{{"purl": "pkg:golang/b"}}},
					{ID: "CVE-2026-1", Severity: []evidence.VulnSeverity{{Method: "nvd", Score: "low"}}, Annotations: []map[string]any{{"purl": "pkg:golang/a"}}},
				},
			},
			Metadata: evidence.VulnMetadata{ScanStartedOn: day, ScanFinishedOn: later},
		},
		evidence.SCAIV03{
			Attributes: []evidence.Attribute{{
				Attribute: "NO_SECRETS_FOUND", Target: &resA, Evidence: &resB,
				Conditions: map[string]any{"rules": "builtin"},
			}},
			Producer: &resB,
		},
		evidence.ProvenanceV1{
			BuildDefinition: evidence.BuildDefinition{
				BuildType:            "https://example.com/buildtype/v1",
				ExternalParameters:   map[string]json.RawMessage{"path": json.RawMessage(`"microservice"`)},
				InternalParameters:   map[string]json.RawMessage{"facts": json.RawMessage(`[{"name":"x"}]`)},
				ResolvedDependencies: []evidence.ResourceDescriptor{resA},
			},
			RunDetails: evidence.RunDetails{
				Builder:    evidence.Builder{ID: "https://example.com/builder", Version: map[string]string{"pathctl": "1"}, BuilderDependencies: []evidence.ResourceDescriptor{resB}},
				Metadata:   &evidence.BuildMetadata{InvocationID: "run-1", StartedOn: &day, FinishedOn: &later},
				Byproducts: []evidence.ResourceDescriptor{resB},
			},
		},
		evidence.VSAV1{
			Verifier:           evidence.Verifier{ID: "https://example.com/verifier", Version: map[string]string{"v": "1"}},
			TimeVerified:       day,
			ResourceURI:        "oci:store@sha256:" + hexA,
			Policy:             resA,
			InputAttestations:  []evidence.ResourceDescriptor{resB, resA},
			VerificationResult: evidence.VerificationPassed,
			VerifiedLevels:     []string{"SLSA_BUILD_LEVEL_1", "MY_LEVEL_2"},
			DependencyLevels:   map[string]uint64{"SLSA_BUILD_LEVEL_0": 3},
			SLSAVersion:        "1.0",
		},
		evidence.SVRV02{
			Verifier:    evidence.SVRVerifier{ID: "https://example.com/verifier/v1", Policies: []evidence.ResourceDescriptor{resA}},
			TimeCreated: day,
			Properties:  []string{"SLSA_BUILD_LEVEL_1", "EXAMPLE_SCANNED"},
		},
		evidence.ReleaseV02{PURL: "pkg:golang/example.com/a@v1.0.0", PackageID: "1234"},
		evidence.WaiverV1{ID: "CVE-2026-1234", Reason: "never called", Expires: "2026-12-31"},
		evidence.SignatureV1{},
	}
}

func mustEncode(t testing.TB, p evidence.Predicate) json.RawMessage {
	t.Helper()
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestProtos reads what we write with the specification's own protos: no field
// may be unknown to them, but those that the proto lags behind the text of the
// specification with.
func TestProtos(t *testing.T) {
	protos := map[string]struct {
		m   proto.Message
		lag []string
	}{
		"test-result": {m: &testpb.TestResult{}},
		"vulns":       {m: &vulnspb.Vulns{}},
		"scai":        {m: &scaipb.AttributeReport{}},
		"provenance":  {m: &provpb.Provenance{}},
		"release":     {m: &releasepb.Release{}},
		"svr":         {m: &svrpb.SimpleVerificationResult{}, lag: []string{"verifier.policies"}},
		"vsa":         {m: &vsapb.VerificationSummary{}, lag: []string{"verifier.version", "policy.name", "inputAttestations.0.name", "inputAttestations.1.name"}},
	}
	checked := 0
	for _, p := range samples() {
		to, ok := protos[p.Type().Name]
		if !ok {
			continue
		}
		checked++
		t.Run(p.Type().Name, func(t *testing.T) {
			raw := mustEncode(t, p)
			for _, path := range to.lag {
				raw = edit(t, raw, path, nil)
			}
			if err := protojson.Unmarshal(raw, to.m); err != nil {
				t.Fatalf("protojson: %v\n%s", err, raw)
			}
			if v, ok := to.m.(interface{ Validate() error }); ok {
				if err := v.Validate(); err != nil {
					t.Fatal(err)
				}
			}
			back, err := protojson.Marshal(to.m)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tree(t, raw), tree(t, back)); diff != "" {
				t.Errorf("the proto read something else (-ours +proto):\n%s", diff)
			}
		})
	}
	if checked != len(protos) {
		t.Errorf("checked %d types, want %d", checked, len(protos))
	}
}

func TestEncodeIsCanonical(t *testing.T) {
	zone := time.FixedZone("elsewhere", 3600)
	for _, p := range samples() {
		t.Run(p.Type().Name, func(t *testing.T) {
			first := mustEncode(t, p)
			switch q := p.(type) {
			case evidence.TestResultV01:
				q.PassedTests = []string{"a", "b"}
				p = q
			case evidence.VulnsV02:
				r := q.Scanner.Result
				q.Scanner.Result = []evidence.VulnResult{r[2], r[1], r[0]}
				q.Metadata.ScanStartedOn = q.Metadata.ScanStartedOn.In(zone)
				p = q
			case evidence.VSAV1:
				q.InputAttestations = []evidence.ResourceDescriptor{resA, resB}
				q.VerifiedLevels = []string{"MY_LEVEL_2", "SLSA_BUILD_LEVEL_1"}
				q.TimeVerified = q.TimeVerified.In(zone)
				p = q
			case evidence.SVRV02:
				q.Properties = []string{"EXAMPLE_SCANNED", "SLSA_BUILD_LEVEL_1"}
				q.TimeCreated = q.TimeCreated.In(zone)
				p = q
			case evidence.ProvenanceV1:
				at := day.In(zone)
				m := *q.RunDetails.Metadata
				m.StartedOn = &at
				q.RunDetails.Metadata = &m
				p = q
			}
			if diff := cmp.Diff(string(first), string(mustEncode(t, p))); diff != "" {
				t.Errorf("another order gave other bytes:\n%s", diff)
			}
		})
	}
}

// TestFields removes or replaces one field of a valid predicate at a time.
func TestFields(t *testing.T) {
	valid := map[string]json.RawMessage{
		"spdx": json.RawMessage(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"x","documentNamespace":"https://example.com/x",
			"creationInfo":{"created":"2026-01-31T12:00:00Z","creators":["Tool: x"]},
			"packages":[{"SPDXID":"SPDXRef-a","name":"a","versionInfo":"1","licenseDeclared":"MIT","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:golang/a@1"}]}]}`),
		"cyclonedx": json.RawMessage(`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"timestamp":"2026-01-31T12:00:00Z"},
			"components":[{"type":"library","name":"a","version":"1","purl":"pkg:golang/a@1","licenses":[{"license":{"id":"MIT"}}]}]}`),
	}
	for _, p := range samples() {
		valid[p.Type().Name] = mustEncode(t, p)
	}
	absent := "(absent)"
	tests := []struct {
		typ, path, value, want string
	}{
		{"test-result", "result", absent, "result is missing"},
		{"test-result", "configuration", absent, "configuration is missing"},
		{"test-result", "configuration", `[]`, "configuration is missing"},
		{"test-result", "configuration.0", `{"name":"x"}`, "one of uri, digest and content"},
		{"test-result", "result", `"MAYBE"`, "none of PASSED"},
		{"test-result", "result", `"PASSED"`, "although 1 tests failed"},
		{"test-result", "passedTests", `"all"`, "not the expected JSON"},
		{"vulns", "scanner", absent, "scanner.uri is missing"},
		{"vulns", "scanner.uri", absent, "scanner.uri is missing"},
		{"vulns", "scanner.db", absent, "scanner.db.lastUpdate is missing"},
		{"vulns", "scanner.db.lastUpdate", absent, "scanner.db.lastUpdate is missing"},
		{"vulns", "scanner.db.lastUpdate", `"yesterday"`, "not the expected JSON"},
		{"vulns", "scanner.result", absent, "scanner.result is missing"},
		{"vulns", "scanner.result", `null`, "scanner.result is missing"},
		{"vulns", "scanner.result.0.id", absent, "scanner.result[0]: id is missing"},
		{"vulns", "scanner.result.0.severity", absent, "scanner.result[0]: severity is missing"},
		{"vulns", "scanner.result.0.severity.0.method", absent, "method is missing"},
		{"vulns", "scanner.result.0.severity.0.score", absent, "score is missing"},
		{"vulns", "metadata", absent, "metadata.scanStartedOn is missing"},
		{"vulns", "metadata.scanStartedOn", absent, "metadata.scanStartedOn is missing"},
		{"vulns", "metadata.scanFinishedOn", absent, "metadata.scanFinishedOn is missing"},
		{"vulns", "metadata.scanFinishedOn", `"2020-01-01T00:00:00Z"`, "before"},
		{"scai", "attributes", absent, "attributes is missing"},
		{"scai", "attributes", `[]`, "attributes is missing"},
		{"scai", "attributes.0.attribute", absent, "attribute is missing"},
		{"scai", "attributes.0.target", `{}`, "attributes[0].target"},
		{"scai", "attributes.0.evidence.digest.sha256", `"beef"`, "lower-case hexadecimal"},
		{"scai", "producer", `{"name":"x"}`, "producer"},
		{"provenance", "buildDefinition", absent, "buildDefinition.buildType is missing"},
		{"provenance", "buildDefinition.buildType", absent, "buildDefinition.buildType is missing"},
		{"provenance", "buildDefinition.externalParameters", absent, "externalParameters is missing"},
		{"provenance", "buildDefinition.externalParameters", `{}`, "externalParameters is missing"},
		{"provenance", "buildDefinition.externalParameters.path", `{"a":1,"a":2}`, "duplicate"},
		{"provenance", "buildDefinition.resolvedDependencies.0", `{"name":"x"}`, "resolvedDependencies[0]"},
		{"provenance", "runDetails", absent, "runDetails.builder.id is missing"},
		{"provenance", "runDetails.builder", absent, "runDetails.builder.id is missing"},
		{"provenance", "runDetails.builder.id", absent, "runDetails.builder.id is missing"},
		{"provenance", "runDetails.builder.builderDependencies.0", `{}`, "builderDependencies[0]"},
		{"provenance", "runDetails.byproducts.0", `{}`, "byproducts[0]"},
		{"provenance", "runDetails.metadata.finishedOn", `"2020-01-01T00:00:00Z"`, "before"},
		{"vsa", "verifier", absent, "verifier.id is missing"},
		{"vsa", "verifier.id", absent, "verifier.id is missing"},
		{"vsa", "timeVerified", absent, "timeVerified is missing"},
		{"vsa", "resourceUri", absent, "resourceUri is missing"},
		{"vsa", "policy", absent, "policy.uri is missing"},
		{"vsa", "policy.uri", absent, "policy.uri is missing"},
		{"vsa", "policy.digest", absent, "policy.digest is missing"},
		{"vsa", "policy.digest.sha256", `"x"`, "lower-case hexadecimal"},
		{"vsa", "verificationResult", absent, "verificationResult is missing"},
		{"vsa", "verificationResult", `"passed"`, "neither PASSED nor FAILED"},
		{"vsa", "verificationResult", `"FAILED"`, "FAILED alone"},
		{"vsa", "verifiedLevels", absent, "verifiedLevels is missing"},
		{"vsa", "verifiedLevels", `["FAILED"]`, "verifiedLevels say FAILED"},
		{"vsa", "verifiedLevels", `["SLSA_BUILD_LEVEL_9"]`, "no SlsaResult"},
		{"vsa", "verifiedLevels", `["level one"]`, "no SlsaResult"},
		{"vsa", "dependencyLevels", `{"SLSA_L3":1}`, "no SlsaResult"},
		{"vsa", "inputAttestations.0", `{}`, "inputAttestations[0]"},
		{"vsa", "inputAttestations.0.digest", absent, "inputAttestations[0].digest is missing"},
		{"vsa", "verifiedLevels", `["SLSA_BUILD_LEVEL_1","SLSA_BUILD_LEVEL_3"]`, "of one track"},
		{"vsa", "slsaVersion", `"1"`, "not MAJOR.MINOR"},
		{"vsa", "slsaVersion", `"v1.0"`, "not MAJOR.MINOR"},
		{"svr", "verifier.policies", `null`, "verifier.policies is missing"},
		{"svr", "verifier.policies", `{}`, "not the expected JSON"},
		{"svr", "verifier.policies.0", `{"name":"x"}`, "verifier.policies[0]"},
		{"svr", "verifier.policies.0.digest.sha256", `"x"`, "lower-case hexadecimal"},
		{"svr", "timeCreated", `"yesterday"`, "not the expected JSON"},
		{"svr", "properties", `null`, "properties is missing"},
		{"svr", "properties.0", `""`, "properties[0] is empty"},
		{"svr", "properties.0", `1`, "not the expected JSON"},
		{"release", "purl", `"https://example.com/a"`, "purl"},
		{"release", "purl", `"pkg:golang/example.com/a"`, "version is missing"},
		{"release", "purl", `"pkg:npm/a@"`, "version is missing"},
		{"release", "purl", `"pkg:golang"`, "purl"},
		{"waiver", "id", `" "`, "id is missing"},
		{"waiver", "reason", `"\n"`, "reason is missing"},
		{"waiver", "reason", `"x\u001b[1A"`, "control characters"},
		{"waiver", "id", `"x\ny"`, "control characters"},
		{"waiver", "expires", `"soon"`, "no day"},
		{"waiver", "expires", `"2026-02-30"`, "no day"},
		{"waiver", "reason", `"` + strings.Repeat("x", 501) + `"`, "may have 500"},
		{"signature", "extra", `1`, "empty object"},
		{"spdx", "spdxVersion", absent, "spdxVersion is missing"},
		{"spdx", "spdxVersion", `"SPDX-2.2"`, "want SPDX-2.3"},
		{"spdx", "SPDXID", absent, "SPDXID is missing"},
		{"spdx", "SPDXID", `"x"`, "want SPDXRef-DOCUMENT"},
		{"spdx", "name", absent, "name is missing"},
		{"spdx", "documentNamespace", absent, "documentNamespace is missing"},
		{"spdx", "dataLicense", absent, "dataLicense is missing"},
		{"spdx", "creationInfo.created", absent, "creationInfo.created is missing"},
		{"spdx", "creationInfo.creators", absent, "creationInfo.creators is missing"},
		{"spdx", "packages", absent, "packages is missing"},
		{"spdx", "packages.0.name", absent, "packages[0]: name is missing"},
		{"spdx", "packages.0.SPDXID", absent, "packages[0]: SPDXID is missing"},
		{"cyclonedx", "bomFormat", absent, "bomFormat is missing"},
		{"cyclonedx", "bomFormat", `"SPDX"`, "want CycloneDX"},
		{"cyclonedx", "specVersion", absent, "specVersion is missing"},
		{"cyclonedx", "specVersion", `"1.4"`, "want 1.6"},
		{"cyclonedx", "metadata.timestamp", absent, "metadata.timestamp is missing"},
		{"cyclonedx", "components", absent, "components is missing"},
		{"cyclonedx", "components.0.name", absent, "components[0]: name is missing"},
		{"cyclonedx", "components.0.type", absent, "components[0]: type is missing"},
	}
	for name, raw := range valid {
		typ, ok := evidence.Lookup(name)
		if !ok {
			t.Fatalf("no type %s", name)
		}
		if err := evidence.Check(typ, raw); err != nil {
			t.Errorf("the valid %s is refused: %v", name, err)
		}
		// The parsing rules of in-toto: what is not known is ignored.
		if name != "signature" {
			if err := evidence.Check(typ, edit(t, raw, "someExtension", json.RawMessage(`{"x":[1]}`))); err != nil {
				t.Errorf("%s with an unknown field is refused: %v", name, err)
			}
		}
		for _, broken := range []string{"", "null", "[]", "{", `"x"`, string(raw) + "{}", "{\"x\":\"\xff\"}"} {
			if err := evidence.Check(typ, json.RawMessage(broken)); err == nil {
				t.Errorf("%s accepts %q", name, broken)
			}
		}
	}
	if len(valid) != len(evidence.Types()) {
		t.Errorf("%d types have a sample, want %d", len(valid), len(evidence.Types()))
	}
	for _, tt := range tests {
		t.Run(tt.typ+"/"+tt.path+"="+tt.value, func(t *testing.T) {
			typ, _ := evidence.Lookup(tt.typ)
			var v json.RawMessage
			if tt.value != absent {
				v = json.RawMessage(tt.value)
			}
			err := evidence.Check(typ, edit(t, valid[tt.typ], tt.path, v))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestSBOMPackages(t *testing.T) {
	spdx, err := evidence.ParseSPDX(json.RawMessage(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"x","documentNamespace":"n",
		"creationInfo":{"created":"2026-01-31T12:00:00Z","creators":["Tool: x"]},
		"packages":[{"SPDXID":"a","name":"a","versionInfo":"1","licenseDeclared":"MIT","externalRefs":[{"referenceType":"cpe23Type","referenceLocator":"cpe"},{"referenceType":"purl","referenceLocator":"pkg:golang/a@1"}]},
			{"SPDXID":"b","name":"b","licenseDeclared":"NOASSERTION"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	cdx, err := evidence.ParseCycloneDX(json.RawMessage(`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"timestamp":"2026-01-31T12:00:00Z"},
		"components":[{"type":"library","name":"a","version":"1","purl":"pkg:golang/a@1","licenses":[{"license":{"id":"MIT"}}]},{"type":"library","name":"b"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []evidence.SBOMPackage{{Name: "a", Version: "1", PURL: "pkg:golang/a@1", License: "MIT"}, {Name: "b"}}
	if diff := cmp.Diff(evidence.SBOM{Format: "SPDX", Version: "2.3", Created: day, Packages: want}, spdx); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(evidence.SBOM{Format: "CycloneDX", Version: "1.6", Created: day, Packages: want}, cdx); diff != "" {
		t.Error(diff)
	}
}

func TestClaim(t *testing.T) {
	about := step.Subject{Name: "source", Digest: "sha256:" + hexA}
	ev, err := evidence.Claim(samples()[0], &about)
	if err != nil {
		t.Fatal(err)
	}
	if ev.Type != evidence.TestResult.URI || ev.Subject != &about || evidence.Check(evidence.TestResult, ev.Predicate) != nil {
		t.Errorf("got %+v", ev)
	}
	if _, err := evidence.Claim(evidence.TestResultV01{Result: "PASSED"}, nil); err == nil {
		t.Error("an invalid predicate became evidence")
	}
}

// edit sets the value at a dotted path, or removes it if v is nil.
func edit(t *testing.T, raw json.RawMessage, path string, v json.RawMessage) json.RawMessage {
	t.Helper()
	key, rest, deeper := strings.Cut(path, ".")
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		i, err := strconv.Atoi(key)
		if err != nil || i >= len(list) {
			t.Fatalf("no element %s in %s", key, raw)
		}
		if list[i] = v; deeper {
			var whole []json.RawMessage
			_ = json.Unmarshal(raw, &whole)
			list[i] = edit(t, whole[i], rest, v)
		}
		return join("[", list, "]")
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	old, ok := m[key]
	if !ok && (v == nil || deeper) {
		t.Fatalf("no field %s in %s", key, raw)
	}
	if deeper {
		v = edit(t, old, rest, v)
	}
	delete(m, key)
	var parts []json.RawMessage
	for k, e := range m {
		parts = append(parts, json.RawMessage(strconv.Quote(k)+":"+string(e)))
	}
	if v != nil {
		parts = append(parts, json.RawMessage(strconv.Quote(key)+":"+string(v)))
	}
	return join("{", parts, "}")
}

func join(open string, parts []json.RawMessage, end string) json.RawMessage {
	var s []string
	for _, p := range parts {
		s = append(s, string(p))
	}
	return json.RawMessage(open + strings.Join(s, ",") + end)
}

func tree(t *testing.T, raw []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	// protojson writes 64-bit integers as text.
	if m, ok := v.(map[string]any); ok {
		if d, ok := m["dependencyLevels"].(map[string]any); ok {
			for k, n := range d {
				if text, ok := n.(string); ok {
					d[k], _ = strconv.ParseFloat(text, 64)
				}
			}
		}
	}
	return v
}
