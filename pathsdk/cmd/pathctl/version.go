package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the release build; a build from source says "dev".
var version = "dev"

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, dep := range info.Deps {
					switch dep.Path {
					case "github.com/anchore/syft":
						v["syft"] = dep.Version
					case "github.com/aquasecurity/trivy":
						v["trivy"] = dep.Version
					case "github.com/google/ko":
						v["ko"] = dep.Version
					case "github.com/sigstore/sigstore-go":
						v["sigstore-go"] = dep.Version
					}
				}
			}
			return a.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "pathctl %s %s %s\n", v["version"], v["go"], v["platform"])
				fmt.Fprintf(w, "with ko %s, syft %s, trivy %s, sigstore-go %s\n", v["ko"], v["syft"], v["trivy"], v["sigstore-go"])
			})
		},
	}
}
