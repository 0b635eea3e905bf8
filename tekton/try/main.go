// Command try makes a cluster for tests ready for the commands of this package's README, and
// serves a repository to build until it is stopped. scripts/try-tekton.sh, which calls it,
// has started the cluster and the Sigstore.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/pavedpaths/paths/tekton/internal/world"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./tekton/try NEW-FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "try:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already\n  fix: name a folder that is not, or call make tekton, which removes its own", dir)
	} else if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "try: making images, pushing the bundle, installing: half a minute")
	w, err := world.New("tekton", dir, nil)
	if err != nil {
		return err
	}
	url, commit, err := w.Repo("orders", w.Service)
	if err != nil {
		return err
	}
	env, err := w.Shell(url, commit, "orders")
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1) // until here, a signal ends this at once
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	fmt.Printf(`ready: in another shell of this user's, read the variables, and copy the commands with
which part "Run" of tekton/README.md begins:
  . '%s'
Ctrl-C ends this.
`, env)
	<-stop
	return nil
}
