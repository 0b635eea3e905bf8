package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func TestDocuments(t *testing.T) {
	layout, d := store(t, imageOf(t, "amd64", service(t)))
	env := newEnv(t)
	out, ev, err := runStep(t, New(), env, inputsFor(t, layout, d))
	if err != nil {
		t.Fatal(err)
	}
	if out.Digest != d || out.Packages != 4 || out.Notes != 0 {
		t.Errorf("output %+v: want the image's digest, 4 packages and no notes", out)
	}
	if diff := cmp.Diff([]string{evidence.SPDX.URI, evidence.CycloneDX.URI}, typesOf(ev)); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	for _, e := range ev {
		if e.Subject == nil || *e.Subject != (step.Subject{Name: "example/hello", Digest: d}) {
			t.Errorf("%s is about %v, want the platform's manifest", e.Type, e.Subject)
		}
	}
	spdx, cdx := read(t, out, "linux-amd64.spdx.json"), read(t, out, "linux-amd64.cdx.json")
	if !bytes.Equal(spdx, ev[0].Predicate) || !bytes.Equal(cdx, ev[1].Predicate) {
		t.Error("predicates differ from the files")
	}
	validate(t, spdx, cdx)

	type component struct{ Type, Name, Version, Purl, Scope string }
	var bom struct {
		SpecVersion string
		Metadata    struct {
			Timestamp string
			Component struct {
				component
				Hashes []struct{ Alg, Content string }
			}
		}
		Components []component
	}
	unmarshal(t, cdx, &bom)
	release, _, _ := strings.Cut(goVersion(t), " ")
	want := []component{
		{"library", "example.com/hello", "", "pkg:golang/example.com/hello", ""},
		{"library", "github.com/google/go-cmp", "v0.7.0", "pkg:golang/github.com/google/go-cmp@v0.7.0", "excluded"},
		{"library", "golang.org/x/mod", "v0.36.0", "pkg:golang/golang.org/x/mod@v0.36.0", ""},
		{"library", "golang.org/x/sync", "v0.20.0", "pkg:golang/golang.org/x/sync@v0.20.0", ""},
		{"library", "golang.org/x/tools", "v0.44.0", "pkg:golang/golang.org/x/tools@v0.44.0", "excluded"},
		{"library", "stdlib", release, "pkg:golang/stdlib@" + strings.TrimPrefix(release, "go"), ""},
	}
	if diff := cmp.Diff(want, bom.Components); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	root := bom.Metadata.Component
	if bom.SpecVersion != "1.6" || bom.Metadata.Timestamp != created || root.Type != "container" || root.Name != "example/hello" || root.Version != string(d) || root.Hashes[0].Content != d.Hex() {
		t.Errorf("head of the document: %+v", bom.Metadata)
	}

	var doc struct {
		SpdxVersion  string
		CreationInfo struct{ Created string }
		Packages     []struct {
			SPDXID, Name, VersionInfo string
			Checksums                 []struct{ Algorithm, ChecksumValue string }
		}
		Relationships []struct{ SpdxElementId, RelationshipType, RelatedSpdxElement string }
	}
	unmarshal(t, spdx, &doc)
	names := map[string]string{}
	hashed := map[string]bool{}
	for _, p := range doc.Packages {
		names[p.SPDXID] = p.Name
		hashed[p.Name] = len(p.Checksums) > 0
	}
	var relations []string
	for _, r := range doc.Relationships {
		relations = append(relations, names[r.SpdxElementId]+" "+r.RelationshipType+" "+names[r.RelatedSpdxElement])
	}
	slices.Sort(relations)
	wantRelations := []string{
		" DESCRIBES example/hello",
		"example/hello CONTAINS example.com/hello",
		"example/hello CONTAINS golang.org/x/mod",
		"example/hello CONTAINS golang.org/x/sync",
		"example/hello CONTAINS stdlib",
		"github.com/google/go-cmp BUILD_DEPENDENCY_OF example/hello",
		"golang.org/x/mod DEPENDENCY_OF example.com/hello",
		"golang.org/x/sync DEPENDENCY_OF example.com/hello",
		"golang.org/x/tools BUILD_DEPENDENCY_OF example/hello",
		"stdlib DEPENDENCY_OF example.com/hello",
	}
	if diff := cmp.Diff(wantRelations, relations); diff != "" {
		t.Errorf("relationships (-want +got):\n%s", diff)
	}
	if doc.SpdxVersion != "SPDX-2.3" || doc.CreationInfo.Created != created {
		t.Errorf("head of the document: %s %s", doc.SpdxVersion, doc.CreationInfo.Created)
	}
	for _, name := range []string{"example/hello", "golang.org/x/mod", "golang.org/x/sync", "github.com/google/go-cmp"} {
		if !hashed[name] {
			t.Errorf("%s has no checksum", name)
		}
	}
}

