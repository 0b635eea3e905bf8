package evidence_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// examples are the predicates that the specifications show, by type, with whole
// digests where those are cut short.
func examples() map[string][]string {
	digest := `"digest":{"sha256":"` + hexA + `"}`
	return map[string][]string{
		"test-result": {`{"result":"PASSED",
			"configuration":[{"name":".github/workflows/ci.yml","digest":{"gitBlob":"ebe4add40f63c3c98bc9b32ff1e736f04120b023"},
				"downloadLocation":"https://github.com/in-toto/in-toto/blob/d20ace7968ba43c0219f62d71334c1095bab1602/.github/workflows/ci.yml"}],
			"url":"https://github.com/in-toto/in-toto/actions/runs/4425592351",
			"passedTests":["build (3.7, ubuntu-latest, py)","build (3.x, ubuntu-latest, lint)"],"warnedTests":[],"failedTests":[]}`},
		"vulns": {`{"scanner":{"uri":"pkg:github/aquasecurity/trivy@244fd47e07d1004f0aed9","version":"0.19.2",
				"db":{"uri":"pkg:github/aquasecurity/trivy-db/commit/4c76bb580b2736d67751410fa4ab66d2b6b9b27d","version":"v1-2021080612","lastUpdate":"2021-08-06T17:45:50.52Z"},
				"result":[{"id":"CVE-123","severity":[{"method":"nvd","score":"medium"},{"method":"cvss_score","score":"5.2"}]}]},
			"metadata":{"scanStartedOn":"2021-08-06T17:45:50.52Z","scanFinishedOn":"2021-08-06T17:50:50.52Z"}}`},
		"scai": {
			`{"attributes":[{"attribute":"WITH_STACK_PROTECTION","conditions":{"flags":"-fstack-protector*"}}],
				"producer":{"uri":"file:///usr/bin/gcc","name":"gcc9.3.0",` + digest + `,"downloadLocation":"http://us.archive.ubuntu.com/ubuntu/pool/main/g/gcc-defaults/gcc_9.3.0-1ubuntu2_amd64.deb"}}`,
			`{"attributes":[{"attribute":"WITH_STACK_PROTECTION","conditions":{"flags":"-fstack-protector*"}},
				{"attribute":"REPRODUCIBLE","evidence":{"name":"gcc_9.3.0-1ubuntu2_amd64.json",` + digest + `,"uri":"http://example.com/rebuilderd-instance/gcc_9.3.0-1ubuntu2_amd64.json","mediaType":"application/x.dsse+json"}}]}`,
			`{"attributes":[{"attribute":"ATTESTED_DEPENDENCIES","target":{"name":"my-rsa-lib.so",` + digest + `,"uri":"http://example.com/libraries/my-rsa-lib.so"},
				"evidence":{"name":"rsa-lib-attribute-report.json",` + digest + `,"mediaType":"application/x.dsse+json"}}],"producer":{"uri":"https://example.com/my-github-actions-runner"}}`,
			`{"attributes":[{"attribute":"VALID_ENCLAVE","target":{"name":"enclave.signed.so",` + digest + `},
				"evidence":{"name":"my-sgx-builder.json",` + digest + `,"mediaType":"application/x.sgx.dcap1.14+json"}}]}`,
		},
		"waiver": {`{"id":"CVE-2026-1234","reason":"the vulnerable function is never called","expires":"2026-12-31"}`},
		"release": {
			`{"purl":"pkg:npm/@angular/http@7.2.16","packageId":"1234567890"}`,
			`{"purl":"pkg:pypi/urllib3@2.1.0"}`,
			`{"purl":"pkg:oci/my-image@sha256%3Afedcba09?repository_url=registry.example.com/my-project/my-image&tag=v1.2.3"}`,
			`{"purl":"pkg:npm/semver@7.5.4"}`,
		},
		"svr": {
			// The examples of v0.1 with the policies that v0.2 asks for.
			`{"verifier":{"id":"https://example.com/publication_verifier/v2","policies":[]},"timeCreated":"1985-04-12T23:20:50.52Z",
				"properties":["SLSA_BUILD_LEVEL_3","SLSA_SOURCE_LEVEL_3","ORG_SOURCE_STATIC_ANALYSIS","CONFORMA_HERMETIC_BUILD_TASK","COMPANY_RELEASE_APPROVED"]}`,
			`{"verifier":{"id":"https://example.com/policy_engine/v1","policies":[{"uri":"https://example.com/policies/production-deployment",` + digest + `}]},
				"timeCreated":"2024-03-15T14:22:00Z","properties":["SLSA_BUILD_LEVEL_3","EXAMPLE_DEPLOYMENT_APPROVED"]}`,
			`{"verifier":{"id":"https://example.com/security_scanner/v3","policies":[{` + digest + `}]},"timeCreated":"2024-03-15T10:30:00Z","properties":[]}`,
		},
		"vsa": {`{"verifier":{"id":"https://example.com/publication_verifier"},"timeVerified":"1985-04-12T23:20:50.52Z",
			"resourceUri":"https://example.com/example-1.2.3.tar.gz","policy":{"uri":"https://example.com/example_tarball.policy",` + digest + `},
			"inputAttestations":[{"uri":"https://example.com/provenances/example-1.2.3.tar.gz.intoto.jsonl",` + digest + `}],
			"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_3"],
			"dependencyLevels":{"SLSA_BUILD_LEVEL_3":5,"SLSA_BUILD_LEVEL_2":7,"SLSA_BUILD_LEVEL_1":1},"slsaVersion":"1.0"}`},
		"provenance": {`{"buildDefinition":{"buildType":"https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
				"externalParameters":{"inputs":{"build_id":123456768},"vars":{"MASCOT":"Mona"},
					"workflow":{"ref":"refs/heads/main","repository":"https://github.com/octocat/hello-world","path":".github/workflow/release.yml"}},
				"internalParameters":{"github":{"actor_id":"1234567","event_name":"workflow_dispatch"}},
				"resolvedDependencies":[{"uri":"git+https://github.com/octocat/hello-world@refs/heads/main","digest":{"gitCommit":"c27d339ee6075c1f744c5d4b200f7901aad2c369"}}]},
			"runDetails":{"builder":{"id":"https://github.com/actions/runner/github-hosted"},
				"metadata":{"invocationId":"https://github.com/octocat/hello-world/actions/runs/1536140711/attempts/1","startedOn":"2023-01-01T12:34:56Z"}}}`},
	}
}

