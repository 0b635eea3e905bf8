package provenance_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	provpb "github.com/in-toto/attestation/go/predicates/provenance/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func digest(c string) step.Digest { return step.Digest("sha256:" + strings.Repeat(c, 64)) }

var start = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// sample is a run that shipped a service.
func sample() provenance.Build {
	node := func(id string, zone step.Zone, minute int, sub step.Subject, output string) provenance.NodeRecord {
		return provenance.NodeRecord{
			ID: id, Step: id, Version: "0.1.0", Zone: zone, Subject: sub,
			StartedOn: start.Add(time.Duration(minute) * time.Minute), FinishedOn: start.Add(time.Duration(minute+1) * time.Minute),
			Output: json.RawMessage(output),
		}
	}
	fetch := node("fetch", step.ZoneFetch, 0, step.Subject{Name: "source", Digest: digest("1")},
		`{"baseDigest":"`+string(digest("b"))+`","toolchain":"go1.26.8","toolchainDigest":"`+string(digest("c"))+`"}`)
	fetch.Files = map[string]step.Digest{"modules": digest("d"), "tarball": digest("1")}
	test := node("test", step.ZoneBuild, 1, step.Subject{Name: "source", Digest: digest("1")}, `{}`)
	test.Files = map[string]step.Digest{"junit": digest("8"), "coverprofile": digest("9")}
	return provenance.Build{
		Record: provenance.Record{
			Path: "microservice", Version: "0.1.0", Invocation: "5b1f6c1e",
			Inputs: map[string]json.RawMessage{
				"platforms":  json.RawMessage(`["linux/amd64"]`),
				"base":       json.RawMessage(`"registry.example/base:1@` + string(digest("b")) + `"`),
				"revision":   json.RawMessage(`"` + strings.Repeat("a", 40) + `"`),
				"repository": json.RawMessage(`"https://example.com/team/app"`),
				"dirty":      json.RawMessage(`false`),
			},
			Config: json.RawMessage(`{"apiVersion":"pavedpaths.dev/v1","kind":"Service"}`),
			Tool:   provenance.Tool{Name: "pathctl", Version: "v0.1.0", Digest: digest("7")},
			Facts:  provenance.Workstation(provenance.Fence{Landlock: true, Namespaces: true, NoNetwork: true}),
			Nodes: []provenance.NodeRecord{
				fetch, test,
				node("build", step.ZoneBuild, 1, step.Subject{Name: "app", Digest: digest("2")}, `{}`),
				node("publish", step.ZonePublish, 3, step.Subject{Name: "app", Digest: digest("2")}, `{}`),
			},
		},
		Image: digest("2"), Source: digest("1"),
		Modules: []gomod.Module{
			{Path: "example.com/b", Version: "v1.0.0", Sum: "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48="},
			{Path: "example.com/a/v2", Version: "v2.0.0", Sum: "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48="},
		},
		ModulesDigest: digest("d"),
		DBDigest:      digest("e"), DBSource: "registry.example/trivy-db:2",
	}
}

