package tekton

import (
	"fmt"
	"regexp"
)

// Version is that of every generated object. Artifact Hub wants the version of the
// release here, the same for all, as it reads versions from tags.
const Version = "0.1.0"

// Settings are what differs from one cluster to the next. There are no images before
// the first release, and a name below .invalid can be no registry's (RFC 2606), so
// nothing can be pulled by mistake from where the committed objects point.
type Settings struct {
	// Tool is the image that runs pathctl alone: no shell, no Go. By digest, with
	// pathctl in /usr/local/bin, and CA certificates.
	Tool string
	// Go is the image with Go, git and a shell, and pathctl in /usr/local/bin. By
	// digest.
	Go string
	// VulnDB is where the attester takes the vulnerability database from, as pathctl's
	// --vuln-db; the catalog's default when empty.
	VulnDB string
	// Connect says which address really answers for a registry's HOST:PORT, as
	// PATHS_CONNECT: on a test cluster, whose registry has no certificate, and by another
	// name than this machine's is not spoken to.
	Connect string
	// PlainGit lets the source come by http:// as well: for a git server on a test
	// cluster. A commit fixes the source either way.
	PlainGit bool
}

// Committed are the settings of the objects in this repository.
func Committed() Settings {
	const none = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	return Settings{Tool: "tool.pavedpaths.invalid/pathctl" + none, Go: "go.pavedpaths.invalid/pathctl-go" + none}
}

var imageForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+@sha256:[0-9a-f]{64}$`)

func (s Settings) check() error {
	for flag, image := range map[string]string{"tool": s.Tool, "go": s.Go} {
		if !imageForm.MatchString(image) {
			return fmt.Errorf("image %s: %.200q is not HOST/NAME@sha256:…: give it by digest, without a tag", flag, image)
		}
	}
	return nil
}