func TestPlatforms(t *testing.T) {
	layout, d := store(t, imageOf(t, "amd64", service(t)), imageOf(t, "arm64", service(t)))
	out, ev, err := runStep(t, New(), newEnv(t), inputsFor(t, layout, d))
	if err != nil {
		t.Fatal(err)
	}
	subjects := map[step.Digest]int{}
	for _, e := range ev {
		subjects[e.Subject.Digest]++
	}
	if len(subjects) != 2 || len(ev) != 4 || subjects[d] != 0 {
		t.Errorf("evidence is about %v, want two for each platform's manifest and none for the index", subjects)
	}
	if out.Packages != 4 {
		t.Errorf("%d packages, want 4: both platforms have the same", out.Packages)
	}
	var files []string
	for _, f := range must(os.ReadDir(string(out.SBOMs)))(t) {
		files = append(files, f.Name())
	}
	want := []string{"linux-amd64.cdx.json", "linux-amd64.spdx.json", "linux-arm64.cdx.json", "linux-arm64.spdx.json"}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	a, b := read(t, out, want[0]), read(t, out, want[2])
	if serial(t, a) == serial(t, b) {
		t.Error("two images share a serial number")
	}
}

func TestTwoManifestsForOnePlatform(t *testing.T) {
	other := tarOf(t, entryFile{name: "other"})
	layout, d := store(t, imageOf(t, "amd64", service(t)), imageOf(t, "amd64", service(t), other))
	_, _, err := runStep(t, New(), newEnv(t), inputsFor(t, layout, d))
	if err == nil || !strings.Contains(err.Error(), "two manifests for linux/amd64") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// TestSameBytes runs the step in different folders, with its folders for
// temporary files elsewhere, and compares every byte.
func TestSameBytes(t *testing.T) {
	program := program(t)
	l := tarOf(t, entryFile{name: "a", data: program, mode: 0o755}, entryFile{name: "z/b", data: program, mode: 0o755},
		entryFile{name: "etc/os-release", data: []byte(alpineRelease)}, entryFile{name: "lib/apk/db/installed", data: []byte(alpineDB)},
		entryFile{name: "app.jar", data: []byte("PK")}, entryFile{name: "tool", data: []byte("\x7fELF broken"), mode: 0o755})
	var first map[string]string
	var forbidden []string
	for range 4 {
		layout, d := store(t, imageOf(t, "amd64", l))
		env := newEnv(t)
		in := inputsFor(t, layout, d)
		out, ev, err := runStep(t, New(), env, in)
		if err != nil {
			t.Fatal(err)
		}
		forbidden = append(forbidden, layout, env.Work, env.Out, string(in.Source), string(in.Modules))
		got := map[string]string{}
		for _, f := range must(os.ReadDir(string(out.SBOMs)))(t) {
			got[f.Name()] = string(read(t, out, f.Name()))
		}
		for i, e := range ev {
			got["evidence "+string(rune('0'+i))] = string(e.Predicate)
		}
		if first == nil {
			first = got
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Fatalf("another run gives other bytes (-first +this):\n%s", diff)
		}
	}
	host := must(os.Hostname())(t)
	forbidden = append(forbidden, host, os.TempDir()+"/", "spool-", "rpmdb-")
	for name, content := range first {
		for _, f := range forbidden {
			if strings.Contains(content, f) {
				t.Errorf("%s contains %q, which is of this machine", name, f)
			}
		}
	}
}

// TestLeavesNothing keeps every temporary file below Work, and none of them.
func TestLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	layout, d := store(t, imageOf(t, "amd64", service(t)))
	in, env := inputsFor(t, layout, d), newEnv(t)
	t.Setenv("TMPDIR", temp)
	if _, _, err := runStep(t, New(), env, in); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{temp, env.Work, env.Cache} {
		for _, f := range must(os.ReadDir(dir))(t) {
			t.Errorf("%s is left in %s", f.Name(), dir)
		}
	}
}

