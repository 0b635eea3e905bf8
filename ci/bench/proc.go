package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// command is one process to measure.
type command struct {
	name string // short, for the raw numbers
	dir  string
	env  []string
	args []string
}

// usage is what a process and all the descendants that it waited for used.
type usage struct {
	Name string        `json:"name,omitempty"`
	Wall time.Duration `json:"wallNs"`
	CPU  time.Duration `json:"cpuNs"` // user and system
	Peak int64         `json:"peakBytes"`
}

// run runs one command to its end. What it prints on standard output is
// returned; what it prints elsewhere is part of the error if it fails.
//
// The kernel reports the largest resident set among a process and the
// descendants that were waited for, and counts the caller's own from before
// exec: so this program stays small, and the registry is a process of its own.
func run(ctx context.Context, c command) (usage, []byte, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	start := time.Now()
	err := cmd.Run()
	u := usage{Name: c.name, Wall: time.Since(start)}
	if s := cmd.ProcessState; s != nil {
		u.CPU = s.UserTime() + s.SystemTime()
		if r, ok := s.SysUsage().(*syscall.Rusage); ok {
			u.Peak = int64(r.Maxrss) << 10 // Linux counts in KiB
		}
	}
	if err != nil {
		return u, stdout.Bytes(), fmt.Errorf("%s: %w\n  command: %s\n  in: %s\n%s", c.name, err, strings.Join(c.args, " "), c.dir, tail(append(stderr.Bytes(), stdout.Bytes()...), 3000))
	}
	return u, stdout.Bytes(), nil
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// sum adds up commands that ran one after the other; its peak is the largest.
func sum(name string, list []usage) usage {
	total := usage{Name: name}
	for _, u := range list {
		total.Wall += u.Wall
		total.CPU += u.CPU
		total.Peak = max(total.Peak, u.Peak)
	}
	return total
}

// foreign are the prefixes of variables that would change how either side works.
var foreign = []string{"GO", "CGO_", "KO", "COSIGN_", "SIGSTORE_", "SYFT_", "TRIVY_", "PATHS_", "OTEL_", "TRACE", "DOCKER_", "REGISTRY_", "HOME=", "XDG_", "SOURCE_DATE_EPOCH"}

// environ is the environment of both sides: this process's own, without what
// would change how they work, and with a home folder of the benchmark's.
func environ(home string, add ...string) []string {
	var env []string
next:
	for _, kv := range os.Environ() {
		for _, p := range foreign {
			if strings.HasPrefix(kv, p) {
				continue next
			}
		}
		env = append(env, kv)
	}
	return append(append(env, "HOME="+home, "CGO_ENABLED=0", "CI=true", "NO_COLOR=1"), add...)
}
