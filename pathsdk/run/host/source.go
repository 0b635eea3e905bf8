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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/run/fence"
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
//
// A repository's own configuration and attributes can name programs that git
// runs, so git is user code: it runs in the fence, with the repository to read,
// nothing to write, and the home folder out of reach. What it says is taken by
// form only.
func (h Host) Source(ctx context.Context, dir string) (Source, error) {
	s := Source{Created: time.Unix(0, 0).UTC().Format(time.RFC3339)}
	if root, ok := repository(dir); ok {
		out, err := h.git(ctx, root, dir)
		if err != nil {
			return s, err
		}
		if m := answerForm.FindStringSubmatch(out); m != nil {
			sec, err := strconv.ParseInt(m[2], 10, 64)
			if err != nil {
				return s, fmt.Errorf("git log in %s: %w", dir, err)
			}
			s.Revision, s.Created = m[1], time.Unix(sec, 0).UTC().Format(time.RFC3339)
			s.Dirty, s.Repository = m[3] != "clean", withoutCredentials(m[4])
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

// questions asks git three things in one fenced process. A folder that git does
// not know has no answer to the first.
const questions = `set -u
g() { git -c safe.directory='*' -c safe.bareRepository=explicit -c core.fsmonitor=false -c core.hooksPath=/dev/null -c log.showSignature=false "$@"; }
g log -1 --format='revision %H %ct' || exit 0
status=$(g status --porcelain --untracked-files=all -- .) || exit 1
if [ -z "$status" ]; then echo clean; else echo dirty; fi
echo "origin $(g config --get remote.origin.url)"
`

var answerForm = regexp.MustCompile(`^revision ([0-9a-f]{40}|[0-9a-f]{64}) ([0-9]{1,12})\n(clean|dirty)\norigin ([^\n]*)\n$`)

// git runs the questions in the fence.
func (h Host) git(ctx context.Context, root []string, dir string) (string, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return "", nil // doctor says what that costs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	var out, stderr bytes.Buffer
	_, err = fence.New(h.Self).Run(ctx, fence.Spec{
		Args: []string{"/bin/sh", "-c", questions}, Dir: dir,
		Env:  []string{"PATH=" + filepath.Dir(path) + ":/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"},
		Read: append(root, filepath.Dir(filepath.Dir(path))), Hide: []string{h.Home},
		Stdout: &capped{buf: &out, left: 64 << 10}, Stderr: &capped{buf: &stderr, left: 64 << 10},
	})
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("ask git about %s: %w: %.500s", dir, err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), nil
}

// capped keeps the beginning of what is written.
type capped struct {
	buf  *bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	c.buf.Write(p[:n])
	return len(p), nil
}

// repository finds the working tree around a folder, and what git must read of
// it: for a worktree or a submodule also the folder that its file .git names.
func repository(dir string) (read []string, ok bool) {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Lstat(filepath.Join(at, ".git"))
		switch {
		case err == nil && info.IsDir():
			return []string{at}, true
		case err == nil && info.Mode().IsRegular():
			read = []string{at}
			b, err := bounded.ReadFile(filepath.Join(at, ".git"), 4096)
			if err != nil {
				return read, true
			}
			to, found := strings.CutPrefix(strings.TrimSpace(string(b)), "gitdir: ")
			if !found {
				return read, true
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(at, to)
			}
			// Only ever the inside of another .git.
			if i := strings.LastIndex(to, "/.git/"); i >= 0 {
				if common := to[:i+len("/.git")]; isDir(common) {
					read = append(read, common)
				}
			}
			return read, true
		}
		if at == filepath.Dir(at) {
			return nil, false
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// withoutCredentials keeps scheme, host and path of a remote: the rest would end
// up in provenance that anyone can read. What is not understood is dropped.
func withoutCredentials(remote string) string {
	if host, path, ok := strings.Cut(remote, ":"); ok && !strings.Contains(host, "/") && !strings.HasPrefix(path, "/") {
		// The form of scp: user@host:path.
		host = host[strings.LastIndex(host, "@")+1:]
		if !hostForm.MatchString(host) || strings.ContainsAny(path, "@?#:") {
			return ""
		}
		return "ssh://" + host + "/" + path
	}
	u, err := url.Parse(remote)
	if err != nil || !slices.Contains([]string{"https", "http", "ssh", "git"}, u.Scheme) || !hostForm.MatchString(u.Hostname()) {
		return ""
	}
	if strings.ContainsAny(u.Path, "@") {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

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
