//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// git runs git in a folder, with a fixed author and time.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Example", "GIT_AUTHOR_EMAIL=example@example.com", "GIT_AUTHOR_DATE=2025-10-09T08:53:20Z",
		"GIT_COMMITTER_NAME=Example", "GIT_COMMITTER_EMAIL=example@example.com", "GIT_COMMITTER_DATE=2025-10-09T08:53:20Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes a folder a repository with one commit.
func commit(t testing.TB, dir string) string {
	t.Helper()
	git(t, dir, "init", "--quiet", "--initial-branch=main")
	git(t, dir, "remote", "add", "origin", "https://user:password@example.com/team/service.git")
	git(t, dir, "add", "--all")
	git(t, dir, "commit", "--quiet", "--message=A service")
	return git(t, dir, "rev-parse", "HEAD")
}

// TestE2EStrangeSources ships sources that nobody meant to ship. What can't be
// shipped ends with the exit code of a mistake, and with what to do.
func TestE2EStrangeSources(t *testing.T) {
	home, db := newHome(t), smallDB(t)
	write := func(t *testing.T, dir, name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, to, name string) {
		t.Helper()
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		do    func(t *testing.T, dir string)
		code  int
		words []string
	}{
		"absolute link":     {func(t *testing.T, d string) { link(t, "/etc/passwd", d+"/x") }, 2, []string{`"x"`, "/etc/passwd", "make it relative"}},
		"link out of it":    {func(t *testing.T, d string) { link(t, "../../x", d+"/x") }, 2, []string{`"x"`, "outside the source", "remove the link"}},
		"link to itself":    {func(t *testing.T, d string) { link(t, ".", d+"/x") }, 0, nil},
		"name in Latin-1":   {func(t *testing.T, d string) { write(t, d, "caf\xe9.txt", "") }, 2, []string{`caf\xe9.txt`, "UTF-8", "rename"}},
		"name with newline": {func(t *testing.T, d string) { write(t, d, "a\nb", "") }, 0, nil},
		"named pipe":        {func(t *testing.T, d string) { mkfifo(t, d+"/pipe") }, 2, []string{`"pipe"`, "named pipe", "remove"}},
		"giant file":        {func(t *testing.T, d string) { write(t, d, "big", ""); truncate(t, d+"/big", 9<<30) }, 2, []string{`"big"`, "1024 MiB", "out of the source"}},
		"deep folders":      {func(t *testing.T, d string) { write(t, d, strings.Repeat("d/", 100)+"x", "") }, 2, []string{"deep"}},
		"too many files":    {tooMany, 1, []string{"more than", "the folder of the service"}},
		"no module":         {func(t *testing.T, d string) { remove(t, d+"/go.mod") }, 2, []string{"no go.mod", "go mod init"}},
		"empty":             {func(t *testing.T, d string) { remove(t, d+"/go.mod"); remove(t, d+"/paths.yaml") }, 2, []string{"neither", "pathctl init"}},
		"broken go.mod":     {func(t *testing.T, d string) { write(t, d, "go.mod", "garbage {") }, 2, []string{"go.mod:4"}},
		"Go of the future": {func(t *testing.T, d string) {
			remove(t, d+"/go.mod")
			write(t, d, "go.mod", "module x.test/x\n\ngo 1.99.0\n")
		}, 2, []string{"needs go1.99.0", "the toolchain is go", "install"}},
		"unpinned module": {func(t *testing.T, d string) { write(t, d, "go.mod", "require example.com/none v1.0.0\n") }, 2, []string{"go.sum", "example.com/none@v1.0.0", "go mod tidy"}},
		"failing test": {func(t *testing.T, d string) {
			write(t, d, "x_test.go", "package main\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { t.Error(1) }\n")
		}, 3, []string{"TestX"}},
		"uncovered": {func(t *testing.T, d string) { remove(t, d+"/main_test.go") }, 3, []string{"coverage"}},
		"no main package": {func(t *testing.T, d string) {
			remove(t, d+"/main.go")
			remove(t, d+"/main_test.go")
			// Tests that pass: they run beside the build, and may end first.
			write(t, d, "x.go", "package x\n\nfunc One() int { return 1 }\n")
			write(t, d, "x_test.go", "package x\n\nimport \"testing\"\n\nfunc TestOne(t *testing.T) {\n\tif One() != 1 {\n\t\tt.Fatal()\n\t}\n}\n")
		}, 2, []string{"no main package"}},
		"broken paths.yaml":  {func(t *testing.T, d string) { write(t, d, "paths.yaml", "x: [") }, 2, []string{"paths.yaml", "line 6"}},
		"unknown field":      {func(t *testing.T, d string) { write(t, d, "paths.yaml", "gate: {}\n") }, 2, []string{"paths.yaml:6", "gate"}},
		"results in the way": {func(t *testing.T, d string) { write(t, d, ".paths", "") }, 1, []string{".paths is no folder", "remove it"}},
		"hostile git config": {hostileGit, 0, nil},
		"broken git":         {func(t *testing.T, d string) { write(t, d, ".git", "gitdir: /nowhere\n") }, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := hello(t)
			c.do(t, src)
			runProcess(t, home, "ship", src, "--vuln-db", db).says(t, "ship", c.code, c.words...)
			if c.code == 0 {
				wholeFiles(t, src)
			} else if _, err := os.Stat(filepath.Join(src, ".paths", "store", "index.json")); err == nil {
				t.Error("something was published")
			}
			for _, name := range []string{"owned", "../owned"} {
				if _, err := os.Lstat(filepath.Join(src, name)); err == nil {
					t.Errorf("git ran a program of the repository: it made %s", name)
				}
			}
		})
	}
}

