// Command gen writes Tekton's objects from the catalog.
//
//	go run ./tekton/gen
//	go run ./tekton/gen --tool HOST/NAME@DIGEST --go HOST/NAME@DIGEST --out DIR
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/pavedpaths/paths/tekton"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	set := tekton.Committed()
	fl := flag.NewFlagSet("gen", flag.ContinueOnError)
	fl.StringVar(&set.Tool, "tool", set.Tool, "image with pathctl, by digest")
	fl.StringVar(&set.Go, "go", set.Go, "image with Go, git, a shell and pathctl, by digest")
	fl.BoolVar(&set.PlainGit, "plain-git", false, "let the source come by http:// as well, on a test cluster")
	out := fl.String("out", "tekton", "folder to write to")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if fl.NArg() > 0 {
		return fmt.Errorf("%q: there are no arguments, only flags", fl.Arg(0))
	}
	if set != tekton.Committed() && *out == "tekton" {
		return fmt.Errorf("--out is missing: what is committed names no images of yours; give another folder")
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
