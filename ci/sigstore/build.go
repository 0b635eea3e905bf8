package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
)

//go:embed go.sum
var goSum []byte

//go:embed go.mod
var goMod []byte

// The programs, by the name that go build gives them.
var programs = map[string]string{
	"fulcio": "github.com/sigstore/fulcio",
	"posix":  "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix",
}

// binaries is the folder with the programs, named for all that they are made of.
func (c *config) binaries() string {
	sum := sha256.Sum256(slices.Concat([]byte(runtime.Version()+"\n"), goMod, goSum))
	return c.path("bin", hex.EncodeToString(sum[:8]))
}

// build compiles the services, once for each set of versions. The working folder is
// this module's.
func build(ctx context.Context, c *config) error {
	dir := c.binaries()
	if _, err := os.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Fprintln(os.Stderr, "sigstore: building Fulcio and Rekor from their Go modules, once: some minutes")
	tmp := dir + ".new"
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags=-s -w", "-o", tmp + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, p)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the services: %w\n  fix: run this in ci/sigstore, with a Go module proxy in reach", err)
	}
	return os.Rename(tmp, dir)
}
