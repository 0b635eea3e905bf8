// Registry is the CNCF's registry, Distribution, with one driver of storage, for files, and
// none of its ways to authenticate. No test uses those of clouds, which are most of what
// would be compiled for it alone.
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