// TestReadsNoEnvironment: what syft would read of the environment, or ask a
// network, changes nothing.
func TestReadsNoEnvironment(t *testing.T) {
	layout, d := store(t, imageOf(t, "amd64", service(t)))
	in := inputsFor(t, layout, d)
	_, want, err := runStep(t, New(), newEnv(t), in)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"GOPROXY": "http://127.0.0.1:1", "GOPATH": "/nowhere", "HOME": "/nowhere", "PATH": "/nowhere", "GOPRIVATE": "*"} {
		t.Setenv(k, v)
	}
	_, got, err := runStep(t, New(), newEnv(t), in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the environment changes the documents (-want +got):\n%s", diff)
	}
}

func TestGateFailsOnALoss(t *testing.T) {
	layout, d := store(t, imageOf(t, "amd64", service(t)), imageOf(t, "arm64", service(t)))
	blind := define(func() []cataloger {
		return slices.DeleteFunc(catalogers(), func(c cataloger) bool { return c.name == "go" })
	}, defaultLimits())
	_, ev, err := runStep(t, blind, newEnv(t), inputsFor(t, layout, d))
	var gate *step.GateError
	if !errors.As(err, &gate) {
		t.Fatalf("got %v, want a gate that fails", err)
	}
	if len(ev) != 0 {
		t.Errorf("%d pieces of evidence for documents that are known to be wrong", len(ev))
	}
	release, _, _ := strings.Cut(goVersion(t), " ")
	text := strings.Join(gate.Findings, "\n")
	for _, want := range []string{"golang.org/x/mod@v0.36.0", "golang.org/x/sync@v0.20.0", "example.com/hello", "stdlib@" + strings.TrimPrefix(release, "go"), "CycloneDX", "SPDX", "/ko-app/hello"} {
		if !strings.Contains(text, want) {
			t.Errorf("findings don't name %s:\n%s", want, text)
		}
	}
}

// TestGateReadsBothDocuments takes single facts out of each document.
func TestGateReadsBothDocuments(t *testing.T) {
	layout, d := store(t, imageOf(t, "amd64", service(t)))
	out, _, err := runStep(t, New(), newEnv(t), inputsFor(t, layout, d))
	if err != nil {
		t.Fatal(err)
	}
	spdx, cdx := string(read(t, out, "linux-amd64.spdx.json")), string(read(t, out, "linux-amd64.cdx.json"))
	truth := []module{{path: "golang.org/x/sync", version: "v0.20.0", file: "/hello"}, {path: "example.com/hello", file: "/hello"}}
	tests := []struct {
		name, in, old, new string
		fails              bool
	}{
		{"untouched", "cdx", "", "", false},
		{"version", "cdx", `"version":"v0.20.0"`, `"version":"v0.20.1"`, true},
		{"purl's version", "cdx", `"purl":"pkg:golang/golang.org/x/sync@v0.20.0"`, `"purl":"pkg:golang/golang.org/x/sync@v0.19.0"`, true},
		{"purl's path", "cdx", `"purl":"pkg:golang/golang.org/x/sync@v0.20.0"`, `"purl":"pkg:golang/golang.org/x/Sync@v0.20.0"`, true},
		{"no purl", "cdx", `"purl":"pkg:golang/example.com/hello"`, `"purl":""`, true},
		{"name", "cdx", `"name":"golang.org/x/sync"`, `"name":"golang.org/x/sink"`, true},
		{"excluded", "cdx", `"name":"golang.org/x/sync"`, `"scope":"excluded","name":"golang.org/x/sync"`, true},
		{"version", "spdx", `"versionInfo":"v0.20.0"`, `"versionInfo":"v0.20.1"`, true},
		{"purl's version", "spdx", `pkg:golang/golang.org/x/sync@v0.20.0`, `pkg:golang/golang.org/x/sync@v0.19.0`, true},
		{"name", "spdx", `"name":"golang.org/x/sync"`, `"name":"golang.org/x/sink"`, true},
		{"role", "spdx", `"relationshipType":"DEPENDENCY_OF"`, `"relationshipType":"BUILD_DEPENDENCY_OF"`, true},
	}
	for _, tt := range tests {
		t.Run(tt.in+" "+tt.name, func(t *testing.T) {
			c, s := cdx, spdx
			doc := &c
			if tt.in == "spdx" {
				doc = &s
			}
			if !strings.Contains(*doc, tt.old) {
				t.Fatalf("the document has no %s", tt.old)
			}
			*doc = strings.ReplaceAll(*doc, tt.old, tt.new)
			err := complete(truth, []byte(c), []byte(s))
			if got := err != nil; got != tt.fails {
				t.Errorf("complete: %v", err)
			}
		})
	}
}

