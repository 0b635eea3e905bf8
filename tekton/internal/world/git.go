package world

import (
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// serveGit serves repositories over http, as git's own server does, for as long as this
// process lives.
func (w *World) serveGit() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(l, &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Env: []string{"GIT_PROJECT_ROOT=" + w.Repos, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard})
	}()
	w.Git = "http://" + w.Node + ":" + port(l.Addr().String())
	return w.offer(port(w.Git))
}

// Repo makes a repository of one commit, and returns its URL and the commit.
func (w *World) Repo(name string, fill func(dir string) error) (url, commit string, err error) {
	temp, err := os.MkdirTemp(w.Dir, "repo-*")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(temp)
	work := filepath.Join(temp, name)
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", "", err
	}
	if err := fill(work); err != nil {
		return "", "", err
	}
	git := func(dir string, args ...string) string {
		if err != nil {
			return ""
		}
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_AUTHOR_DATE=2026-01-31T12:00:00Z", "GIT_COMMITTER_DATE=2026-01-31T12:00:00Z")
		var out string
		out, err = output(cmd)
		return strings.TrimSpace(out)
	}
	git(work, "init", "-q", "-b", "main")
	git(work, "add", "-A")
	git(work, "commit", "-q", "-m", "x")
	git(w.Repos, "clone", "-q", "--bare", work, name+".git")
	commit = git(work, "rev-parse", "HEAD")
	return w.Git + "/" + name + ".git", commit, err
}

// Service fills a folder with the service of examples/microservice-go.
func (w *World) Service(dir string) error {
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(w.source, "..", "examples", "microservice-go"))); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, ".paths"))
}
