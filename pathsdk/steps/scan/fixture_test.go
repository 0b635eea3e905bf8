package scan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The secrets are put together at run time, so that no scanner of this
// repository takes them for real ones.
var (
	githubToken = "ghp_" + strings.Repeat("a1B2", 9)
	awsKey      = "AKIA" + "Q3EGRZ7YTUVW2X4P"
	slackToken  = "xoxb-" + "123456789012-abcdefABCDEF"
)

type file struct {
	name string
	body string
}

// fixture is one image with everything that the step wants to know about it.
type fixture struct {
	in  input
	env step.Env
	log *bytes.Buffer
	lim limits
}

// sbomOf writes a CycloneDX document as syft does: libraries with purls, and a
// component for the distribution.
func sbomOf(distro string, purls ...string) string {
	type component map[string]any
	components := []component{}
	for i, p := range purls {
		rest, _, _ := strings.Cut(strings.TrimPrefix(p, "pkg:"), "?")
		kind, rest, _ := strings.Cut(rest, "/")
		name, version, _ := strings.Cut(rest, "@")
		if kind == "apk" {
			_, name, _ = strings.Cut(name, "/")
		}
		components = append(components, component{
			"bom-ref": fmt.Sprint("ref-", i), "type": "library", "name": name, "version": version, "purl": p,
		})
	}
	if distro != "" {
		name, version, _ := strings.Cut(distro, " ")
		components = append(components, component{"bom-ref": "os", "type": "operating-system", "name": name, "version": version})
	}
	b, _ := json.Marshal(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata":   map[string]any{"component": component{"bom-ref": "root", "type": "container", "name": "registry.example/shop"}},
		"components": components,
	})
	return string(b)
}

// goService is a small service with a few old modules.
var goService = []string{
	"pkg:golang/example.com/shop@(devel)",
	"pkg:golang/golang.org/x/crypto@v0.30.0",
	"pkg:golang/golang.org/x/net@v0.17.0",
	"pkg:golang/google.golang.org/grpc@v1.57.0",
	"pkg:golang/gopkg.in/yaml.v3@v3.0.1",
	"pkg:golang/github.com/golang-jwt/jwt/v4@v4.5.0",
	"pkg:golang/stdlib@1.26.0",
}

func newFixture(t testing.TB, sboms map[string]string, layers []file, source ...file) *fixture {
	t.Helper()
	records := "../../../examples/vulndb"
	db := t.TempDir()
	made, err := trivydb.Make(records, db, now)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{log: &bytes.Buffer{}, lim: defaults()}
	f.env = step.Env{
		Log: slog.New(slog.NewTextHandler(f.log, nil)), Now: func() time.Time { return now },
		Work: t.TempDir(), Out: t.TempDir(), Cache: t.TempDir(), Jobs: 2,
	}
	f.in = input{
		Layout: step.Dir(t.TempDir()), Source: step.Dir(t.TempDir()), SBOMs: step.Dir(t.TempDir()), DB: step.Dir(db),
		SourceDigest: oci.DigestOf([]byte("source")), DBDigest: made.Digest,
		DBUpdated: now.Format(time.RFC3339), DBSource: "registry.example/vulndb:2",
	}
	for _, s := range append([]file{{"go.mod", "module example.com/shop\n\ngo 1.26.0\n"}}, source...) {
		f.write(t, s.name, s.body)
	}
	for platform, bom := range sboms {
		name := strings.ReplaceAll(platform, "/", "-") + ".cdx.json"
		if err := os.WriteFile(filepath.Join(string(f.in.SBOMs), name), []byte(bom), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var platforms []string
	for _, p := range []string{"linux/amd64", "linux/arm64", "linux/arm/v7"} {
		if _, ok := sboms[p]; ok {
			platforms = append(platforms, p)
		}
	}
	f.in.Image = writeImage(t, string(f.in.Layout), platforms, [][]byte{tarGz(t, layers...)}, nil)
	return f
}

// write adds a file to the source.
func (f *fixture) write(t testing.TB, name, body string) {
	t.Helper()
	path := filepath.Join(string(f.in.Source), filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(body), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// run runs the step through its contract.
func (f *fixture) run(t testing.TB) (output, Report, []step.Evidence, error) {
	t.Helper()
	raw, err := json.Marshal(f.in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := define(f.lim).Run(t.Context(), f.env, raw)
	if err != nil {
		return output{}, Report{}, nil, err
	}
	var out output
	var report Report
	if err := json.Unmarshal(res.Output, &out); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(string(out.Findings))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	return out, report, res.Evidence, nil
}

func (f *fixture) ok(t testing.TB) (output, Report, []step.Evidence) {
	t.Helper()
	out, report, ev, err := f.run(t)
	if err != nil {
		t.Fatal(err)
	}
	return out, report, ev
}

func tarGz(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	if err := errors.Join(writeTar(gz, files...), gz.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func writeTar(w io.Writer, files ...file) error {
	tw := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.body)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, f.body); err != nil {
			return err
		}
	}
	return tw.Close()
}

// writeImage writes an image of one platform, or an index of several that share
// their layers.
func writeImage(t testing.TB, dir string, platforms []string, layers [][]byte, env []string) step.Digest {
	t.Helper()
	w, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	must := func(d v1.Descriptor, err error) v1.Descriptor {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var children []v1.Descriptor
	for _, p := range platforms {
		parts := strings.Split(p, "/")
		spec := v1.Platform{OS: parts[0], Architecture: parts[1]}
		if len(parts) > 2 {
			spec.Variant = parts[2]
		}
		config, err := json.Marshal(map[string]any{
			"os": spec.OS, "architecture": spec.Architecture, "variant": spec.Variant,
			"config": map[string]any{"Env": env}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs(layers)},
		})
		if err != nil {
			t.Fatal(err)
		}
		m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
		m.Config = must(w.PutBlob(t.Context(), string(types.OCIConfigJSON), config))
		for _, l := range layers {
			m.Layers = append(m.Layers, must(w.PutBlob(t.Context(), string(types.OCILayer), l)))
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		d := must(w.PutManifest(t.Context(), string(m.MediaType), b, ""))
		d.Platform = &spec
		children = append(children, d)
	}
	if len(children) == 1 {
		return oci.Digest(children[0])
	}
	b, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: children})
	if err != nil {
		t.Fatal(err)
	}
	return oci.Digest(must(w.PutManifest(t.Context(), string(types.OCIImageIndex), b, "")))
}

func diffIDs(layers [][]byte) []string {
	ids := []string{}
	for _, l := range layers {
		ids = append(ids, string(oci.DigestOf(l)))
	}
	return ids
}
