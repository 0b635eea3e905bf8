package scan

import (
	"encoding/json"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/steps/sbom"
)

func TestZZ(t *testing.T) {
	b, err := os.ReadFile("/tmp/shopbin")
	if err != nil { t.Fatal(err) }
	f := newFixture(t, amd64(""), []file{{"ko-app/orders", string(b)}, {"etc/passwd", "root:x:0:0:root\n"}})
	f.in.Source = "/tmp/scansrc"
	adv := t.TempDir()
	os.WriteFile(filepath.Join(adv, "a.yaml"), []byte("id: GHSA-v778-237x-gjrc\ntitle: t\nseverity: high\naffected: [{package: golang.org/x/net, vulnerable: ['<99.0.0']}, {package: example.com/orders, vulnerable: ['<99.0.0']}, {package: stdlib, vulnerable: ['<99.0.0']}]\n"), 0o644)
	if _, err := trivydb.Make(adv, string(f.in.DB), now); err != nil { t.Fatal(err) }
	bi, err := buildinfo.ReadFile("/tmp/shopbin")
	if err != nil { t.Fatal(err) }
	var ms []gomod.Module
	for _, d := range bi.Deps { ms = append(ms, gomod.Module{Path: d.Path, Version: d.Version, Sum: d.Sum}) }
	mf := filepath.Join(t.TempDir(), "m.json")
	w, _ := os.Create(mf)
	if err := gomod.Write(w, ms); err != nil { t.Fatal(err) }
	w.Close()
	in, _ := json.Marshal(map[string]any{"layout": f.in.Layout, "image": f.in.Image, "name": "orders", "source": f.in.Source, "sourceDigest": f.in.SourceDigest, "modules": mf, "created": "2026-01-01T00:00:00Z"})
	env := f.env
	env.Out = t.TempDir()
	res, err := sbom.New().Run(t.Context(), env, in)
	if err != nil { t.Fatal(err) }
	var out struct{ SBOMs step.Dir `json:"sboms"` }
	json.Unmarshal(res.Output, &out)
	f.in.SBOMs = out.SBOMs
	for range 30 {
		start := time.Now()
		f.env.Out = t.TempDir()
		o, _, ev := f.ok(t)
		fmt.Println(time.Since(start), o)
		fj, _ := os.ReadFile(string(o.Findings))
		_ = fj
		_ = ev
	}
}
