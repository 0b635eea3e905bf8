//go:build e2e

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// attacks are all of them. A refusal of evidence that the policy requires is a refusal
// of the image.
func attacks() []attack {
	all := []attack{
		{"signs with a throw-away key and a certificate of its own", "anybody is whoever they say", "untrusted-certificate", func(b *battle) outcome {
			return b.instead(b.throwaway(b.scan()))
		}},
		{"has another Sigstore sign for the same identity", "any Sigstore's word counts", "untrusted-certificate", func(b *battle) outcome {
			return b.instead(b.signAs(b.other, b.scan()))
		}},
		{"hangs the evidence of another image on this one", "a clean image vouches for a bad one", "wrong-subject", func(b *battle) outcome {
			st := bytes.ReplaceAll(b.scan(), []byte(b.image.Hex()), []byte(strings.Repeat("5", 64)))
			return b.instead(b.signAs(b.sigstoreWorld, st))
		}},
		{"changes the subject in what was signed", "a signature fits any image", "bad-signature", func(b *battle) outcome {
			bundle := b.bundleOf(evidence.Vulns)
			st := bytes.ReplaceAll(b.scan(), []byte(`"subject":[{`), []byte(`"subject":[ {`))
			bundle["dsseEnvelope"].(object)["payload"] = base64.StdEncoding.EncodeToString(st)
			return b.instead(encoded(b.t, bundle))
		}},
		{"uses a certificate without a timestamp", "a stolen key signs for ever", "no-trusted-time", func(b *battle) outcome {
			bundle := b.bundleOf(evidence.Vulns)
			delete(material(bundle), "timestampVerificationData")
			return b.instead(encoded(b.t, bundle))
		}},
		{"sets the clock back with a timestamp authority of its own", "a certificate never ends", "no-trusted-time", func(b *battle) outcome {
			bundle, foreign := b.bundleOf(evidence.Vulns), decoded(b.t, b.signAs(b.other, b.scan())).(object)
			material(bundle)["timestampVerificationData"] = material(foreign)["timestampVerificationData"]
			return b.instead(encoded(b.t, bundle))
		}},
		{"takes the log entry away", "nobody sees what is signed in their name", "no-log-proof", func(b *battle) outcome {
			bundle := b.bundleOf(evidence.Vulns)
			delete(material(bundle), "tlogEntries")
			return b.instead(encoded(b.t, bundle))
		}},
		{"gives the log entry of another signature", "one logged signature covers all", "no-log-proof", func(b *battle) outcome {
			bundle := b.bundleOf(evidence.Vulns)
			material(bundle)["tlogEntries"] = material(b.bundleOf(evidence.SPDX))["tlogEntries"]
			return b.instead(encoded(b.t, bundle))
		}},
		{"gives the entry of a log of its own", "anybody's log counts", "no-log-proof", func(b *battle) outcome {
			bundle, foreign := b.bundleOf(evidence.Vulns), decoded(b.t, b.signAs(b.other, b.scan())).(object)
			material(bundle)["tlogEntries"] = material(foreign)["tlogEntries"]
			return b.instead(encoded(b.t, bundle))
		}},
		{"changes a node of the log's proof", "a proof proves nothing", "no-log-proof", func(b *battle) outcome {
			bundle := b.bundleOf(evidence.Vulns)
			proof := material(bundle)["tlogEntries"].([]any)[0].(object)["inclusionProof"].(object)
			proof["hashes"].([]any)[0] = base64.StdEncoding.EncodeToString(make([]byte, 32))
			return b.instead(encoded(b.t, bundle))
		}},
		{"writes the log's checkpoint itself", "the log's word is anybody's", "no-log-proof", func(b *battle) outcome {
			bundle := b.bundleOf(evidence.Vulns)
			proof := material(bundle)["tlogEntries"].([]any)[0].(object)["inclusionProof"].(object)
			checkpoint := proof["checkpoint"].(object)
			lines := strings.SplitN(checkpoint["envelope"].(string), "\n", 4)
			lines[1] += "0" // the size of the tree
			checkpoint["envelope"] = strings.Join(lines, "\n")
			return b.instead(encoded(b.t, bundle))
		}},
		{"gives two signatures, of which one is good", "the bad one is taken for good", "malformed", func(b *battle) outcome {
			bundle := b.bundleOf(evidence.Vulns)
			sigs := bundle["dsseEnvelope"].(object)["signatures"].([]any)
			bundle["dsseEnvelope"].(object)["signatures"] = append(sigs, object{"sig": base64.StdEncoding.EncodeToString([]byte("no signature"))})
			return b.instead(encoded(b.t, bundle))
		}},
		{"signs as the verifier, whom the trust root knows", "a verdict's key makes evidence", "wrong-role", func(b *battle) outcome {
			return b.instead(signed(b.t, b.home, attest.VerifierKey, b.scan()))
		}},
		{"trusts a pattern to match the beginning only", "main-evil is main", "unknown-signer", func(b *battle) outcome {
			raw, err := os.ReadFile(filepath.Join(b.home, "trust.yaml"))
			if err != nil {
				b.t.Fatal(err)
			}
			trust := filepath.Join(b.home, "pattern.yaml")
			text := strings.Replace(string(raw), "subject: ", "subjectRegexp: ", 1)
			if err := os.WriteFile(trust, []byte(text), 0o600); err != nil {
				b.t.Fatal(err)
			}
			if o := b.verify("--trust", trust); o.code != 0 {
				b.t.Fatalf("the pattern does not match whom it should: %s", o.text)
			}
			bundle := b.signAs(b.sigstoreWorld, b.scan(), "-workflow", strings.TrimPrefix(trustSubject, "https://github.com/")+"-evil")
			b.rebundle(b.of(b.image, evidence.Vulns), bundle)
			return b.verify("--trust", trust)
		}},
		{"takes evidence away", "what is not known can't hurt", "require/vulns", func(b *battle) outcome {
			b.remove(b.of(b.image, evidence.Vulns).digest)
			return b.verify()
		}},
		{"deceives the attester into a newer provenance of other source", "tests of one source, a build of another", "wrong-source", func(b *battle) outcome {
			b.attach(b.image, b.edited(evidence.Provenance, func(p object) {
				for _, d := range p["buildDefinition"].(object)["resolvedDependencies"].([]any) {
					if d.(object)["name"] == "source" {
						d.(object)["digest"] = object{"sha256": strings.Repeat("7", 64)}
					}
				}
				m := p["runDetails"].(object)["metadata"].(object)
				m["finishedOn"] = time.Now().UTC().Add(time.Minute).Format(time.RFC3339)
			}))
			return b.verify()
		}},
		{"has a list without packages signed", "nothing is inside, so nothing is vulnerable", "malformed-predicate", func(b *battle) outcome {
			b.rebundle(b.of(b.image, evidence.CycloneDX), b.edited(evidence.CycloneDX, func(p object) { p["components"] = []any{} }))
			b.rebundle(b.of(b.image, evidence.SPDX), b.edited(evidence.SPDX, func(p object) { p["packages"], p["relationships"] = []any{}, []any{} }))
			return b.verify()
		}},
		{"scans with a database of the last decade", "new holes are unknown", "vulnerability-db", func(b *battle) outcome {
			return b.instead(b.edited(evidence.Vulns, func(p object) {
				p["scanner"].(object)["db"].(object)["lastUpdate"] = "2016-01-01T00:00:00Z"
			}))
		}},
		{"says that tests passed of which some failed", "red is green", "malformed-predicate", func(b *battle) outcome {
			b.rebundle(b.of(b.image, evidence.TestResult), b.edited(evidence.TestResult, func(p object) { p["failedTests"] = []any{"TestHello"} }))
			return b.verify()
		}},
		{"calls tests of other source its own", "tests of something else count", "wrong-source", func(b *battle) outcome {
			st := decoded(b.t, b.of(b.image, evidence.TestResult).statement).(object)
			st["subject"].([]any)[0].(object)["digest"] = object{"sha256": strings.Repeat("7", 64)}
			b.rebundle(b.of(b.image, evidence.TestResult), b.signAs(b.sigstoreWorld, encoded(b.t, st)))
			return b.verify()
		}},
		{"dates a scan into the future", "an old scan stays the newest", "future-date", func(b *battle) outcome {
			return b.instead(b.edited(evidence.Vulns, func(p object) {
				m := p["metadata"].(object)
				m["scanStartedOn"], m["scanFinishedOn"] = "2999-01-01T00:00:00Z", "2999-01-01T00:00:01Z"
			}))
		}},
		{"hangs a summary for L3 by a verifier whom nobody trusts on it", "levels are claimed", "unknown-signer", func(b *battle) outcome {
			st := bytes.ReplaceAll(b.of(b.image, evidence.VSA).statement, []byte("SLSA_BUILD_LEVEL_1"), []byte("SLSA_BUILD_LEVEL_3"))
			b.attach(b.image, b.signAs(b.sigstoreWorld, st, "-workflow", "evil/x/.github/workflows/v.yaml@refs/heads/main"))
			return b.verify("--param", "minLevel=3")
		}},
		{"writes the same key twice in JSON", "two readers read two things", "malformed", func(b *battle) outcome {
			good := b.blob(b.of(b.image, evidence.Vulns).bundle)
			return b.instead(append([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",`), bytes.TrimSpace(good)[1:]...))
		}},
		{"nests JSON a hundred thousand deep", "the verifier falls over", "malformed", func(b *battle) outcome {
			return b.instead([]byte(strings.Repeat("[", 100_000)))
		}},
		{"sends a bundle larger than any", "the verifier's memory ends", "unreadable", func(b *battle) outcome {
			d, _ := b.put([]byte("x"))
			b.truncate(d, int64(attest.MaxBundle)+1)
			r := b.of(b.image, evidence.Vulns)
			m := b.object(r.digest)
			layer := m["layers"].([]any)[0].(object)
			layer["digest"], layer["size"] = string(d), json.Number(fmt.Sprint(int64(attest.MaxBundle)+1))
			b.replace(r.digest, encoded(b.t, m))
			return b.verify()
		}},
		{"adds a platform without evidence to an index", "one good platform covers a bad one", "require/signature", func(b *battle) outcome {
			bare := b.object(b.image)
			bare["annotations"] = object{"org.opencontainers.image.title": "bare"}
			manifest := encoded(b.t, bare)
			platform := func(arch string, d string, size int) object {
				return object{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": d, "size": json.Number(fmt.Sprint(size)), "platform": object{"os": "linux", "architecture": arch}}
			}
			d, _ := b.put(manifest)
			index := encoded(b.t, object{"schemaVersion": json.Number("2"), "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{
				platform("amd64", string(b.image), len(b.blob(b.image))), platform("arm64", string(d), len(manifest)),
			}})
			now, size := b.put(index)
			b.setEntries(append(b.entries(), object{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": string(now), "size": size}))
			return b.verifyAt("oci:" + b.store + "@" + string(now))
		}},
		{"moves the tag to an image that nobody has judged", "the name decides, not the digest", "require/signature", func(b *battle) outcome {
			bare := b.object(b.image)
			bare["annotations"] = object{"org.opencontainers.image.title": "bare"}
			d, size := b.put(encoded(b.t, bare))
			entries := b.entries()
			for _, e := range entries {
				if a, ok := e.(object)["annotations"].(object); ok && a["org.opencontainers.image.ref.name"] != nil {
					e.(object)["digest"], e.(object)["size"] = string(d), size
				}
			}
			b.setEntries(entries)
			return b.verifyAt("oci:" + b.store + ":v1")
		}},
		{"cuts the end off the policy's file", "half of the rules count", "policy", func(b *battle) outcome {
			file := b.policyFile(`(?s)rules:.*`, "rules:\n  - id: builder\n    when: [")
			return ended(pathctl(b.t, b.home, "verify", "oci:"+b.store, "--policy", file), "policy")
		}},
		{"sets the variables that GitHub and Tekton set", "a level is what the environment says", "level", func(b *battle) outcome {
			for k, v := range map[string]string{
				"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/orders", "GITHUB_WORKFLOW_REF": "acme/orders/.github/workflows/path.yaml@refs/heads/main",
				"GITHUB_RUN_ID": "1", "RUNNER_ENVIRONMENT": "github-hosted", "TEKTON_PIPELINE_RUN": "x", "KUBERNETES_SERVICE_HOST": "10.0.0.1",
			} {
				b.t.Setenv(k, v)
			}
			to := "oci:" + filepath.Join(b.t.TempDir(), "store")
			runProcess(b.t, b.home, "ship", hello(b.t), "--vuln-db", b.db, "--to", to).says(b.t, "ship", 0)
			return b.verifyAt(to, "--param", "minLevel=2")
		}},
		{"shows a token that is for somebody else", "any token of the platform signs", "certificate authority", func(b *battle) outcome {
			b.token(b.t, "-audience", "https://elsewhere.example")
			return ended(b.shipped(b.withTest("")), "certificate authority")
		}},
		{"shows a token that has run out", "a leaked token signs for ever", "ran out", func(b *battle) outcome {
			b.token(b.t, "-life", "-1m")
			return ended(b.shipped(b.withTest("")), "ran out")
		}},
		{"reads the token's file in a test", "a dependency signs as the pipeline", "nothing to steal", func(b *battle) outcome {
			return ended(b.shipped(b.withTest(fmt.Sprintf("\tif _, err := os.ReadFile(%q); err != nil {\n\t\tt.Fatal(\"nothing to steal\")\n\t}", os.Getenv("PATHS_IDENTITY_TOKEN_FILE")))), "nothing to steal")
		}},
		{"reads the token's variable in a test", "a dependency asks for tokens itself", "nothing to steal", func(b *battle) outcome {
			b.t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x")
			return ended(b.shipped(b.withTest("\tif os.Getenv(\"ACTIONS_ID_TOKEN_REQUEST_TOKEN\") == \"\" && os.Getenv(\"PATHS_IDENTITY_TOKEN_FILE\") == \"\" {\n\t\tt.Fatal(\"nothing to steal\")\n\t}")), "nothing to steal")
		}},
	}
	return slices.Concat(all, references(), lies(), nearMisses())
}

// references are statements that refer to the image's scan, which lies beside them.
func references() []attack {
	note := func(key string, v any) func(*evidence.ReferenceV01) {
		return func(p *evidence.ReferenceV01) { p.References[0].Annotations["pavedpaths.dev/"+key] = v }
	}
	return []attack{
		{"swaps the scan that a statement refers to", "what is beside a signature is not signed", "unreadable-predicate", func(b *battle) outcome {
			digest := b.referred()
			bundle := b.referring(nil)
			b.write(b.path(digest), bytes.Replace(b.blob(digest), []byte("2026"), []byte("2027"), 1))
			return b.instead(bundle)
		}},
		{"takes away the scan that a statement refers to", "what is not known can't hurt", "unreadable-predicate", func(b *battle) outcome {
			digest := b.referred()
			bundle := b.referring(nil)
			b.rm(digest)
			return b.instead(bundle)
		}},
		{"puts the scan on a server of its own, which the statement names", "the verifier asks whomever it is told to", "unreadable-predicate", func(b *battle) outcome {
			digest := b.referred()
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { b.t.Error("it was asked") }))
			defer server.Close()
			bundle := b.referring(func(p *evidence.ReferenceV01) { p.References[0].DownloadLocation = server.URL })
			b.rm(digest)
			return b.instead(bundle)
		}},
		{"refers to a list of packages, and calls it a scan", "nothing was found, because nobody looked", "malformed-predicate", func(b *battle) outcome {
			st, err := evidence.ParseStatement(b.of(b.image, evidence.SPDX).statement)
			if err != nil {
				b.t.Fatal(err)
			}
			digest, _ := b.put(st.Predicate)
			return b.instead(b.referring(func(p *evidence.ReferenceV01) {
				p.References[0].Digest = evidence.SHA256(digest)
				note("size", len(st.Predicate))(p)
			}))
		}},
		{"refers to two scans at once", "the better one counts", "bad-reference", func(b *battle) outcome {
			return b.instead(b.referring(func(p *evidence.ReferenceV01) { p.References = append(p.References, p.References[0]) }))
		}},
		{"refers to a reference", "the verifier follows for ever", "bad-reference", func(b *battle) outcome {
			return b.instead(b.referring(note("predicateType", evidence.Reference.URI)))
		}},
		{"refers to more than anybody holds", "the verifier's memory ends", "bad-reference", func(b *battle) outcome {
			return b.instead(b.referring(note("size", int64(1)<<40)))
		}},
	}
}

// lies are told to the runner and to the attester, or to a verifier that would believe
// what was true once.
func lies() []attack {
	return []attack{
		{"hangs three copies of an old, clean scan beside a new, bad one", "the bad news is outvoted", "vulnerabilities", func(b *battle) outcome {
			old := b.of(b.image, evidence.Vulns)
			good := b.blob(old.bundle)
			b.rebundle(old, b.edited(evidence.Vulns, badNews))
			for range 3 {
				b.attach(b.image, good)
			}
			return b.verify()
		}},
		{"loosens the policy's gates in the service's own file", "the judged choose the law", "vulnerabilities", func(b *battle) outcome {
			b.rebundle(b.of(b.image, evidence.Vulns), b.edited(evidence.Vulns, badNews))
			b.rebundle(b.of(b.image, evidence.Provenance), b.edited(evidence.Provenance, func(p object) {
				external := p["buildDefinition"].(object)["externalParameters"].(object)
				config, _ := external["config"].(object)
				if config == nil {
					config = object{}
				}
				config["gates"] = object{"maxSeverity": "critical", "vulnDBMaxAge": "999999h"}
				external["config"] = config
			}))
			return b.verify()
		}},
		{"waives the hole in its own image", "the judged forgive themselves", "wrong-role", func(b *battle) outcome {
			b.rebundle(b.of(b.image, evidence.Vulns), b.edited(evidence.Vulns, badNews))
			b.attach(b.image, b.signAs(b.sigstoreWorld, b.waiver(string(b.image), "2099-01-01")))
			return b.verify()
		}},
		{"waives the hole in its own image, with the right to waive", "who may waive waives for themselves", "self-waived", func(b *battle) outcome {
			b.rebundle(b.of(b.image, evidence.Vulns), b.edited(evidence.Vulns, badNews))
			b.attach(b.image, b.signAs(b.sigstoreWorld, b.waiver(string(b.image), time.Now().AddDate(0, 0, 7).Format(time.DateOnly))))
			return b.verify("--trust", b.withRoles("[attester, waiver]", "[verifier]"))
		}},
		{"hangs another image's waiver on this one", "one waiver waives all", "wrong-subject", func(b *battle) outcome {
			b.rebundle(b.of(b.image, evidence.Vulns), b.edited(evidence.Vulns, badNews))
			b.attach(b.image, signed(b.t, b.home, attest.VerifierKey, b.waiver("sha256:"+strings.Repeat("5", 64), time.Now().AddDate(0, 0, 7).Format(time.DateOnly))))
			return b.verify("--trust", b.withRoles("[attester]", "[waiver]"))
		}},
		{"shows a waiver that has ended", "what was accepted once is for ever", "vulnerabilities", func(b *battle) outcome {
			b.rebundle(b.of(b.image, evidence.Vulns), b.edited(evidence.Vulns, badNews))
			trust := b.withRoles("[attester]", "[waiver]")
			b.attach(b.image, signed(b.t, b.home, attest.VerifierKey, b.waiver(string(b.image), time.Now().AddDate(0, 0, 7).Format(time.DateOnly))))
			if o := b.verify("--trust", trust); o.code != 0 {
				b.t.Fatalf("a waiver that has not ended is refused: %s", o.text)
			}
			b.restore()
			b.rebundle(b.of(b.image, evidence.Vulns), b.edited(evidence.Vulns, badNews))
			b.attach(b.image, signed(b.t, b.home, attest.VerifierKey, b.waiver(string(b.image), "2026-01-31")))
			return b.verify("--trust", trust)
		}},
		{"calls its own build a second builder's", "one builder agrees with itself", "reproduced", func(b *battle) outcome {
			return b.verify("--reproduced-by", "oci:"+b.store)
		}},
		{"changes what the cache says of its scan", "what was found once is forgotten", "is unusable", func(b *battle) outcome {
			src := hello(b.t)
			b.shipped(src).says(b.t, "ship", 0)
			entries, err := filepath.Glob(filepath.Join(b.home, "cache", "attest", "steps", "scan", "*", "entry.json"))
			if err != nil || len(entries) == 0 {
				b.t.Fatalf("no scan is in the cache: %v", err)
			}
			for _, e := range entries {
				raw, err := os.ReadFile(e)
				if err != nil {
					b.t.Fatal(err)
				}
				if err := os.WriteFile(e, bytes.Replace(raw, []byte(time.Now().UTC().Format("2006-")), []byte("1999-"), 1), 0o600); err != nil {
					b.t.Fatal(err)
				}
			}
			// It is scanned anew, which is no refusal of the image.
			o := ended(b.shipped(src), "is unusable")
			o.code = 3 * len(o.reasons)
			return o
		}},
		{"names a vulnerability database of its own in its record", "the judged choose what is known of them", "which the attester takes from nobody but you", func(b *battle) outcome {
			return ended(b.attested(func(record object) {
				record["inputs"].(object)["vulnDB"] = []any{"oci://evil.example.com/vulndb:2"}
			}), "which the attester takes from nobody but you")
		}},
		{"writes into its record that a platform vouches for it", "a level is what the builder says", "can't vouch for that", func(b *battle) outcome {
			return ended(b.attested(func(record object) {
				for _, f := range record["facts"].([]any) {
					if f := f.(object); f["name"] == provenance.FactSource {
						f["value"] = provenance.SourceControlPlane
					}
				}
			}, "--vuln-db", b.db), "can't vouch for that")
		}},
		{"runs a platform of its own, which vouches for its jobs", "anybody's platform is hosted", "level", func(b *battle) outcome {
			src := hello(b.t)
			platform := b.platform("acme/orders", commit(b.t, src))
			b.t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", platform+"/token?v=1")
			b.t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job")
			to := "oci:" + filepath.Join(b.t.TempDir(), "store")
			git(b.t, src, "remote", "set-url", "origin", "https://github.com/acme/orders.git")
			runProcess(b.t, b.home, "ship", src, "--vuln-db", b.db, "--to", to).says(b.t, "ship", 0)
			flags := []string{"--trust", b.trusting(), "--param", "minLevel=2"}
			v, _ := verdictOf(b.t, b.home, append(flags, to)...)
			if why := fmt.Sprint(v.Level.Reasons); !strings.Contains(why, "does not take the word of "+platform) {
				b.t.Errorf("the level fails for another reason: %s", why)
			}
			return b.verifyAt(to, flags...)
		}},
		{"prints that a test passed which failed", "red is green", "example.com/hello.TestLies", func(b *battle) outcome {
			src := hello(b.t)
			text := "package main\n\nimport \"testing\"\n\nfunc TestLies(t *testing.T) {\n\tprintln(\"--- PASS: TestLies (0.00s)\\nPASS\\nok\\texample.com/hello\\t0.004s\")\n\tt.Fatal(\"broken\")\n}\n"
			if err := os.WriteFile(filepath.Join(src, "lies_test.go"), []byte(text), 0o644); err != nil {
				b.t.Fatal(err)
			}
			return ended(b.shipped(src), "example.com/hello.TestLies")
		}},
	}
}

// badNews is a scan of now that found something.
func badNews(p object) {
	now := time.Now().UTC()
	m := p["metadata"].(object)
	m["scanStartedOn"], m["scanFinishedOn"] = now.Format(time.RFC3339), now.Add(time.Second).Format(time.RFC3339)
	p["scanner"].(object)["result"] = []any{object{
		"id": "CVE-2026-4242", "severity": []any{object{"method": "nvd", "score": "high"}},
		"annotations": []any{object{"package": "stdlib", "version": "1.0"}},
	}}
}

// attested ships another service by its zones, and has the attester take what the
// build says, with a change.
func (b *battle) attested(change func(record object), flags ...string) result {
	b.t.Helper()
	src, dir := hello(b.t), b.t.TempDir()
	zone := func(name string, args ...string) {
		runProcess(b.t, b.home, append([]string{"zone", name, "--out", filepath.Join(dir, name)}, args...)...).says(b.t, "zone "+name, 0)
	}
	zone("fetch", src)
	zone("build", "--from", filepath.Join(dir, "fetch"))
	zone("publish", "--from", filepath.Join(dir, "fetch"), "--from", filepath.Join(dir, "build"))
	for _, name := range []string{"fetch", "build", "publish"} {
		file := filepath.Join(dir, name, "record.json")
		raw, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		record := decoded(b.t, raw).(object)
		change(record)
		if err := os.WriteFile(file, encoded(b.t, record), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	return runProcess(b.t, b.home, append([]string{"attest", "--from", filepath.Join(dir, "fetch"), "--from", filepath.Join(dir, "build"),
		"--from", filepath.Join(dir, "publish"), "--to", "oci:" + filepath.Join(dir, "store")}, flags...)...)
}

// nearMisses sign with certificates of the right Sigstore that name somebody else, by a
// little.
func nearMisses() []attack {
	right := strings.TrimPrefix(trustSubject, "https://github.com/")
	var all []attack
	for _, miss := range [][2]string{
		{"a capital letter", strings.Replace(right, "acme", "Acme", 1)},
		{"a letter more at the end", right + "x"},
		{"a letter less at the end", right[:len(right)-1]},
		{"another path to the same file", strings.Replace(right, "acme/orders/", "acme/x/%2e%2e/orders/", 1)},
		{"a letter that looks alike", strings.Replace(right, "acme", "аcme", 1)},
		{"another branch", strings.Replace(right, "heads/main", "heads/dev", 1)},
		{"a tag in the place of a branch", strings.Replace(right, "heads/main", "tags/main", 1)},
		{"the right name inside of another", "evil/x/.github/workflows/y.yaml@refs/heads/" + right},
	} {
		all = append(all, attack{"gets a certificate that differs by " + miss[0], "almost is enough", "unknown-signer", func(b *battle) outcome {
			return b.instead(b.signAs(b.sigstoreWorld, b.scan(), "-workflow", miss[1]))
		}})
	}
	return append(all, attack{"gets a certificate of the right name from another issuer", "any platform's names count", "unknown-signer", func(b *battle) outcome {
		return b.instead(b.signAs(b.sigstoreWorld, b.scan(), "-shape", "kubernetes"))
	}})
}
