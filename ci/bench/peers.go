package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// peers are the four tools with which a CI script does what ship does.
type peers struct {
	bin    string // folder with ko, syft, trivy and cosign
	goTool string
	work   string // for keys and files between the commands
	cache  string // trivy's, with the database
	addr   string
	env    []string
}

// peersRun is one measured run of the whole script.
type peersRun struct {
	Commands []usage `json:"commands"`
	Total    usage   `json:"total"`
	// Attest is the part from SBOM to verification.
	Attest usage `json:"attest"`

	reference string
}

// predicates are the five that are attested, by the type and in the file that
// cosign is given. Those of the SBOMs and the scan are made on the way; a CI
// script would write the other two with a few lines of shell, which costs it
// nothing here.
var predicates = []struct{ typ, file string }{
	{"spdxjson", "sbom.spdx.json"},
	{"cyclonedx", "sbom.cdx.json"},
	{"vuln", "vuln.json"},
	{"slsaprovenance1", "provenance.json"},
	{"https://in-toto.io/attestation/test-result/v0.1", "test-result.json"},
}

// prepare makes what every run of the script finds: a key, and two predicates.
func (p *peers) prepare(ctx context.Context) error {
	if err := os.MkdirAll(p.work, 0o755); err != nil {
		return err
	}
	if _, _, err := run(ctx, command{name: "cosign generate-key-pair", dir: p.work, env: p.env, args: []string{p.tool("cosign"), "generate-key-pair"}}); err != nil {
		return err
	}
	for name, v := range map[string]any{
		"provenance.json": map[string]any{
			"buildDefinition": map[string]any{
				"buildType":            "https://example.com/ci/v1",
				"externalParameters":   map[string]any{"source": "."},
				"resolvedDependencies": []any{},
			},
			"runDetails": map[string]any{"builder": map[string]any{"id": "https://example.com/ci"}},
		},
		"test-result.json": map[string]any{
			"result":        "PASSED",
			"configuration": []any{map[string]any{"name": "go test"}},
		},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.work, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (p *peers) tool(name string) string { return filepath.Join(p.bin, name) }

// koBase names the base image: the one that ours builds on, pushed beforehand.
func (p *peers) koBase() string { return p.addr + "/base:v1" }

// script runs the commands of a CI script one after the other, each a process.
// Where a tool has a faster way to the same, the script takes it: syft writes
// both formats in one run, trivy does not look for updates, ko makes no SBOM of
// its own, and nothing is sent to a transparency log.
func (p *peers) script(ctx context.Context, s *service) (peersRun, error) {
	var r peersRun
	step := func(name, dir string, env []string, args ...string) (string, error) {
		u, out, err := run(ctx, command{name: name, dir: dir, env: append(p.env[:len(p.env):len(p.env)], env...), args: args})
		r.Commands = append(r.Commands, u)
		return strings.TrimSpace(string(out)), err
	}
	if _, err := step("go test", s.dir, nil, p.goTest()...); err != nil {
		return r, err
	}
	ref, err := step("ko build", s.dir, []string{"KO_DOCKER_REPO=" + p.addr + "/peers/" + s.name, "KO_DEFAULTBASEIMAGE=" + p.koBase()},
		p.tool("ko"), "build", "--bare", "--platform=linux/amd64", "--sbom=none", s.main)
	if err != nil {
		return r, err
	}
	if !strings.Contains(ref, "@sha256:") {
		return r, fmt.Errorf("ko printed %q, which names no digest", ref)
	}
	produced := len(r.Commands)
	if _, err := step("syft", p.work, nil, p.tool("syft"), "scan", "registry:"+ref, "-q", "-o", "spdx-json=sbom.spdx.json", "-o", "cyclonedx-json=sbom.cdx.json"); err != nil {
		return r, err
	}
	if _, err := step("trivy", p.work, nil, p.tool("trivy"), "image", "--quiet", "--image-src", "remote", "--scanners", "vuln,secret",
		"--cache-dir", p.cache, "--skip-db-update", "--skip-java-db-update", "--offline-scan", "--skip-version-check", "--disable-telemetry",
		"--format", "cosign-vuln", "--output", "vuln.json", ref); err != nil {
		return r, err
	}
	if _, err := step("cosign sign", p.work, nil, p.tool("cosign"), "sign", "--key", "cosign.key", "--tlog-upload=false", "--yes", ref); err != nil {
		return r, err
	}
	for _, a := range predicates {
		if _, err := step("cosign attest "+a.file, p.work, nil, p.tool("cosign"), "attest", "--key", "cosign.key", "--tlog-upload=false", "--yes", "--replace",
			"--type", a.typ, "--predicate", a.file, ref); err != nil {
			return r, err
		}
	}
	if _, err := step("cosign verify", p.work, nil, p.tool("cosign"), "verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", ref); err != nil {
		return r, err
	}
	for _, a := range predicates {
		u, err := p.verifyAttestation(ctx, ref, a.typ)
		r.Commands = append(r.Commands, u)
		if err != nil {
			return r, err
		}
	}
	r.Total = sum("all", r.Commands)
	r.Attest = sum("attest", r.Commands[produced:])
	r.reference = ref
	return r, nil
}

func (p *peers) verifyAttestation(ctx context.Context, ref, typ string) (usage, error) {
	u, _, err := run(ctx, command{name: "cosign verify-attestation " + typ, dir: p.work, env: p.env,
		args: []string{p.tool("cosign"), "verify-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog=true", "--type", typ, ref}})
	return u, err
}

// goTest is the same test that ship runs. The flag -trimpath lets it share
// compiled packages with ko.
func (p *peers) goTest() []string {
	return []string{p.goTool, "test", "-trimpath", "-coverprofile=" + filepath.Join(p.work, "cover.out"), "./..."}
}
