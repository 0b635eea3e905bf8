package step

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// Env holds the ports through which a step touches the world. The runner makes
// one for each run of a step; a step keeps none of it.
type Env struct {
	// Log receives diagnostics for people. Secrets are redacted behind it.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
	// HTTP is the client for every request of a step that needs the network.
	HTTP *http.Client
	// Work is a private empty folder that is removed after the run.
	Work string
	// Out is a private empty folder for output files: every file and dir that a
	// step returns lies below it (or, for a keyless one, below Cache).
	Out string
	// Cache is a folder private to the step's zone that survives runs. What is
	// in it must be checked before it is trusted.
	Cache string
	// Exec runs child processes. In the build zone the step's own process is
	// fenced already; children inherit the fence.
	Exec Execer
	// Jobs bounds the parallelism within the step; at least 1.
	Jobs int
}

// Execer runs child processes. The environment of a child is exactly
// Command.Env: nothing is inherited.
type Execer interface {
	Exec(ctx context.Context, c Command) error
	// Confine returns an argument prefix that runs a command with no rights but
	// to read what this process can read, except the folders in hide, and to
	// write below the folders in write. It is empty where the kernel can't.
	Confine(hide, write []string) []string
}

// Command is one child process.
type Command struct {
	Args   []string // Args[0] is the program, an absolute path or a name on Env's PATH
	Dir    string
	Env    []string
	Stdout io.Writer
	Stderr io.Writer
}
