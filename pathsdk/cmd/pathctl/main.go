// Command pathctl runs paved paths, and verifies and explains what they made.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/run/host"
)

func main() {
	// A fenced process is this binary again. It takes another way from here on:
	// no command line, no environment, no signals of ours.
	if code, ok := run.Reexec(os.Args, stepNamed); ok {
		os.Exit(code)
	}
	// Short processes with little garbage: a larger heap costs less than
	// collecting it. Whoever set GOGC knows better.
	if was := debug.SetGCPercent(400); was != 100 {
		debug.SetGCPercent(was)
	}
	os.Exit(Main(os.Args[1:]))
}

// maxRefusal bounds what is written of a refusal, in bytes: a result of Tekton's may
// have 4096 with all others.
const maxRefusal = 1024

// oneLine is the reason in one line.
func oneLine(err error) []byte {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	return []byte(text[:min(len(text), maxRefusal)])
}

// Main runs one command line and returns the exit code; tests run it in their
// own process.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h, err := host.CLI()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pathctl:", err)
		return 1
	}
	a := &app{host: h, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	cmd := newRoot(a)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errors.New("interrupted; run the same command again and it goes on from the last finished step")
	}
	a.fail(err)
	code := exitCode(err)
	if h.RefusalFile != "" && (code == 2 || code == 3) {
		if err := writeFile(h.RefusalFile, oneLine(err), 0o644); err != nil {
			fmt.Fprintln(a.stderr, "pathctl: PATHS_REFUSAL_FILE:", err)
		}
	}
	return code
}
