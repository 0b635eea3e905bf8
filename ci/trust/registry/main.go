// Registry is the CNCF's registry, Distribution, with one driver of storage, for files, and
// none of its ways to authenticate: those of clouds, which no test uses, take longer to
// compile than all the rest.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
