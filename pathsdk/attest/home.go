package attest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Where InitHome puts things, below the home folder.
const (
	AttesterKey = "keys/attester.key"
	VerifierKey = "keys/verifier.key"
	TrustFile   = "trust.yaml"
)

const trustText = `# Whose signatures count on this machine, and how far. Written once; edit it to
# trust others: add an entry with the path of their public key.
apiVersion: pavedpaths.dev/v1
kind: TrustRoot
signers:
  # Signs evidence. A workstation supports SLSA Build L1 at most.
  - name: attester
    key: keys/attester.pub
    roles: [attester]
    maxTier: observed
    maxBuildLevel: 1
  # Signs verdicts.
  - name: verifier
    key: keys/verifier.pub
    roles: [verifier]
    maxTier: derived
    maxBuildLevel: 0
`

// InitHome makes sure that home holds a key pair for the attester, another one
// for the verifier, and a trust root that names both, and reports whether this
// call made any of them. Nothing that exists is changed, so it can be called
// again after a crash, and by several processes at once.
func InitHome(home string, passphrase Passphrase) (bool, error) {
	if home == "" {
		return false, step.Usagef("no home folder for keys: set PATHS_HOME")
	}
	made := false
	for _, key := range []string{AttesterKey, VerifierKey} {
		path := filepath.Join(home, filepath.FromSlash(key))
		name := filepath.Base(path)
		created, err := CreateKey(filepath.Dir(path), name[:len(name)-len(".key")], passphrase)
		if err != nil {
			return false, err
		}
		made = made || created
	}
	path := filepath.Join(home, TrustFile)
	if _, err := os.Lstat(path); err == nil {
		return made, nil
	}
	tmp, err := writeTemp(home, []byte(trustText), 0o644)
	if err != nil {
		return false, fmt.Errorf("write trust root: %w", err)
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return made, nil
		}
		return false, fmt.Errorf("write trust root: %w", err)
	}
	return true, nil
}
