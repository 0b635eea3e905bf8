package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/mod/module"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// downloaded is what `go mod download -json` prints for one module.
type downloaded struct {
	Path    string
	Version string
	Sum     string
	Error   string
}

// download fills the module cache. When a stamp says that this was done for the
// same go.mod and go.sum, and everything is still in its place, it starts
// nothing.
func (c child) download(ctx context.Context, tc toolchain, source string, req requirements) ([]gomod.Module, error) {
	stamp := filepath.Join(c.env.Cache, "modules", stampKey(tc, req))
	if b, err := os.ReadFile(stamp); err == nil {
		modules, err := gomod.Read(bytes.NewReader(b))
		if err == nil && c.present(modules) == nil && req.agrees(modules) {
			return modules, nil
		}
	}
	found, err := backoff.Retry(ctx, func() ([]downloaded, error) { return c.tryDownload(ctx, tc, source) },
		backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: 500 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 5 * time.Second}),
		backoff.WithMaxTries(4))
	if err != nil {
		return nil, fmt.Errorf("download modules: %w", err)
	}
	if err := req.unchanged(source); err != nil {
		return nil, err
	}
	var ms []module.Version
	for _, d := range found {
		m := module.Version{Path: d.Path, Version: d.Version}
		if want := req.sums[m]; want != "" && want != d.Sum {
			return nil, fmt.Errorf("module %s has the sum %s, but go.sum pins %s: somebody changed the module or go.sum; do not go on before you know who", m, d.Sum, want)
		}
		ms = append(ms, m)
	}
	if req.complete() {
		if err := req.missing(ms); err != nil {
			return nil, err
		}
	}
	modules := req.pinned(ms)
	if err := c.present(modules); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := gomod.Write(&buf, modules); err != nil {
		return nil, err
	}
	return modules, writeWhole(stamp, buf.Bytes())
}

func stampKey(tc toolchain, req requirements) string {
	h := sha256.New()
	fmt.Fprintf(h, "1 %s %d %d\n", tc.version, len(req.modBytes), len(req.sumBytes))
	h.Write(req.modBytes)
	h.Write(req.sumBytes)
	return hex.EncodeToString(h.Sum(nil))
}

// agrees reports whether the modules have the sums of go.sum. A stamp's name
// implies it; its content might have been damaged.
func (r requirements) agrees(modules []gomod.Module) bool {
	for _, m := range modules {
		if r.sums[module.Version{Path: m.Path, Version: m.Version}] != m.Sum {
			return false
		}
	}
	return true
}

// present checks that the module cache has each module, extracted, from a zip
// with the right sum. The files of an extracted module are not read: nothing
// but fetch may write to this cache.
func (c child) present(modules []gomod.Module) error {
	for _, m := range modules {
		p, err := module.EscapePath(m.Path)
		if err != nil {
			return err
		}
		v, err := module.EscapeVersion(m.Version)
		if err != nil {
			return err
		}
		info := filepath.Join(c.modcache, "cache", "download", p, "@v", v)
		sum, err := os.ReadFile(info + ".ziphash")
		if err != nil {
			return fmt.Errorf("module cache: %w", err)
		}
		if strings.TrimSpace(string(sum)) != m.Sum {
			return fmt.Errorf("module cache: %s@%s has the sum %.60q, want %s\n  fix: remove %s and run again", m.Path, m.Version, sum, m.Sum, c.modcache)
		}
		for _, path := range []string{info + ".mod", filepath.Join(c.modcache, p+"@"+v)} {
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("module cache: %w", err)
			}
		}
	}
	return nil
}

func (c child) tryDownload(ctx context.Context, tc toolchain, source string) ([]downloaded, error) {
	env := c.environ(filepath.Join(tc.goroot, "bin"), "GOROOT="+tc.goroot, "GOTOOLCHAIN=local")
	out, err := c.run(ctx, source, env, tc.gocmd(), "mod", "download", "-json")
	if ctx.Err() != nil {
		return nil, backoff.Permanent(err)
	}
	found, perr := parseDownloads(out)
	if err != nil {
		return nil, c.explain(found, err)
	}
	if perr != nil {
		return nil, backoff.Permanent(perr)
	}
	return found, nil
}

func parseDownloads(out []byte) ([]downloaded, error) {
	dec := json.NewDecoder(bytes.NewReader(out))
	var found []downloaded
	for {
		var d downloaded
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("read the go command's output: %w", err)
		}
		if len(found) == gomod.MaxModules {
			return found, fmt.Errorf("more than %d modules", gomod.MaxModules)
		}
		found = append(found, d)
	}
}

// explain makes one error of what the go command said, and decides whether
// another try can help.
func (c child) explain(found []downloaded, err error) error {
	var said []string
	for _, d := range found {
		if d.Error != "" {
			said = append(said, d.Error)
		}
	}
	text := strings.Join(said[:min(len(said), 5)], "\n")
	if text == "" {
		text = err.Error()
	}
	switch {
	case has(text, "SECURITY ERROR", "checksum mismatch"):
		return backoff.Permanent(fmt.Errorf("%s\n  fix: find out whether go.sum or the module changed; do not go on before you know", text))
	case has(text, "missing go.sum entry", "updates to go.mod needed", "updates to go.sum needed"):
		return backoff.Permanent(step.Usagef("%s\n  fix: run `go mod tidy` in the source and commit go.mod and go.sum", text))
	case has(text, "no space left on device"):
		return backoff.Permanent(fmt.Errorf("%s\n  fix: free space where %s is, then run again", text, c.modcache))
	case has(text, "GOVCS disallows"):
		return backoff.Permanent(fmt.Errorf("%s\n  fix: modules are taken from a proxy, never from version control: set goproxy to one that has this module (goproxy=%s)", text, gomod.Shown(c.in.GoProxy)))
	case has(text, "500", "502", "503", "504", "429", "timeout", "connection re", "EOF", "TLS handshake", "no such host", "network is unreachable", "i/o error"):
		return fmt.Errorf("%s\n  fix: check the network and goproxy=%s, then run again", text, gomod.Shown(c.in.GoProxy))
	}
	return backoff.Permanent(fmt.Errorf("%s\n  fix: check the module's version in go.mod, and goproxy=%s", text, gomod.Shown(c.in.GoProxy)))
}

func has(text string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}
