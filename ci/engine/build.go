package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build makes the programs and images, unless those that are there were made of
// the same. It works beside and renames: a killed build leaves nothing that looks
// whole.
func build(ctx context.Context, c config) error {
	want, err := stamp(c, ".")
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(c.path("made", "stamp")); err == nil && string(have) == want {
		return nil
	}
	if err := down(c); err != nil { // its programs are about to go
		return err
	}
	say("building Dagger %s from its Go module, once: some minutes", c.Version)
	made := c.path("made.new")
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	lib := filepath.Join(made, "lib")
	if err := os.MkdirAll(lib, 0o755); err != nil {
		return err
	}
	if err := goBuild(ctx, []string{"CGO_ENABLED=0", "GOFLAGS=-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false"},
		append(daggerFlags(c), "-o", lib+"/", "tool")...); err != nil {
		return err
	}
	if err := goBuild(ctx, []string{"CGO_ENABLED=1", "GOFLAGS=-trimpath -buildvcs=false -gcflags=all=-dwarf=false", "GOBIN=" + lib},
		"install", "-tags", "seccomp,netgo,osusergo", "-ldflags", "-s -w -X main.version="+strings.TrimPrefix(runcVersion, "v"), "github.com/opencontainers/runc@"+runcVersion); err != nil {
		return err
	}
	say("making images")
	if err := images(c, lib, made); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(made, "stamp"), []byte(want), 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(c.path("made")); err != nil {
		return err
	}
	if err := os.Rename(made, c.path("made")); err != nil {
		return err
	}
	return link(c)
}

// link puts what people call into bin, and everything else where it is looked for.
func link(c config) error {
	for name, target := range map[string]string{"lib": "made/lib", "bin/dagger": "../made/lib/dagger", "bin/crane": "../made/lib/crane"} {
		at := c.path(filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		_ = os.Remove(at)
		if err := os.Symlink(target, at); err != nil {
			return err
		}
	}
	return nil
}

// daggerFlags build Dagger's programs, which say their version.
func daggerFlags(c config) []string {
	const pkg = "github.com/dagger/dagger/engine"
	return []string{"build", "-tags", "dfexcludepatterns,dfparents", "-ldflags", fmt.Sprintf("-s -w -X %s.Version=%s -X %s.Tag=%s", pkg, c.Version, pkg, c.Version)}
}

func goBuild(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), append(env, "GOWORK=off", "GOTOOLCHAIN=local")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, tail(out.String(), 20))
	}
	return nil
}

// stamp is the digest of all that programs and images are made of: the toolchain,
// and every file of this module but its tests.
func stamp(c config, dir string) (string, error) {
	h := sha256.New()
	goEnv, err := output("go", "env", "GOVERSION", "GOROOT", "GOARCH", "GOPROXY", "GOSUMDB")
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, goEnv, c.Version, runcVersion)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		fmt.Fprintln(h, filepath.ToSlash(path))
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(h, f)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}
