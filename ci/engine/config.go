package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// runc can't be built in dagger's module graph, which selects a version of
// cilium/ebpf that runc's own dependencies don't compile with. It is built by its
// own go.mod, in the version that dagger v0.21.7 requires.
const runcVersion = "v1.4.2"

// config is what a person may choose, and where things lie.
type config struct {
	// Version of engine and command line: the one in go.mod, which says it for the
	// whole repository.
	Version string `json:"version"`
	// Dir holds everything: programs, images, caches, logs (PATHS_ENGINE_DIR).
	Dir string `json:"dir"`
	// Port is the registry's on loopback (PATHS_ENGINE_PORT).
	Port string `json:"port"`
	// Network is the name of the bridge, without its last digit, and CIDR its
	// addresses (PATHS_ENGINE_NETWORK, PATHS_ENGINE_CIDR).
	Network string `json:"network"`
	CIDR    string `json:"cidr"`
	// Cache bounds the engine's cache (PATHS_ENGINE_CACHE).
	Cache string `json:"cache"`
	// Given is the engine that the caller has already.
	Given string `json:"-"`
}

func load(env func(string) string) (config, error) {
	or := func(name, otherwise string) string {
		if v := env(name); v != "" {
			return v
		}
		return otherwise
	}
	c := config{
		Dir:     or("PATHS_ENGINE_DIR", "/var/tmp/paths-engine"),
		Port:    or("PATHS_ENGINE_PORT", "5000"),
		Network: or("PATHS_ENGINE_NETWORK", "paths"),
		CIDR:    or("PATHS_ENGINE_CIDR", "10.89.0.0/16"),
		Cache:   or("PATHS_ENGINE_CACHE", "30GB"),
		Given:   env("_EXPERIMENTAL_DAGGER_RUNNER_HOST"),
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, err
	}
	for _, hidden := range []string{"/etc", "/usr", "/opt", "/run"} {
		if c.Dir == hidden || strings.HasPrefix(c.Dir, hidden+"/") {
			return c, fmt.Errorf("PATHS_ENGINE_DIR is %s: the engine sees another %s; choose a folder elsewhere", c.Dir, hidden)
		}
	}
	for name, check := range map[string]struct{ value, form string }{
		"PATHS_ENGINE_PORT":    {c.Port, `^[1-9][0-9]{1,4}$`},
		"PATHS_ENGINE_NETWORK": {c.Network, `^[a-z][a-z0-9]{0,9}$`},
		"PATHS_ENGINE_CIDR":    {c.CIDR, `^[0-9]+\.[0-9]+\.0\.0/16$`},
		"PATHS_ENGINE_CACHE":   {c.Cache, `^[1-9][0-9]*[MGT]B$`},
	} {
		if !regexp.MustCompile(check.form).MatchString(check.value) {
			return c, fmt.Errorf("%s is %q: give something like %s", name, check.value, check.form)
		}
	}
	if err := ownedFolder(c.Dir); err != nil {
		return c, err
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		return c, fmt.Errorf("%w; run me in ci/engine, as make engine does", err)
	}
	c.Version, err = versionIn(string(mod))
	return c, err
}

// versionIn is the version of Dagger that a go.mod requires.
func versionIn(mod string) (string, error) {
	m := regexp.MustCompile(`(?m)^\s*github\.com/dagger/dagger (v[0-9]+\.[0-9]+\.[0-9]+)\b`).FindStringSubmatch(mod)
	if m == nil {
		return "", fmt.Errorf("go.mod requires no github.com/dagger/dagger")
	}
	return m[1], nil
}

func (c config) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}
func (c config) lib(name string) string { return c.path("lib", name) }
func (c config) bridge() string         { return c.Network + "0" }
func (c config) registry() string       { return "127.0.0.1:" + c.Port }
func (c config) socket() string         { return "unix://" + c.path("run", "engine.sock") }

// engineJSON is the engine's own configuration. Without these bounds it throws
// its cache away on a disk that is nearly full.
func (c config) engineJSON() []byte {
	raw, _ := json.MarshalIndent(map[string]any{
		"gc": map[string]string{"maxUsedSpace": c.Cache, "reservedSpace": c.Cache, "minFreeSpace": "1GB"},
		"registries": map[string]any{
			c.registry(): map[string]any{"http": true},
			"docker.io":  map[string]any{"mirrors": []string{c.registry()}},
		},
	}, "", "  ")
	return raw
}

// output runs a command for what it prints.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// ownedFolder refuses a folder that others can write: what lies in it is run, as root.
func ownedFolder(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only you can write, and programs in it would be run: remove it, or set PATHS_ENGINE_DIR to another", dir)
	}
	return nil
}
