package fetch_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/internal/tree"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
	"github.com/pavedpaths/paths/pathsdk/steps/fetch"
)

func TestConformance(t *testing.T) {
	w := newWorld(t, service(t))
	steptest.Run(t, fetch.New(), steptest.Case{In: w.in, Volatile: []string{"modcache"}})
}

func TestFetchThenBuildOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, service(t))
	write(t, w.src, map[string]string{".git/config": "secret", ".paths/store/x": "y", "sub/.git": "gitdir: elsewhere"})
	out, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{".git", ".paths", "sub"} {
		if _, err := os.Lstat(filepath.Join(string(out.Source), gone)); err == nil {
			t.Errorf("%s is part of the snapshot", gone)
		}
	}
	if d, err := tree.Digest(string(out.Source)); err != nil || d != out.Digest {
		t.Errorf("digest of the snapshot = %s, %v, want %s", d, err, out.Digest)
	}
	b, err := os.ReadFile(string(out.Modules))
	if err != nil {
		t.Fatal(err)
	}
	modules, err := gomod.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, m := range modules {
		paths = append(paths, m.Path)
	}
	if d := cmp.Diff([]string{"github.com/google/go-cmp", "golang.org/x/mod"}, paths); d != "" {
		t.Error(d)
	}
	// The real thing: compile code and tests with the network off.
	home := t.TempDir()
	if err := gomod.MakeHome(home); err != nil {
		t.Fatal(err)
	}
	env := gomod.Env(gomod.Folders{GOROOT: string(out.GoRoot), ModCache: string(out.ModCache), GOCache: filepath.Join(home, "cache"), Home: home, Tmp: home}, string(out.Source))
	for _, c := range []struct{ arch, verb string }{{"amd64", "-deps"}, {"arm64", "-deps"}, {"arm64", "-test"}} {
		cmd := exec.Command(filepath.Join(string(out.GoRoot), "bin", "go"), "list", "-deps", c.verb, "-f", "{{with .Error}}{{.}}{{end}}", "./...")
		cmd.Dir, cmd.Env = string(out.Source), append(env, "GOARCH="+c.arch)
		got, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(got)) != "" {
			t.Errorf("go list %s on %s: %v\n%s", c.verb, c.arch, err, got)
		}
	}
	cmd := exec.Command(filepath.Join(string(out.GoRoot), "bin", "go"), "build", "-trimpath", "-o", filepath.Join(home, "hello"), ".")
	cmd.Dir, cmd.Env = string(out.Source), env
	if got, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go build: %v\n%s", err, got)
	}
}

func TestFetchAgainStartsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, service(t))
	first, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	children := w.exec.count.Load()
	if children == 0 {
		t.Fatal("the first run downloaded nothing")
	}
	start := time.Now()
	second, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a fetch without changes took %s", time.Since(start))
	if n := w.exec.count.Load(); n != children {
		t.Errorf("the second run started %d processes", n-children)
	}
	a, b := first, second
	a.Source, a.Tarball, a.Modules, a.Base = "", "", "", ""
	b.Source, b.Tarball, b.Modules, b.Base = "", "", "", ""
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
	// What a stamp promises is looked at: a module that went missing is fetched
	// again.
	dir := filepath.Join(string(first.ModCache), "golang.org/x/mod@v0.36.0")
	writable(dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := w.run(t); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(map[string]string)
		in     map[string]any
		want   []string
		other  bool // not a usage error
	}{
		"no module": {
			change: func(f map[string]string) { delete(f, "go.mod") },
			want:   []string{"no Go module", "go mod init"},
		},
		"module below": {
			change: func(f map[string]string) { f["svc/go.mod"] = f["go.mod"]; delete(f, "go.mod") },
			want:   []string{"no Go module", "did you mean", "svc"},
		},
		"malformed go.mod": {
			change: func(f map[string]string) { f["go.mod"] = "modul x\n" },
			want:   []string{"go.mod:1"},
		},
		"newer Go": {
			change: func(f map[string]string) { f["go.mod"] = strings.Replace(f["go.mod"], "go 1.25.0", "go 1.99", 1) },
			want:   []string{"go1.99", "go1.99.0", "toolchain"},
		},
		"no sums": {
			change: func(f map[string]string) { delete(f, "go.sum") },
			want:   []string{"github.com/google/go-cmp@v0.7.0", "go mod tidy"},
		},
		"contradicting sums": {
			change: func(f map[string]string) {
				f["go.sum"] += "golang.org/x/mod v0.36.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
			},
			want: []string{"two different sums", "golang.org/x/mod"},
		},
		"wrong sum": {
			change: func(f map[string]string) {
				f["go.sum"] = strings.Replace(f["go.sum"], "go-cmp v0.7.0 h1:wk", "go-cmp v0.7.0 h1:kw", 1)
			},
			want:  []string{"checksum mismatch", "fix:"},
			other: true,
		},
		"replaced outside": {
			change: func(f map[string]string) { f["go.mod"] += "replace golang.org/x/mod => ../mod\n" },
			want:   []string{"../mod", "not part of the source"},
		},
		"replaced by nothing": {
			change: func(f map[string]string) { f["go.mod"] += "replace golang.org/x/mod => ./mod\n" },
			want:   []string{"./mod", "no go.mod"},
		},
		"unknown version": {
			change: func(f map[string]string) {
				f["go.mod"] = strings.Replace(f["go.mod"], "x/mod v0.36.0", "x/mod v0.0.1", 1)
				f["go.sum"] += "golang.org/x/mod v0.0.1 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\ngolang.org/x/mod v0.0.1/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
			},
			want:  []string{"golang.org/x/mod@v0.0.1", "goproxy="},
			other: true,
		},
		"link out": {
			change: func(f map[string]string) { f["LINK escape"] = "../../etc/passwd" },
			want:   []string{`"escape"`, "symbolic link", "outside the source"},
		},
		"toolchain":          {in: map[string]any{"toolchain": "latest"}, want: []string{"toolchain", "latest"}},
		"no go command":      {in: map[string]any{"go": "no-such-go"}, want: []string{"no-such-go", "install Go"}},
		"no such go":         {in: map[string]any{"go": "/nonexistent/bin/go"}, want: []string{"/nonexistent/bin/go", "install Go"}},
		"platform":           {in: map[string]any{"platforms": []string{"amd64"}}, want: []string{"platforms", `"amd64"`}},
		"platform twice":     {in: map[string]any{"platforms": []string{"linux/amd64", "linux/amd64"}}, want: []string{"twice"}},
		"unsupported system": {in: map[string]any{"platforms": []string{"plan9/amd64"}}, want: []string{"plan9"}},
		"base":               {in: map[string]any{"base": "distroless"}, want: []string{"base", "distroless"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := service(t)
			if c.change != nil {
				c.change(files)
			}
			link, hasLink := files["LINK escape"]
			delete(files, "LINK escape")
			w := newWorld(t, files)
			if hasLink {
				if err := os.Symlink(link, filepath.Join(w.src, "escape")); err != nil {
					t.Fatal(err)
				}
			}
			for k, v := range c.in {
				w.in[k] = v
			}
			_, err := w.run(t)
			if err == nil {
				t.Fatal("no error")
			}
			if errors.Is(err, step.ErrUsage) == c.other {
				t.Errorf("usage error = %v, want %v", !c.other == false, !c.other)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestFetchVendored(t *testing.T) {
	t.Parallel()
	files := service(t)
	files["vendor/modules.txt"] = "# github.com/google/go-cmp v0.7.0\n## explicit; go 1.21\ngithub.com/google/go-cmp/cmp\n# golang.org/x/mod v0.36.0\n## explicit; go 1.25.0\ngolang.org/x/mod/semver\n"
	w := newWorld(t, files)
	w.in["goproxy"] = "off"
	out, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	if n := w.exec.count.Load(); n != 0 {
		t.Errorf("%d processes were started for a vendored source", n)
	}
	b, err := os.ReadFile(string(out.Modules))
	if err != nil || strings.Count(string(b), `"sum": "h1:`) != 2 {
		t.Errorf("modules: %v\n%s", err, b)
	}
	if !strings.Contains(gomod.Flags(string(out.Source)), "-mod=vendor") {
		t.Error("the source is not built from its vendor folder")
	}
}

func TestFetchReplaced(t *testing.T) {
	t.Parallel()
	files := service(t)
	files["go.mod"] += "replace golang.org/x/mod v0.36.0 => ./mod\n"
	files["mod/go.mod"] = "module golang.org/x/mod\n\ngo 1.25.0\n"
	files["mod/semver/semver.go"] = "package semver\n\nfunc Canonical(s string) string { return s }\n"
	w := newWorld(t, files)
	out, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(string(out.Modules))
	if err != nil || strings.Contains(string(b), "golang.org/x/mod") {
		t.Errorf("a module in a folder of the source is listed: %v\n%s", err, b)
	}
}

// TestToolchainDigest takes a small tree for a GOROOT, since only its form
// matters.
func TestToolchainDigest(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"VERSION": "go1.26.8\ntime x\n", "bin/go": "#!/bin/sh\nexit 1\n", "go.env": "", "pkg/include/a.h": "a",
		"pkg/tool/linux_amd64/compile": "c", "src/fmt/print.go": "package fmt", "src/fmt/print_test.go": "package fmt", "src/fmt/testdata/x": "x",
	}
	digest := func(change map[string]string, times int) step.Digest {
		root := t.TempDir()
		write(t, root, files)
		write(t, root, change)
		src := map[string]string{"go.mod": "module example.com/x\n\ngo 1.24\n", "main.go": "package main\n"}
		w := newWorld(t, src)
		w.in["go"] = filepath.Join(root, "bin", "go")
		w.in["goproxy"] = "off"
		// Vendored, so that the fake go command is never started.
		write(t, w.src, map[string]string{"vendor/modules.txt": ""})
		var all []step.Digest
		for range times {
			out, err := w.run(t)
			if err != nil {
				t.Fatal(err)
			}
			if out.Toolchain != "go1.26.8" {
				t.Errorf("toolchain = %q", out.Toolchain)
			}
			all = append(all, out.ToolchainDigest)
		}
		if len(slices.Compact(all)) != 1 {
			t.Errorf("the cached digest differs: %v", all)
		}
		return all[0]
	}
	want := digest(nil, 2)
	for name, same := range map[string]bool{"src/fmt/print_test.go": true, "src/fmt/testdata/x": true, "api/x": true, "src/fmt/print.go": false, "bin/go": false, "VERSION": true, "pkg/tool/linux_amd64/link": false, "pkg/include/a.h": false, "go.env": false} {
		content := "other"
		if name == "VERSION" {
			content = files[name]
		}
		if got := digest(map[string]string{name: content}, 1); (got == want) != same {
			t.Errorf("with another %s the digest stays the same: %v, want %v", name, got == want, same)
		}
	}
}
