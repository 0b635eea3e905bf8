package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// config is where things are. Ports are chosen once: trusted root and signing
// configuration name them.
type config struct {
	dir   string
	Ports map[string]int
}

// The ports that services listen on.
var portNames = []string{"issuer", "fulcio", "fulcio-grpc", "fulcio-metrics", "rekor", "rekor-http", "rekor-grpc", "rekor-metrics", "tsa"}

func load() (*config, error) {
	c := &config{dir: os.Getenv("PATHS_SIGSTORE")}
	if c.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("%w: set PATHS_SIGSTORE to a folder of your choice", err)
		}
		c.dir = filepath.Join(cache, "paths-sigstore")
	}
	var err error
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(c.path("ports.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &c.Ports); err != nil {
		return nil, fmt.Errorf("%s: %w\n  fix: sigstore purge", c.path("ports.json"), err)
	}
	return c, nil
}

func (c *config) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

func (c *config) url(port string) string { return "http://127.0.0.1:" + strconv.Itoa(c.Ports[port]) }

// choosePorts takes ports that are free, the first time.
func (c *config) choosePorts() error {
	if c.Ports != nil {
		return nil
	}
	ports := map[string]int{}
	for _, name := range portNames {
		// All are held until the last is chosen, so that no two are the same.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		ports[name] = l.Addr().(*net.TCPAddr).Port
	}
	// Two Sigstores may have one issuer: that of the other, which is in this folder.
	if other := os.Getenv("PATHS_SIGSTORE_ISSUER"); other != "" {
		theirs := map[string]int{}
		raw, err := os.ReadFile(filepath.Join(other, "ports.json"))
		if err == nil {
			err = json.Unmarshal(raw, &theirs)
		}
		if err != nil {
			return fmt.Errorf("PATHS_SIGSTORE_ISSUER: %w", err)
		}
		ports["issuer"] = theirs["issuer"]
	}
	raw, err := json.Marshal(ports)
	if err != nil {
		return err
	}
	if err := write(c.path("ports.json"), raw, 0o644); err != nil {
		return err
	}
	c.Ports = ports
	return nil
}

// write writes a file whole or not at all.
func write(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
