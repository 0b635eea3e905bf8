package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Source is what version control says of a folder.
type Source struct {
	// Revision is the commit; empty without version control.
	Revision string
	// Repository is the URL of the remote "origin", without credentials.
	Repository string
	// Dirty is true if the folder differs from its commit.
	Dirty bool
	// Created is the commit's time in RFC 3339 and UTC; SOURCE_DATE_EPOCH wins,
	// and without either it is 1970.
	Created string
}

// Source asks git about a folder. A folder without git is no error.
func (h Host) Source(ctx context.Context, dir string) (Source, error) {
	s := Source{Created: time.Unix(0, 0).UTC().Format(time.RFC3339)}
	log, err := git(ctx, dir, "log", "-1", "--format=%H %ct")
	if err == nil {
		rev, ct, _ := strings.Cut(log, " ")
		sec, err := strconv.ParseInt(ct, 10, 64)
		if err != nil {
			return s, fmt.Errorf("git log in %s: unexpected output %.80q", dir, log)
		}
		s.Revision, s.Created = rev, time.Unix(sec, 0).UTC().Format(time.RFC3339)
		status, err := git(ctx, dir, "status", "--porcelain", "--untracked-files=all", "--", ".")
		if err != nil {
			return s, fmt.Errorf("git status in %s: %w", dir, err)
		}
		s.Dirty = status != ""
		if remote, err := git(ctx, dir, "config", "--get", "remote.origin.url"); err == nil {
			s.Repository = withoutCredentials(remote)
		}
	}
	if h.SourceDateEpoch != "" {
		sec, err := strconv.ParseInt(h.SourceDateEpoch, 10, 64)
		if err != nil || sec < 0 {
			return s, fmt.Errorf("SOURCE_DATE_EPOCH is %.40q: give seconds since 1970, or unset it", h.SourceDateEpoch)
		}
		s.Created = time.Unix(sec, 0).UTC().Format(time.RFC3339)
	}
	return s, nil
}

// git runs git without the user's or the repository's hooks and helpers: a
// repository's own configuration can name programs to run.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	base := []string{"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", "-c", "core.pager=cat"}
	cmd := exec.CommandContext(ctx, "git", append(base, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}

// withoutCredentials drops user and password from a remote's URL, which would
// otherwise end up in provenance that anyone can read.
func withoutCredentials(remote string) string {
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		return remote
	}
	u.User = nil
	u.RawQuery = ""
	return u.String()
}

// Go is what the installed Go toolchain says of itself and of module proxies.
type Go struct {
	// Command is the absolute path of the go command.
	Command string
	Root    string // GOROOT
	Proxy   string // GOPROXY, preceded by the user's own module cache
	Private string // GOPRIVATE
	NoSumDB string // GONOSUMDB
	SumDB   string // GOSUMDB
}

// Go asks the go command on PATH.
func (h Host) Go(ctx context.Context) (Go, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return Go{}, errors.New("no go command on PATH: install Go (https://go.dev/dl), or put it on PATH")
	}
	// Outside of any module, so that no go.mod can ask for another toolchain.
	cmd := exec.CommandContext(ctx, path, "env", "GOROOT", "GOPROXY", "GOPRIVATE", "GONOSUMDB", "GOSUMDB", "GOMODCACHE")
	cmd.Dir = string(filepath.Separator)
	out, err := cmd.Output()
	if err != nil {
		return Go{}, fmt.Errorf("go env: %w", err)
	}
	v := strings.Split(string(out), "\n")
	if len(v) < 6 {
		return Go{}, fmt.Errorf("go env: unexpected output %.80q", out)
	}
	g := Go{Command: path, Root: v[0], Proxy: v[1], Private: v[2], NoSumDB: v[3], SumDB: v[4]}
	// What the user has downloaded already is checked against go.sum like any
	// other answer of a proxy.
	if cache := filepath.Join(v[5], "cache", "download"); v[5] != "" {
		if info, err := os.Stat(cache); err == nil && info.IsDir() {
			g.Proxy = "file://" + filepath.ToSlash(cache) + "," + g.Proxy
		}
	}
	return g, nil
}