// TestE2EDoesNotCompile: build and test both find it, at the same time, and the
// first one says so: as an error, or as a gate.
func TestE2EDoesNotCompile(t *testing.T) {
	src := hello(t)
	if err := os.WriteFile(filepath.Join(src, "broken.go"), []byte("package main\n\nfunc {\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := runProcess(t, newHome(t), "ship", src, "--vuln-db", smallDB(t))
	r.says(t, "ship", 3, "broken.go:3:6")
}

// hostileGit is a repository whose configuration names programs to run.
func hostileGit(t *testing.T, dir string) {
	t.Helper()
	commit(t, dir)
	for _, key := range []string{"core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "core.editor"} {
		git(t, dir, "config", key, "touch "+filepath.Join(dir, "owned"))
	}
	for _, hook := range []string{"post-index-change", "fsmonitor-watchman", "query-watchman", "post-checkout"} {
		path := filepath.Join(dir, ".git", "hooks", hook)
		if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch "+filepath.Join(dir, "owned")+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func tooMany(t *testing.T, dir string) {
	t.Helper()
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	one := filepath.Join(many, "0")
	if err := os.WriteFile(one, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// File systems bound the links to one file, so some files.
	for i := 1; i <= 100_000; i++ {
		path := filepath.Join(many, fmt.Sprint(i))
		if i%10_000 == 0 {
			one = path
			if err := os.WriteFile(one, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Link(one, path); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// TestE2EVersionControl: what version control says is recorded as it is, and a
// folder without it is no mistake.
func TestE2EVersionControl(t *testing.T) {
	home, db := newHome(t), smallDB(t)
	for name, c := range map[string]struct {
		do              func(dir string) (revision string)
		dirty, mentions bool
	}{
		"no git": {do: func(string) string { return "" }},
		"clean":  {do: func(d string) string { return commit(t, d) }, mentions: true},
		"changed": {do: func(d string) string {
			rev := commit(t, d)
			if err := os.WriteFile(filepath.Join(d, "paths.yaml"), []byte("apiVersion: pavedpaths.dev/v1\nkind: Service\npath: microservice\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			return rev
		}, dirty: true, mentions: true},
		"untracked": {do: func(d string) string {
			rev := commit(t, d)
			if err := os.WriteFile(filepath.Join(d, "new.txt"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			return rev
		}, dirty: true, mentions: true},
	} {
		t.Run(name, func(t *testing.T) {
			src := hello(t)
			revision := c.do(src)
			mustShip(t, home, src, "--vuln-db", db)
			r := pathctl(t, home, "evidence", "get", "oci:"+filepath.Join(src, ".paths", "store"), "provenance")
			p, err := evidence.ParseProvenance(json.RawMessage(r.stdout))
			if err != nil {
				t.Fatalf("%v\n%s", err, r.stderr)
			}
			inputs, _ := decoded(t, p.BuildDefinition.ExternalParameters["inputs"]).(object)
			if got := inputs["revision"]; got != revision || inputs["dirty"] != c.dirty {
				t.Errorf("revision %q and dirty %v are recorded, want %q and %v", got, inputs["dirty"], revision, c.dirty)
			}
			if bytes.Contains([]byte(r.stdout), []byte("password")) {
				t.Error("the provenance holds the remote's credentials")
			}
			if got := inputs["repository"] == "https://example.com/team/service.git"; got != c.mentions {
				t.Errorf("repository is %v", inputs["repository"])
			}
		})
	}
}
