// Command gen writes Tekton's objects from the catalog.
//
//	go run ./tekton/gen
//	go run ./tekton/gen --tool HOST/NAME@DIGEST --go HOST/NAME@DIGEST --out DIR
//	go run ./tekton/gen --tool HOST/NAME@DIGEST --go HOST/NAME@DIGEST --push HOST/NAME
//
// With --push it pushes the Tekton bundle and prints REPOSITORY@DIGEST alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/pavedpaths/paths/tekton"
)

// committed is the folder of what is committed, from the repository's root.
const committed = "tekton"

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	set := tekton.Committed()
	fl := flag.NewFlagSet("gen", flag.ContinueOnError)
	fl.StringVar(&set.Tool, "tool", set.Tool, "image with pathctl, by digest")
	fl.StringVar(&set.Go, "go", set.Go, "image with Go, git, a shell and pathctl, by digest")
	fl.StringVar(&set.VulnDB, "vuln-db", set.VulnDB, "vulnerability database for the attester, OCI references tried in turn")
	fl.StringVar(&set.Connect, "connect", set.Connect, "HOST:PORT=HOST:PORT, which address really answers for a registry of a test cluster")
	fl.BoolVar(&set.PlainGit, "plain-git", false, "let the source come by http:// as well, on a test cluster")
	out := fl.String("out", committed, "folder to write to")
	push := fl.String("push", "", "repository to push the bundle to")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if fl.NArg() > 0 {
		return fmt.Errorf("%q: there are no arguments, only flags", fl.Arg(0))
	}
	given := set.Tool != tekton.Committed().Tool && set.Go != tekton.Committed().Go
	switch {
	case *push != "" && !given:
		return errors.New("--push: there are no images before the first release; give yours with --tool and --go")
	case *push == "" && set != tekton.Committed() && *out == committed:
		return errors.New("--out is missing: what is committed names no images of yours; give another folder")
	}
	if *push != "" {
		ref, err := tekton.Push(ctx, set, *push)
		if err == nil {
			fmt.Fprintln(stdout, ref)
		}
		if err != nil || *out == committed {
			return err
		}
		stdout = io.Discard // the reference is all that is printed
	}
	files, err := tekton.Files(set)
	if err != nil {
		return err
	}
	changed, err := tekton.Write(*out, files)
	for _, name := range changed {
		fmt.Fprintln(stdout, name)
	}
	return err
}