func TestInputErrors(t *testing.T) {
	layout, d := store(t, imageOf(t, "amd64", service(t)))
	tests := []struct {
		name   string
		change func(*In)
		want   string
	}{
		{"time", func(in *In) { in.Created = "yesterday" }, "is not a time"},
		{"modules are no JSON", func(in *In) { in.Modules = fileOf(t, "{") }, "list of modules"},
		{"modules of a bad version", func(in *In) { in.Modules = fileOf(t, `[{"path":"a.b/c","version":"latest"}]`) }, "list of modules"},
		{"modules with more behind", func(in *In) { in.Modules = fileOf(t, `[] []`) }, "list of modules"},
		{"modules too large", func(in *In) { in.Modules = fileOf(t, strings.Repeat(" ", 17<<20)) }, "larger than"},
		{"unknown image", func(in *In) { in.Image = sourceDigest }, "00000000aa"},
		{"no layout", func(in *In) { in.Layout = step.Dir(t.TempDir()) }, "oci-layout"},
		{"no source", func(in *In) { in.Source = "/nonexistent" }, "source"},
		{"go.mod is a link", func(in *In) {
			dir := t.TempDir()
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "go.mod")); err != nil {
				t.Fatal(err)
			}
			in.Source = step.Dir(dir)
		}, "no regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := inputsFor(t, layout, d)
			tt.change(&in)
			_, _, err := runStep(t, New(), newEnv(t), in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

func TestBadGoModIsANote(t *testing.T) {
	layout, d := store(t, imageOf(t, "amd64", service(t)))
	in := inputsFor(t, layout, d)
	write(t, filepath.Join(string(in.Source), "go.mod"), "module \x00\nrequire what\n")
	out, ev, err := runStep(t, New(), newEnv(t), in)
	if err != nil {
		t.Fatal(err)
	}
	if out.Notes != 1 || !bytes.Contains(ev[0].Predicate, []byte("go.mod: ")) || !bytes.Contains(ev[1].Predicate, []byte("go.mod: ")) {
		t.Errorf("%d notes: want one, in both documents", out.Notes)
	}
	validate(t, ev[0].Predicate, ev[1].Predicate)
}

func typesOf(ev []step.Evidence) []string {
	var s []string
	for _, e := range ev {
		s = append(s, e.Type)
	}
	return s
}

func read(t testing.TB, out Out, name string) []byte {
	t.Helper()
	return must(os.ReadFile(filepath.Join(string(out.SBOMs), name)))(t)
}

func fileOf(t testing.TB, content string) step.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	write(t, name, content)
	return step.File(name)
}

func serial(t testing.TB, doc []byte) string {
	t.Helper()
	var s struct{ SerialNumber string }
	unmarshal(t, doc, &s)
	if s.SerialNumber == "" {
		t.Fatal("no serial number")
	}
	return s.SerialNumber
}

func unmarshal(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// names lists the components of a CycloneDX document as NAME@VERSION.
func names(t testing.TB, cdx []byte) []string {
	t.Helper()
	var doc struct {
		Components []struct{ Type, Name, Version, Scope string }
	}
	unmarshal(t, cdx, &doc)
	s := map[string]bool{}
	for _, c := range doc.Components {
		if c.Scope != "excluded" {
			s[c.Name+"@"+c.Version] = true
		}
	}
	return slices.Sorted(maps.Keys(s))
}

// notes lists the notes of a CycloneDX document.
func notes(t testing.TB, cdx []byte) []string {
	t.Helper()
	var doc struct {
		Metadata struct {
			Properties []struct{ Name, Value string }
		}
	}
	unmarshal(t, cdx, &doc)
	var s []string
	for _, p := range doc.Metadata.Properties {
		if p.Name == propNote {
			s = append(s, p.Value)
		}
	}
	return s
}
