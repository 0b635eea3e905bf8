package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/run/fence"
)

// The test binary is its own fenced child.
func TestMain(m *testing.M) {
	if code, ok := fence.Main(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

const when = "2026-01-31T12:00:00Z"

func testHost(t *testing.T) Host {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Host{Home: t.TempDir(), Self: self}
}

func repo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "svc", "main.go"), "package main\n")
	sh(t, dir, `git init -q . && git config user.email a@example.com && git config user.name a && git add . &&
		GIT_COMMITTER_DATE=`+when+` git commit -qm one --date=`+when+` && git remote add origin https://bob:secret@example.com/team/x.git?token=secret#secret`)
	return dir
}

func sh(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSource(t *testing.T) {
	h, dir := testHost(t), repo(t)
	svc := filepath.Join(dir, "svc")
	got, err := h.Source(t.Context(), svc)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Revision) != 40 {
		t.Errorf("revision %q", got.Revision)
	}
	got.Revision = ""
	if d := cmp.Diff(Source{Repository: "https://example.com/team/x.git", Created: when}, got); d != "" {
		t.Error(d)
	}
	// Another service's change does not make this one dirty; its own does.
	write(t, filepath.Join(dir, "other", "x"), "x")
	if got, err = h.Source(t.Context(), svc); err != nil || got.Dirty {
		t.Errorf("dirty %v, err %v after a change elsewhere", got.Dirty, err)
	}
	write(t, filepath.Join(svc, "new"), "x")
	if got, err = h.Source(t.Context(), svc); err != nil || !got.Dirty {
		t.Errorf("dirty %v, err %v after a change", got.Dirty, err)
	}
	h.SourceDateEpoch = "86400"
	if got, err = h.Source(t.Context(), svc); err != nil || got.Created != "1970-01-02T00:00:00Z" {
		t.Errorf("created %q, err %v with SOURCE_DATE_EPOCH", got.Created, err)
	}
	h.SourceDateEpoch = "soon"
	if _, err = h.Source(t.Context(), svc); err == nil {
		t.Error("no error for a SOURCE_DATE_EPOCH that is no number")
	}
}

func TestSourceWithoutGit(t *testing.T) {
	got, err := testHost(t).Source(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Source{Created: "1970-01-01T00:00:00Z"}, got); d != "" {
		t.Error(d)
	}
}

func TestSourceInWorktree(t *testing.T) {
	h, dir := testHost(t), repo(t)
	tree := filepath.Join(t.TempDir(), "tree")
	sh(t, dir, "git worktree add -q "+tree)
	if got, err := h.Source(t.Context(), tree); err != nil || len(got.Revision) != 40 || got.Dirty {
		t.Errorf("%+v, %v", got, err)
	}
}

// A repository's configuration and attributes can name programs for git to run.
// They run, but see neither keys nor network, and can write nowhere.
func TestHostileRepository(t *testing.T) {
	for name, plant := range map[string]func(t *testing.T, dir, program string){
		"filter": func(t *testing.T, dir, program string) {
			write(t, filepath.Join(dir, ".gitattributes"), "*.go filter=evil\n")
			sh(t, dir, "git config filter.evil.clean '"+program+"'; touch svc/main.go")
		},
		"fsmonitor": func(t *testing.T, dir, program string) { sh(t, dir, "git config core.fsmonitor '"+program+"'") },
		"bare repository in the source": func(t *testing.T, dir, program string) {
			sh(t, dir, `git init -q --bare svc/evil.git && mv svc/evil.git/* svc/ && rmdir svc/evil.git &&
				git --git-dir=svc config core.worktree . && git --git-dir=svc config filter.evil.clean '`+program+`'`)
			write(t, filepath.Join(dir, "svc", ".gitattributes"), "*.go filter=evil\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, dir, loot := testHost(t), repo(t), t.TempDir()
			key := filepath.Join(h.Home, "keys", "attester.key")
			write(t, key, "secret")
			stolen := filepath.Join(loot, "stolen")
			program := "sh -c \"cp " + key + " " + stolen + "; cat\""
			plant(t, dir, program)
			if _, err := h.Source(t.Context(), filepath.Join(dir, "svc")); err != nil {
				t.Logf("refused: %v", err) // just as well
			}
			if _, err := os.Stat(stolen); err == nil {
				t.Fatal("the repository's program reached the key")
			}
			if name != "filter" {
				return
			}
			// The same program does reach it when nothing is in the way.
			sh(t, dir, "touch svc/main.go; git status --porcelain >/dev/null; git add svc/main.go")
			if _, err := os.Stat(stolen); err != nil {
				t.Fatal("the planted program never ran, so this test shows nothing")
			}
		})
	}
}

func TestWithoutCredentials(t *testing.T) {
	for remote, want := range map[string]string{
		"https://example.com/team/x.git":            "https://example.com/team/x.git",
		"https://bob:secret@example.com/team/x.git": "https://example.com/team/x.git",
		"https://example.com/x?token=secret":        "https://example.com/x",
		"https://example.com/x#secret":              "https://example.com/x",
		"ssh://git@example.com:2222/x.git":          "ssh://example.com:2222/x.git",
		"git@example.com:team/x.git":                "ssh://example.com/team/x.git",
		"bob:secret@example.com:team/x.git":         "",
		"https://bob:pa%ssSECRET@example.com/x.git": "",
		"https://bob:pa#ssSECRET@example.com/x.git": "",
		"https:/bob:secret@example.com/x":           "",
		"/home/bob/x.git":                           "",
		"../x.git":                                  "",
		"file:///home/bob/x.git":                    "",
		"ext::sh -c 'echo secret'":                  "",
		"https://example.com/a@b/x":                 "",
	} {
		if got := withoutCredentials(remote); got != want {
			t.Errorf("%s: got %q, want %q", remote, got, want)
		}
	}
}
