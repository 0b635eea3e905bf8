// Package service reads the consumer's own file, paths.yaml: which path a
// service takes, with which inputs, gates, waivers and custom steps. It merges
// them with flags and defaults, and adds the custom steps to the path's graph.
package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// What every paths.yaml says of itself.
const (
	File       = "paths.yaml"
	APIVersion = "pavedpaths.dev/v1"
	Kind       = "Service"
)

// MaxSize bounds the file, in bytes.
const MaxSize = 256 << 10

// Service is a consumer's paths.yaml.
type Service struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Path names the paved path, and Version the version of it that the service
	// was written for; an empty one takes any.
	Path    string `json:"path"`
	Version string `json:"version,omitempty"`
	// Inputs are values of the path's inputs. Text, numbers, booleans and lists
	// of text stand as they are in the file; Resolve gives them their kind.
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"`
	// Gates are parameters of the policy. A service can only make it stricter.
	Gates map[string]any `json:"gates,omitempty"`
	// Waivers accept findings until a day.
	Waivers []Waiver `json:"waivers,omitempty"`
	// Custom steps run beside the tests.
	Custom []Custom `json:"custom,omitempty"`

	lines map[string]int // of fields, such as "inputs.name"; nil without a file
}

// Waiver accepts one finding: a vulnerability's or a rule's id, why, and until
// when. Whether it has expired is judged at every verification, not here.
type Waiver struct {
	ID      string `json:"id"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"` // a day, such as 2026-12-31
}

// Custom is a producer step of the service's own: a command that runs in the
// fenced build zone. What it proves is reported, never more.
type Custom struct {
	Name    string   `json:"name"`
	Command []string `json:"command"`
	// After names nodes of the path, or other custom steps, that must have
	// passed.
	After []string `json:"after,omitempty"`
}

// Load reads dir/paths.yaml. Without one, a folder with a go.mod takes the
// microservice path with its defaults. The file is never reached through a
// symbolic link that leads out of dir: what it says becomes evidence. Errors
// about its content wrap step.ErrUsage.
func Load(dir string) (Service, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Service{}, step.Usagef("the source %s can't be opened: %w; give the folder of a service", dir, err)
	}
	defer root.Close()
	content, err := read(root)
	if errors.Is(err, fs.ErrNotExist) {
		return guess(root, dir)
	}
	if err != nil {
		return Service{}, err
	}
	return Parse(content)
}

// Found reports whether the service was read from a file.
func (s Service) Found() bool { return s.lines != nil }

// Config is the file as JSON, for the runner's record; nil without a file.
func (s Service) Config() (json.RawMessage, error) {
	if !s.Found() {
		return nil, nil
	}
	return json.Marshal(s)
}

func read(root *os.Root) ([]byte, error) {
	info, err := root.Lstat(File)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, step.Usagef("%s is not a regular file; links to it are not followed", File)
	}
	f, err := root.Open(File)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", File, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", File, err)
	}
	return b, nil
}

func guess(root *os.Root, dir string) (Service, error) {
	if info, err := root.Stat("go.mod"); err != nil || !info.Mode().IsRegular() {
		return Service{}, step.Usagef("%s has neither a %s nor a go.mod: give the folder of a service, or write the file with: pathctl init", dir, File)
	}
	return Service{APIVersion: APIVersion, Kind: Kind, Path: "microservice"}, nil
}

// at names a field of the file with its line, for errors.
func (s Service) at(field string) string {
	if n, ok := s.lines[field]; ok {
		return fmt.Sprintf("%s:%d: %s", File, n, field)
	}
	return File + ": " + field
}
