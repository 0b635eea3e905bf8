// Command engine gives a machine a Dagger engine: the one that
// _EXPERIMENTAL_DAGGER_RUNNER_HOST names, else the one that a Docker engine can
// run, else one that is built from Go modules and Debian packages and started
// here. It runs in its own folder, where go.mod is.
//
//	engine up      print what to export; progress goes to standard error
//	engine build   build what up would build here, and start nothing; an engine of
//	               ours that was made of something else is stopped
//	engine down    stop what up started, and leave nothing behind but caches
//	engine purge   the same, and remove the caches
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = "usage: engine up|build|status|down|purge; see make help"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

var errUsage = errors.New(usage)

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == verbInside {
		return inside(args[1])
	}
	if len(args) != 1 {
		return errUsage
	}
	c, err := load(os.Getenv)
	if err != nil {
		return err
	}
	switch args[0] {
	case "up":
		lines, err := up(ctx, c)
		if err != nil {
			return err
		}
		fmt.Print(lines)
		return nil
	case "build":
		return ahead(ctx, c)
	case "status":
		if !alive(c, "engine") {
			return errors.New("no engine of ours runs here: make engine starts one")
		}
		fmt.Println(c.socket())
		return nil
	case "down":
		return locked(c, func() error { return down(c) })
	case "purge":
		return locked(c, func() error {
			if err := down(c); err != nil {
				return err
			}
			if err := os.RemoveAll(c.Dir); err != nil {
				return err
			}
			return os.Remove(c.Dir + ".lock")
		})
	}
	return errUsage
}

// locked keeps two commands from building or starting the same engine at once.
func locked(c config, f func() error) error {
	lock, err := os.OpenFile(c.Dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return f()
}

// say tells what takes long.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "engine: "+format+"\n", args...) }
