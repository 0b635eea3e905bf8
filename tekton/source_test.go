package tekton

import (
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// gitServer serves a repository with two commits over HTTP, and returns its URL and
// the hashes of the commits.
func gitServer(t *testing.T) (url, first, second string) {
	t.Helper()
	root := t.TempDir()
	repo := filepath.Join(root, "orders.git")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	put := func(name, content string) {
		t.Helper()
		p := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("go.mod", "module example.com/orders\n")
	git("init", "-q")
	git("config", "http.receivepack", "false")
	git("config", "uploadpack.allowAnySHA1InWant", "true")
	put("service/main.go", "package main\n")
	put(".gitattributes", "*.go filter=evil\n")
	put(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ./x\n")
	if err := os.Symlink("/etc", filepath.Join(repo, "link")); err != nil {
		t.Fatal(err)
	}
	git("add", "-A")
	git("commit", "-q", "-m", "one")
	first = git("rev-parse", "HEAD")
	put("service/main.go", "package main // two\n")
	git("commit", "-q", "-a", "-m", "two")
	second = git("rev-parse", "HEAD")
	srv := httptest.NewServer(&cgi.Handler{
		Path: strings.TrimSpace(must(exec.Command("git", "--exec-path").Output())) + "/git-http-backend",
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"},
	})
	t.Cleanup(srv.Close)
	return srv.URL + "/orders.git", first, second
}

func must(out []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(out)
}

// runSource runs the program of step source as its container would, with parameters in
// place of Tekton's variables.
func runSource(t *testing.T, set Settings, params map[string]string) (dir, result, output string, err error) {
	t.Helper()
	s := source(set)
	dir = t.TempDir()
	file := filepath.Join(t.TempDir(), "result")
	cmd := exec.CommandContext(t.Context(), s.Command[0], s.Command[1:]...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range s.Env {
		v := e.Value
		for name, p := range params {
			v = strings.ReplaceAll(v, "$(params."+name+")", p)
		}
		v = strings.ReplaceAll(v, "$(step.results."+ResultImageURL+".path)", file)
		cmd.Env = append(cmd.Env, e.Name+"="+strings.ReplaceAll(v, home, dir))
	}
	out, err := cmd.CombinedOutput()
	raw, _ := os.ReadFile(file)
	return dir, string(raw), string(out), err
}

func TestSource(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("there is no git: install it")
	}
	url, first, second := gitServer(t)
	set := Committed()
	set.PlainGit = true
	good := func() map[string]string {
		return map[string]string{"url": url, "revision": first, "subdirectory": "service", "image": "registry.example.com/team/orders:v1", "staging": "registry.example.com/staging/orders"}
	}
	dir, result, out, err := runSource(t, set, good())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if result != "registry.example.com/team/orders:v1" {
		t.Errorf("the result is %q", result)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "service", "main.go"))
	if err != nil || string(raw) != "package main\n" {
		t.Errorf("not the first commit: %q, %v", raw, err)
	}
	log := exec.CommandContext(t.Context(), "git", "-C", dir, "log", "--format=%H")
	if got, err := log.Output(); err != nil || strings.TrimSpace(string(got)) != first {
		t.Errorf("the history is %s, %v; want %s alone", got, err, first)
	}
	if _, _, out, err := runSource(t, set, with(good(), "revision", second)); err != nil {
		t.Errorf("second commit: %v\n%s", err, out)
	}
	if _, _, out, err := runSource(t, set, with(good(), "subdirectory", "")); err != nil {
		t.Errorf("the repository itself: %v\n%s", err, out)
	}
	marker := filepath.Join(t.TempDir(), "ran")
	for name, c := range map[string]struct{ param, value, want string }{
		"a branch":            {"revision", "main", "no commit"},
		"an abbreviation":     {"revision", first[:12], "no commit"},
		"a flag":              {"revision", "--upload-pack=touch " + marker, "no commit"},
		"another commit":      {"revision", strings.Repeat("0", 40), ""},
		"a file URL":          {"url", "file:///etc", "begins with https"},
		"a program as a URL":  {"url", "ext::touch " + marker, "begins with https"},
		"a flag as a URL":     {"url", "--upload-pack=touch " + marker, "begins with https"},
		"a password":          {"url", "http://me:secret@127.0.0.1/x", "no place there"},
		"a shell in a URL":    {"url", "http://127.0.0.1:1/$(touch " + marker + ")", ""},
		"outside":             {"subdirectory", "../..", "no such folder"},
		"outside by the way":  {"subdirectory", "service/../..", "no such folder"},
		"absolute":            {"subdirectory", "/etc", "no such folder"},
		"a link":              {"subdirectory", "link", "no such folder"},
		"through a link":      {"subdirectory", "link/ssl", "no such folder"},
		"a file as a folder":  {"subdirectory", "go.mod", "no such folder"},
		"git's own":           {"subdirectory", ".git", "no such folder"},
		"no image":            {"image", "", "give HOST/NAME"},
		"a shell in an image": {"image", "`touch " + marker + "`", "give HOST/NAME"},
		"long":                {"staging", strings.Repeat("a", maxReference+1), "longer than 512"},
	} {
		t.Run(name, func(t *testing.T) {
			_, result, out, err := runSource(t, set, with(good(), c.param, c.value))
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("%v, want %q:\n%s", err, c.want, out)
			}
			if result != "" {
				t.Errorf("there is a result: %q", result)
			}
			if _, err := os.Stat(marker); err == nil {
				t.Error("a parameter was run as a program")
			}
		})
	}
	t.Run("committed settings want TLS", func(t *testing.T) {
		if _, _, out, err := runSource(t, Committed(), good()); err == nil || !strings.Contains(out, "begins with https") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestSourceConfig: git's settings are counted right, and none comes from a parameter.
func TestSourceConfig(t *testing.T) {
	count, keys := "", 0
	for _, e := range source(Committed()).Env {
		switch {
		case e.Name == "GIT_CONFIG_COUNT":
			count = e.Value
		case strings.HasPrefix(e.Name, "GIT_CONFIG_KEY_"):
			keys++
		}
		if strings.HasPrefix(e.Name, "GIT_") && strings.Contains(e.Value, "$(") {
			t.Errorf("%s has a variable", e.Name)
		}
	}
	if keys == 0 || count != strconv.Itoa(keys) {
		t.Errorf("%s settings are announced, and %d are there", count, keys)
	}
}

func with(m map[string]string, k, v string) map[string]string { m[k] = v; return m }