// required are the fields without which a predicate is none, in the words of
// the specifications.
func required() map[string][]string {
	return map[string][]string{
		"test-result": {"result", "configuration"},
		"vulns": {"scanner", "scanner.uri", "scanner.db.lastUpdate", "scanner.result", "scanner.result.0.id", "scanner.result.0.severity",
			"scanner.result.0.severity.0.method", "scanner.result.0.severity.0.score", "metadata", "metadata.scanStartedOn", "metadata.scanFinishedOn"},
		"scai":    {"attributes", "attributes.0.attribute"},
		"release": {"purl"},
		"waiver":  {"id", "reason", "expires"},
		"svr":     {"verifier", "verifier.id", "verifier.policies", "timeCreated", "properties"},
		"vsa": {"verifier", "verifier.id", "timeVerified", "resourceUri", "policy", "policy.uri",
			"inputAttestations.0.digest", "verificationResult", "verifiedLevels"},
		"provenance": {"buildDefinition", "buildDefinition.buildType", "buildDefinition.externalParameters",
			"runDetails", "runDetails.builder", "runDetails.builder.id"},
	}
}

func TestSpecExamples(t *testing.T) {
	for name, all := range examples() {
		typ, ok := evidence.Lookup(name)
		if !ok {
			t.Fatalf("no type %s", name)
		}
		for _, raw := range all {
			if err := evidence.Check(typ, json.RawMessage(raw)); err != nil {
				t.Errorf("the specification's %s is refused: %v\n%s", name, err, raw)
			}
		}
	}
}

// TestRequired removes each required field of each type's example.
func TestRequired(t *testing.T) {
	for name, fields := range required() {
		typ, _ := evidence.Lookup(name)
		whole := json.RawMessage(examples()[name][0])
		if name == "svr" {
			whole = json.RawMessage(examples()[name][1])
		}
		for _, path := range fields {
			t.Run(name+"/"+path, func(t *testing.T) {
				err := evidence.Check(typ, edit(t, whole, path, nil))
				// Of an object the error may name the first field that it must have.
				field := path[strings.LastIndex(path, ".")+1:]
				if err == nil || !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), "missing") {
					t.Errorf("got %v, want an error that says that %s is missing", err, field)
				}
			})
		}
	}
	// Types that have a specification by field, of all that we read.
	others := []string{"spdx", "cyclonedx", "signature"}
	if len(required())+len(others) != len(evidence.Types()) {
		t.Error("a type has no list of required fields")
	}
}

// TestSVRRoundTrip: an empty list is another thing than none.
func TestSVRRoundTrip(t *testing.T) {
	want := evidence.SVRV02{
		Verifier:    evidence.SVRVerifier{ID: "https://example.com/v1", Policies: []evidence.ResourceDescriptor{}},
		TimeCreated: day, Properties: []string{},
	}
	raw, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.ParseSVR(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
