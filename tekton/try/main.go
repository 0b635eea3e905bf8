// Command try makes a cluster for tests ready for the commands of this package's README, and
// serves a repository to build until it is stopped. The cluster and the Sigstore are those of
// scripts/try-tekton.sh, which calls it.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pavedpaths/paths/tekton/internal/world"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./tekton/try FOLDER")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "try:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
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
	variables := w.Variables(url, commit, "orders")
	maps.Copy(variables, w.Shell())
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		fmt.Fprintf(&text, "export %s='%s'\n", name, strings.ReplaceAll(variables[name], "'", `'\''`))
	}
	env := filepath.Join(dir, "env")
	if err := os.WriteFile(env, []byte(text.String()), 0o600); err != nil {
		return err
	}
	fmt.Printf(`ready: in another shell, read the variables, and copy the commands of tekton/README.md, "Run":
  . %s
Ctrl-C stops it all.
`, env)
	<-ctx.Done()
	return nil
}
