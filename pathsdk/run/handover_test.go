package run

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

type treeIn struct {
	Text string `json:"text" default:"x" help:"content"`
}

type treeOut struct {
	Tree   step.Dir    `json:"tree" help:"a tree"`
	File   step.File   `json:"file" help:"a file"`
	Shared step.Dir    `json:"shared" key:"-" help:"a folder that stays"`
	Digest step.Digest `json:"digest" help:"digest"`
}

func (o treeOut) Subject() step.Subject { return step.Subject{Name: "tree", Digest: o.Digest} }

// trees is a step that leaves every kind of output.
func trees() step.Step {
	return step.Define(step.Meta{Name: "trees", Version: "0", Summary: "Makes trees.", Zone: step.ZoneFetch}, func(_ context.Context, env step.Env, in treeIn) (treeOut, []step.Evidence, error) {
		o := treeOut{Tree: step.Dir(filepath.Join(env.Out, "tree")), File: step.File(filepath.Join(env.Out, "file.txt")), Shared: step.Dir(env.Cache),
			Digest: step.Digest("sha256:" + strings.Repeat("0", 64))}
		if err := os.MkdirAll(filepath.Join(string(o.Tree), "sub"), 0o755); err != nil {
			return o, nil, err
		}
		for name, mode := range map[string]os.FileMode{"sub/program": 0o755, "text": 0o644} {
			if err := os.WriteFile(filepath.Join(string(o.Tree), name), []byte(in.Text), mode); err != nil {
				return o, nil, err
			}
		}
		if err := os.Symlink("text", filepath.Join(string(o.Tree), "link")); err != nil {
			return o, nil, err
		}
		return o, nil, os.WriteFile(string(o.File), []byte(in.Text), 0o644)
	})
}

func handedOver(t *testing.T) (*Runner, string) {
	t.Helper()
	r := newRunner(t, t.TempDir(), map[string]step.Step{"trees": trees()}, nil)
	rec, err := r.Step(t.Context(), "trees", "trees", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := r.HandOver(dir, provenance.Record{Path: "p", Nodes: []provenance.NodeRecord{rec}}); err != nil {
		t.Fatal(err)
	}
	return r, dir
}

func TestHandOver(t *testing.T) {
	r, dir := handedOver(t)
	raw, err := os.ReadFile(filepath.Join(dir, "record.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), filepath.Dir(dir)) {
		t.Errorf("the record names a place on this machine: %s", raw)
	}
	rec, err := r.TakeOver(dir)
	if err != nil {
		t.Fatal(err)
	}
	var o treeOut
	if err := json.Unmarshal(rec.Nodes[0].Output, &o); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(string(o.Tree), "sub/program")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("program: %v, %v", info, err)
	}
	if link, err := os.Readlink(filepath.Join(string(o.Tree), "link")); err != nil || link != "text" {
		t.Errorf("link: %q, %v", link, err)
	}
	if err := r.HandOver(dir, rec); err == nil {
		t.Error("a handover was overwritten")
	}
}

func TestTakeOverRefuses(t *testing.T) {
	edit := func(from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			name := filepath.Join(dir, "record.json")
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(raw), from, to, 1)
			if changed == string(raw) {
				t.Fatalf("the record has no %q", from)
			}
			if err := os.WriteFile(name, []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "files/trees", name), []byte("evil"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, string)
		want   string
	}{
		"a byte of a file":    {write("file/file.txt"), "changed on the way"},
		"a byte in a tree":    {write("tree/tree/text"), "changed on the way"},
		"one file more":       {write("tree/tree/more"), "changed on the way"},
		"a link that leaves":  {func(t *testing.T, dir string) { swap(t, dir, "/etc/passwd") }, "link that leaves"},
		"another link":        {func(t *testing.T, dir string) { swap(t, dir, "sub") }, "changed on the way"},
		"a path outside":      {edit("files/trees/file/file.txt", "../../../etc/passwd"), "does not lie in"},
		"an absolute path":    {edit("files/trees/file/file.txt", "/etc/passwd"), "does not lie in"},
		"another's files":     {edit("files/trees/file/file.txt", "files/trees/tree/tree"), "does not lie in"},
		"another zone":        {edit(`"zone": "fetch"`, `"zone": "attest"`), "belongs to zone fetch"},
		"another step":        {edit(`"step": "trees"`, `"step": "sign"`), `no step "sign"`},
		"an unknown field":    {edit(`"path"`, `"level": 3, "path"`), "unknown field"},
		"a digest left out":   {edit(`"file": "sha256`, `"elif": "sha256`), "changed on the way"},
		"no record":           {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "record.json")) }, "is no handover"},
		"a file that is gone": {func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, "files/trees/file")) }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			r, dir := handedOver(t)
			c.change(t, dir)
			if _, err := r.TakeOver(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func swap(t *testing.T, dir, target string) {
	t.Helper()
	link := filepath.Join(dir, "files/trees/tree/tree/link")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
}
