package provenance_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/oci"
	record "github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
	"github.com/pavedpaths/paths/pathsdk/steps/provenance"
)

func digest(c string) step.Digest { return step.Digest("sha256:" + strings.Repeat(c, 64)) }

// fixture is everything that the step takes, on disk.
type fixture struct {
	in     provenance.In
	images []oci.Image
	record record.Record
}

// newFixture makes an index with two platforms, or one plain image.
func newFixture(t *testing.T, platforms int) fixture {
	t.Helper()
	dir := t.TempDir()
	layout, err := oci.CreateLayout(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	var desc v1.Descriptor
	var adds []mutate.IndexAddendum
	for i := range platforms {
		img, err := random.Image(128, 1)
		if err != nil {
			t.Fatal(err)
		}
		adds = append(adds, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: []string{"amd64", "arm64"}[i]}}})
		if platforms == 1 {
			if desc, err = oci.PutImage(t.Context(), layout, img, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	if platforms > 1 {
		if desc, err = oci.PutIndex(t.Context(), layout, mutate.AppendManifests(empty.Index, adds...), ""); err != nil {
			t.Fatal(err)
		}
	}
	image := oci.Digest(desc)
	images, err := oci.Images(t.Context(), layout, image)
	if err != nil {
		t.Fatal(err)
	}
	var list bytes.Buffer
	if err := gomod.Write(&list, []gomod.Module{{Path: "example.com/b", Version: "v1.0.0", Sum: "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48="}}); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(list.Bytes())
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	node := func(id string, zone step.Zone, sub step.Subject) record.NodeRecord {
		return record.NodeRecord{ID: id, Step: id, Version: "1", Zone: zone, StartedOn: start, FinishedOn: start.Add(time.Second), Subject: sub}
	}
	fetch := node("fetch", step.ZoneFetch, step.Subject{Name: "source", Digest: digest("1")})
	fetch.Output = json.RawMessage(`{"baseDigest":"` + string(digest("b")) + `","toolchain":"go1.26.8","toolchainDigest":"` + string(digest("c")) + `"}`)
	fetch.Files = map[string]step.Digest{"modules": step.Digest("sha256:" + hex.EncodeToString(sum[:]))}
	f := fixture{
		images: images,
		record: record.Record{
			Path: "microservice", Version: "0.1.0", Invocation: "abc",
			Inputs: map[string]json.RawMessage{"platforms": json.RawMessage(`["linux/amd64"]`)},
			Tool:   record.Tool{Name: "pathctl", Version: "v0", Digest: digest("7")},
			Facts:  record.Workstation(record.Fence{Landlock: true}),
			Nodes:  []record.NodeRecord{fetch, node("build", step.ZoneBuild, step.Subject{Name: "app", Digest: image})},
		},
		in: provenance.In{
			Image: image, Name: "app", Layout: step.Dir(layout.Dir()), SourceDigest: digest("1"),
			DBDigest: digest("e"), DBSource: "registry.example/trivy-db:2",
			Modules: step.File(filepath.Join(dir, "modules.json")), Run: step.File(filepath.Join(dir, "run.json")),
		},
	}
	if err := os.WriteFile(string(f.in.Modules), list.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.write(t)
	return f
}

func (f fixture) write(t *testing.T) {
	t.Helper()
	raw, err := json.Marshal(f.record)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(string(f.in.Run), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) run(ctx context.Context, t *testing.T) (step.Result, error) {
	t.Helper()
	in, err := json.Marshal(f.in)
	if err != nil {
		t.Fatal(err)
	}
	return provenance.New().Run(ctx, step.Env{}, in)
}

func TestProvenance(t *testing.T) {
	for name, platforms := range map[string]int{"plain image": 1, "index": 2} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, platforms)
			res, err := f.run(t.Context(), t)
			if err != nil {
				t.Fatal(err)
			}
			if want := (step.Subject{Name: "app", Digest: f.in.Image}); res.Subject != want {
				t.Errorf("subject %v, want %v", res.Subject, want)
			}
			var got, want []step.Digest
			for _, im := range f.images {
				want = append(want, im.Digest)
			}
			for _, e := range res.Evidence {
				got = append(got, e.Subject.Digest)
				if e.Type != evidence.Provenance.URI || e.Subject.Name != "app" {
					t.Errorf("evidence %s about %v", e.Type, e.Subject)
				}
				p, err := evidence.ParseProvenance(e.Predicate)
				if err != nil {
					t.Fatal(err)
				}
				if level, _ := record.Level(p, record.Trusted{Level: record.MaxLevel}); level != 1 {
					t.Errorf("level %d, want 1", level)
				}
				if dir := filepath.Dir(string(f.in.Run)); bytes.Contains(e.Predicate, []byte(dir)) {
					t.Errorf("the predicate names %s", dir)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || len(got) != map[int]int{1: 1, 2: 3}[platforms] {
				t.Errorf("subjects: %s", diff)
			}
			again, err := f.run(t.Context(), t)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(res, again); diff != "" {
				t.Errorf("not deterministic: %s", diff)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, f *fixture)
		want   string
	}{
		{"another image was built", func(_ *testing.T, f *fixture) { f.record.Nodes[1].Subject.Digest = digest("f") }, "refuses"},
		{"another source was fetched", func(_ *testing.T, f *fixture) { f.record.Nodes[0].Subject.Digest = digest("f") }, "refuses"},
		{"another source was received", func(_ *testing.T, f *fixture) { f.in.SourceDigest = digest("f") }, "refuses"},
		{"a platform's manifest is asked for", func(_ *testing.T, f *fixture) { f.in.Image = f.images[1].Digest }, "refuses"},
		{"modules were added", func(t *testing.T, f *fixture) {
			var list bytes.Buffer
			if err := gomod.Write(&list, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(string(f.in.Modules), list.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "refuses"},
		{"modules are garbage", func(t *testing.T, f *fixture) {
			if err := os.WriteFile(string(f.in.Modules), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "modules"},
		{"no modules", func(_ *testing.T, f *fixture) { f.in.Modules += ".no" }, "modules"},
		{"no record", func(_ *testing.T, f *fixture) { f.in.Run += ".no" }, "run record"},
		{"no layout", func(_ *testing.T, f *fixture) { f.in.Layout += ".no" }, "layout"},
		{"huge record", func(_ *testing.T, f *fixture) {
			f.record.Invocation = strings.Repeat("x", record.MaxRecord)
		}, "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, 2)
			run := f.in.Run
			tt.change(t, &f)
			f.in.Run, run = run, f.in.Run
			f.write(t)
			f.in.Run = run
			res, err := f.run(t.Context(), t)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(res.Evidence) > 0 {
				t.Error("there is evidence all the same")
			}
		})
	}
	f := newFixture(t, 1)
	if err := os.WriteFile(string(f.in.Run), []byte(`{"path":"x","level":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.run(t.Context(), t); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("unknown field: %v", err)
	}
	f.in.Image = "sha256:short"
	if _, err := f.run(t.Context(), t); !errors.Is(err, step.ErrUsage) {
		t.Errorf("malformed digest: %v", err)
	}
}

func TestConformance(t *testing.T) {
	f := newFixture(t, 2)
	raw, err := json.Marshal(f.in)
	if err != nil {
		t.Fatal(err)
	}
	var in map[string]any
	if err := json.Unmarshal(raw, &in); err != nil {
		t.Fatal(err)
	}
	steptest.Run(t, provenance.New(), steptest.Case{In: in})
}
