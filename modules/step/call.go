package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"dagger/step/internal/dagger"
)

// call is one step about to run: the flags of pathctl, and what they name.
type call struct {
	step, zone string
	args       []string
	dirs       map[string]*dagger.Directory
	files      map[string]*dagger.File
	secrets    map[string]*dagger.Secret
	always     bool
}

func newCall(step, zone string) *call {
	return &call{step: step, zone: zone, dirs: map[string]*dagger.Directory{}, files: map[string]*dagger.File{}, secrets: map[string]*dagger.Secret{}}
}

func (c *call) text(flag, v string) {
	if v != "" {
		c.args = append(c.args, "--"+flag+"="+v)
	}
}

func (c *call) yes(flag string, v bool) {
	if v {
		c.text(flag, "true")
	}
}

func (c *call) number(flag string, v int) {
	if v != 0 {
		c.text(flag, strconv.Itoa(v))
	}
}

func (c *call) list(flag string, v []string) { c.text(flag, strings.Join(v, ",")) }

func (c *call) dir(flag string, v *dagger.Directory) {
	if v != nil {
		c.dirs[flag] = v
		c.text(flag, "/in/"+flag)
	}
}

func (c *call) file(flag string, v *dagger.File) {
	if v != nil {
		c.files[flag] = v
		c.text(flag, "/in/"+flag)
	}
}

func (c *call) secret(flag string, v *dagger.Secret) {
	if v != nil {
		c.secrets[flag] = v
		c.text(flag+"-file", secrets+flag)
	}
}

// record is where pathctl leaves what it saw of a step.
const record = out + "/record.json"

// run runs a step in a container of its zone.
func (m *Step) run(c *call) *dagger.Container {
	args := append([]string{"step", c.step, "--out", out + "/files", "--record", record}, c.args...)
	if c.zone == "build" {
		return m.offline(args, nil, c.dirs, c.files)
	}
	ctr := m.online()
	if c.zone == "fetch" {
		ctr = m.fetching()
	}
	for flag, d := range c.dirs {
		ctr = ctr.WithMountedDirectory("/in/"+flag, d)
	}
	for flag, f := range c.files {
		ctr = ctr.WithMountedFile("/in/"+flag, f)
	}
	if c.zone == "attest" || c.zone == "deploy" {
		for flag, s := range c.secrets {
			ctr = ctr.WithMountedSecret(secrets+flag, s)
		}
	}
	if c.always {
		ctr = always(ctr)
	}
	return ctr.WithExec(append([]string{pathctl}, args...))
}

// value reads an output of a step.
func value[T any](ctx context.Context, c *dagger.Container, name string) (T, error) {
	var v T
	raw, err := c.File(record).Contents(ctx)
	if err != nil {
		return v, plain(err)
	}
	var rec struct{ Output map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(raw), &rec); err != nil {
		return v, fmt.Errorf("unreadable record of the step: %w", err)
	}
	if o, ok := rec.Output[name]; ok {
		err = json.Unmarshal(o, &v)
	}
	return v, err
}

func dirOf(ctx context.Context, c *dagger.Container, name string) (*dagger.Directory, error) {
	path, err := value[string](ctx, c, name)
	if err != nil {
		return nil, err
	}
	return c.Directory(path), nil
}

func fileOf(ctx context.Context, c *dagger.Container, name string) (*dagger.File, error) {
	path, err := value[string](ctx, c, name)
	if err != nil {
		return nil, err
	}
	return c.File(path), nil
}

func evidenceOf(ctx context.Context, c *dagger.Container) (string, error) {
	raw, err := c.File(record).Contents(ctx)
	if err != nil {
		return "", plain(err)
	}
	var rec struct{ Evidence json.RawMessage }
	if err := json.Unmarshal([]byte(raw), &rec); err != nil {
		return "", fmt.Errorf("unreadable record of the step: %w", err)
	}
	return string(rec.Evidence), nil
}
