package provenance

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	packageurl "github.com/package-url/packageurl-go"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// dependencies are what the build resolved: source, commit, base image,
// toolchain, vulnerability database, the tool itself, what the platform used, then the
// modules by path.
func dependencies(b Build, n nodes) ([]evidence.ResourceDescriptor, error) {
	deps := []evidence.ResourceDescriptor{{
		Name: DependencySource, Digest: evidence.SHA256(b.Source), MediaType: "application/x-tar",
	}}
	revision, err := revision(b.Record)
	if err != nil {
		return nil, err
	}
	if revision != nil {
		deps = append(deps, *revision)
	}
	for _, d := range []struct{ name, digest, uri string }{
		{DependencyBase, "baseDigest", baseURI(text(b.Record.Inputs["base"]))},
		{DependencyToolchain, "toolchainDigest", packageurl.NewPackageURL("generic", "", "go", strings.TrimPrefix(output(n.fetch, "toolchain"), "go"), nil, "").ToString()},
	} {
		digest, err := step.ParseDigest(output(n.fetch, d.digest))
		if err != nil {
			return nil, fmt.Errorf("run record: %s of the fetch node: %w", d.digest, err)
		}
		deps = append(deps, evidence.ResourceDescriptor{Name: d.name, URI: d.uri, Digest: evidence.SHA256(digest)})
	}
	if b.DBDigest != "" {
		deps = append(deps, evidence.ResourceDescriptor{Name: DependencyVulnDB, URI: b.DBSource, Digest: evidence.SHA256(b.DBDigest)})
	}
	t := b.Record.Tool
	deps = append(deps, evidence.ResourceDescriptor{
		Name:   DependencyTool,
		URI:    packageurl.NewPackageURL("golang", "github.com/pavedpaths", "paths", t.Version, nil, "pathsdk/cmd/pathctl").ToString(),
		Digest: evidence.SHA256(t.Digest),
	})
	for _, m := range b.Record.Platform {
		if _, err := step.ParseDigest(string(m.Digest)); err != nil {
			return nil, fmt.Errorf("run record: %s: %w", m.Name, err)
		}
		deps = append(deps, evidence.ResourceDescriptor{Name: m.Name, URI: m.URI, Digest: evidence.SHA256(m.Digest)})
	}
	modules, err := modules(b.Modules)
	if err != nil {
		return nil, err
	}
	return append(deps, modules...), nil
}

// revision is the commit, if the source has one. A dirty source is not that
// commit's, and says so.
func revision(r Record) (*evidence.ResourceDescriptor, error) {
	commit := text(r.Inputs["revision"])
	if commit == "" {
		return nil, nil
	}
	if !regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`).MatchString(commit) {
		return nil, fmt.Errorf("run record: revision %.80q is not a full git commit", commit)
	}
	d := &evidence.ResourceDescriptor{
		Name:   DependencyRevision,
		Digest: map[string]string{"gitCommit": commit},
	}
	if repo := text(r.Inputs["repository"]); repo != "" {
		d.URI = "git+" + strings.TrimPrefix(repo, "git+") + "@" + commit
	}
	var dirty bool
	if raw, ok := r.Inputs["dirty"]; ok {
		if err := json.Unmarshal(raw, &dirty); err != nil {
			return nil, fmt.Errorf("run record: input dirty: %w", err)
		}
	}
	if dirty {
		d.Annotations = map[string]any{"dirty": true}
	}
	return d, nil
}

// modules turns go.sum's sums into the dirHash of the in-toto digest set
// (spec/v1/digest_set.md): h1 in hexadecimal instead of base64.
func modules(ms []gomod.Module) ([]evidence.ResourceDescriptor, error) {
	var out []evidence.ResourceDescriptor
	for _, m := range ms {
		sum, ok := strings.CutPrefix(m.Sum, "h1:")
		raw, err := base64.StdEncoding.DecodeString(sum)
		if !ok || err != nil || len(raw) != 32 || m.Path == "" || m.Version == "" {
			return nil, fmt.Errorf("module %.200s@%.80s: sum %.80q is not an h1 sum", m.Path, m.Version, m.Sum)
		}
		namespace, name := "", m.Path
		if i := strings.LastIndexByte(m.Path, '/'); i >= 0 {
			namespace, name = m.Path[:i], m.Path[i+1:]
		}
		out = append(out, evidence.ResourceDescriptor{
			Name:   m.Path,
			URI:    packageurl.NewPackageURL("golang", namespace, name, m.Version, nil, "").ToString(),
			Digest: map[string]string{"dirHash": hex.EncodeToString(raw)},
		})
	}
	slices.SortFunc(out, func(a, b evidence.ResourceDescriptor) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.URI, b.URI))
	})
	for i := 1; i < len(out); i++ {
		if out[i].URI == out[i-1].URI {
			return nil, fmt.Errorf("module %s stands in the build list twice", out[i].Name)
		}
	}
	return out, nil
}

// baseURI names the base image without its digest, which stands beside it.
func baseURI(base string) string {
	base, _, _ = strings.Cut(base, "@")
	if base == "" || base == "scratch" {
		return ""
	}
	return "oci://" + base
}