func predicate(t testing.TB, b provenance.Build) evidence.ProvenanceV1 {
	t.Helper()
	p, err := provenance.Predicate(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPredicate(t *testing.T) {
	p := predicate(t, sample())
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var pb provpb.Provenance
	if err := protojson.Unmarshal(raw, &pb); err != nil {
		t.Fatal(err)
	}
	if err := pb.Validate(); err != nil {
		t.Error(err)
	}
	if strings.Contains(strings.ToLower(string(raw)), "slsa_build_level") {
		t.Error("provenance states a level")
	}
	again, err := predicate(t, sample()).Encode()
	if err != nil || string(again) != string(raw) {
		t.Errorf("the same build gave other bytes: %v", err)
	}

	parameters := map[string]string{}
	for k, v := range p.BuildDefinition.ExternalParameters {
		parameters[k] = string(v)
	}
	wantParameters := map[string]string{
		"path": `"microservice"`, "version": `"0.1.0"`,
		"config": `{"apiVersion":"pavedpaths.dev/v1","kind":"Service"}`,
		"inputs": `{"base":"registry.example/base:1@` + string(digest("b")) + `","dirty":false,"platforms":["linux/amd64"],` +
			`"repository":"https://example.com/team/app","revision":"` + strings.Repeat("a", 40) + `","source":"` + string(digest("1")) + `"}`,
	}
	if diff := cmp.Diff(wantParameters, parameters); diff != "" {
		t.Errorf("externalParameters: %s", diff)
	}

	// The example of digest_set.md, section dirHash.
	const dirHash = "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f"
	wantDeps := []evidence.ResourceDescriptor{
		{Name: "source", Digest: evidence.SHA256(digest("1")), MediaType: "application/x-tar"},
		{Name: "revision", URI: "git+https://example.com/team/app@" + strings.Repeat("a", 40), Digest: map[string]string{"gitCommit": strings.Repeat("a", 40)}},
		{Name: "base image", URI: "oci://registry.example/base:1", Digest: evidence.SHA256(digest("b"))},
		{Name: "toolchain", URI: "pkg:generic/go@1.26.8", Digest: evidence.SHA256(digest("c"))},
		{Name: "vulnerability database", URI: "registry.example/trivy-db:2", Digest: evidence.SHA256(digest("e"))},
		{Name: "pathctl", URI: "pkg:golang/github.com/pavedpaths/paths@v0.1.0#pathsdk/cmd/pathctl", Digest: evidence.SHA256(digest("7"))},
		{Name: "example.com/a/v2", URI: "pkg:golang/example.com/a/v2@v2.0.0", Digest: map[string]string{"dirHash": dirHash}},
		{Name: "example.com/b", URI: "pkg:golang/example.com/b@v1.0.0", Digest: map[string]string{"dirHash": dirHash}},
	}
	if diff := cmp.Diff(wantDeps, p.BuildDefinition.ResolvedDependencies); diff != "" {
		t.Errorf("resolvedDependencies: %s", diff)
	}

	finish := start.Add(4 * time.Minute)
	wantRun := evidence.RunDetails{
		Builder:  evidence.Builder{ID: provenance.BuilderWorkstation, Version: map[string]string{"pathctl": "v0.1.0"}},
		Metadata: &evidence.BuildMetadata{InvocationID: "5b1f6c1e", StartedOn: &start, FinishedOn: &finish},
		Byproducts: []evidence.ResourceDescriptor{
			{Name: "test/coverprofile", Digest: evidence.SHA256(digest("9"))},
			{Name: "test/junit", Digest: evidence.SHA256(digest("8"))},
		},
	}
	if diff := cmp.Diff(wantRun, p.RunDetails); diff != "" {
		t.Errorf("runDetails: %s", diff)
	}
	back, err := evidence.ParseProvenance(raw)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := provenance.Facts(back)
	if err != nil || len(facts) != len(sample().Record.Facts) {
		t.Errorf("facts: %v, %v", facts, err)
	}
}

func TestPredicateVariants(t *testing.T) {
	find := func(p evidence.ProvenanceV1, name string) *evidence.ResourceDescriptor {
		for _, d := range p.BuildDefinition.ResolvedDependencies {
			if d.Name == name {
				return &d
			}
		}
		return nil
	}
	b := sample()
	b.Record.Inputs["dirty"] = json.RawMessage("true")
	if d := find(predicate(t, b), "revision"); d == nil || d.Annotations["dirty"] != true {
		t.Errorf("a dirty tree is not recorded: %+v", d)
	}
	b = sample()
	delete(b.Record.Inputs, "revision")
	if d := find(predicate(t, b), "revision"); d != nil {
		t.Errorf("a revision out of nowhere: %+v", d)
	}
	b = sample()
	b.Record.Inputs["base"] = json.RawMessage(`"scratch"`)
	if d := find(predicate(t, b), "base image"); d == nil || d.URI != "" || d.Digest["sha256"] == "" {
		t.Errorf("scratch: %+v", d)
	}
	b = sample()
	b.DBDigest, b.DBSource = "", ""
	if d := find(predicate(t, b), "vulnerability database"); d != nil {
		t.Errorf("a database out of nowhere: %+v", d)
	}
	b = sample()
	b.Record.Config = nil
	if _, ok := predicate(t, b).BuildDefinition.ExternalParameters["config"]; ok {
		t.Error("a configuration out of nowhere")
	}
}

func TestPredicateRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*provenance.Build)
		want   string
	}{
		{"another image", func(b *provenance.Build) { b.Image = digest("f") }, "refuses"},
		{"another source", func(b *provenance.Build) { b.Source = digest("f") }, "refuses"},
		{"another build list", func(b *provenance.Build) { b.ModulesDigest = digest("f") }, "refuses"},
		{"no build list recorded", func(b *provenance.Build) { b.Record.Nodes[0].Files = nil }, "refuses"},
		{"no build node", func(b *provenance.Build) { b.Record.Nodes = b.Record.Nodes[:2] }, "0 nodes ran step build"},
		{"two build nodes", func(b *provenance.Build) { b.Record.Nodes = append(b.Record.Nodes, b.Record.Nodes[2]) }, "2 nodes ran step build"},
		{"no fetch node", func(b *provenance.Build) { b.Record.Nodes = b.Record.Nodes[1:] }, "0 nodes ran step fetch"},
		{"failed node", func(b *provenance.Build) { b.Record.Nodes[1].Error = "tests: 1 failed" }, "failed"},
		{"a node of the attester", func(b *provenance.Build) { b.Record.Nodes[1].Zone = step.ZoneAttest }, "not the producer's"},
		{"an unknown zone", func(b *provenance.Build) { b.Record.Nodes[1].Zone = "" }, "not the producer's"},
		{"no times", func(b *provenance.Build) { b.Record.Nodes[1].StartedOn = time.Time{} }, "times"},
		{"ends before it starts", func(b *provenance.Build) { b.Record.Nodes[1].FinishedOn = start.Add(-time.Hour) }, "times"},
		{"no invocation", func(b *provenance.Build) { b.Record.Invocation = "" }, "invocation"},
		{"no path", func(b *provenance.Build) { b.Record.Path = "" }, "path"},
		{"no tool digest", func(b *provenance.Build) { b.Record.Tool.Digest = "" }, "tool"},
		{"no base digest", func(b *provenance.Build) { b.Record.Nodes[0].Output = json.RawMessage(`{}`) }, "baseDigest"},
		{"output is no object", func(b *provenance.Build) { b.Record.Nodes[0].Output = json.RawMessage(`[]`) }, "baseDigest"},
		{"short revision", func(b *provenance.Build) { b.Record.Inputs["revision"] = json.RawMessage(`"abc123"`) }, "full git commit"},
		{"dirty is no bool", func(b *provenance.Build) { b.Record.Inputs["dirty"] = json.RawMessage(`"yes"`) }, "dirty"},
		{"go.mod hash", func(b *provenance.Build) { b.Modules[0].Sum = "h1:AAAA" }, "h1 sum"},
		{"another hash", func(b *provenance.Build) { b.Modules[0].Sum = strings.Replace(b.Modules[0].Sum, "h1", "h2", 1) }, "h1 sum"},
		{"module without version", func(b *provenance.Build) { b.Modules[0].Version = "" }, "h1 sum"},
		{"module twice", func(b *provenance.Build) { b.Modules[1] = b.Modules[0] }, "twice"},
		{"fact without how", func(b *provenance.Build) { b.Record.Facts[0].How = "" }, "how it was established"},
		{"fact twice", func(b *provenance.Build) { b.Record.Facts[1].Name = b.Record.Facts[0].Name }, "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := sample()
			tt.change(&b)
			_, err := provenance.Predicate(b)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestParseRecord(t *testing.T) {
	raw, err := json.Marshal(sample().Record)
	if err != nil {
		t.Fatal(err)
	}
	r, err := provenance.ParseRecord(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample().Record, r); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"empty": "", "list": "[]", "truncated": string(raw[:len(raw)/2]), "trailing": string(raw) + "{}",
		"unknown field":   strings.Replace(string(raw), "{", `{"level":3,`, 1),
		"repeated field":  strings.Replace(string(raw), "{", `{"path":"x",`, 1),
		"in another case": strings.Replace(string(raw), `"path"`, `"Path"`, 1),
		"not UTF-8":       strings.Replace(string(raw), "microservice", "\xff", 1),
		"huge":            strings.Repeat(" ", provenance.MaxRecord+1),
	} {
		if _, err := provenance.ParseRecord([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	raw, err := json.Marshal(sample().Record)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"nodes":[null],"facts":[{}],"inputs":{"a":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := provenance.ParseRecord(b)
		if err != nil {
			return
		}
		build := sample()
		build.Record = r
		p, err := provenance.Predicate(build)
		if err != nil {
			return
		}
		raw, err := p.Encode()
		if err != nil {
			return
		}
		back, err := evidence.ParseProvenance(raw)
		if err != nil {
			t.Fatal(err)
		}
		if level, _ := provenance.Level(back, trusted(provenance.MaxLevel)); level > 0 && len(back.BuildDefinition.ResolvedDependencies) == 0 {
			t.Errorf("level %d without inputs", level)
		}
	})
}
