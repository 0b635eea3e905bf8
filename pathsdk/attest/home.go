package attest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
// call made any of them. Of a signer in have, by AttesterKey or VerifierKey, only
// the public key is written: its private key is elsewhere. Nothing that exists is
// changed, so it can be called again after a crash, and by several processes at once.
func InitHome(home string, passphrase Passphrase, have map[string]*Signer) (bool, error) {
	if home == "" {
		return false, step.Usagef("no home folder for keys: set PATHS_HOME")
	}
	made := false
	for _, key := range []string{AttesterKey, VerifierKey} {
		path := filepath.Join(home, filepath.FromSlash(key))
		var created bool
		var err error
		if s := have[key]; s != nil {
			created, err = keepPublic(PublicFile(path), s)
		} else {
			created, err = CreateKey(filepath.Dir(path), strings.TrimSuffix(filepath.Base(path), keySuffix), passphrase)
		}
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

// PublicFile is where the public half of a key in a file is.
func PublicFile(key string) string { return strings.TrimSuffix(key, keySuffix) + publicSuffix }

// keepPublic writes a signer's public key, unless it is there.
func keepPublic(path string, s *Signer) (bool, error) {
	text, err := s.PublicPEM()
	if err != nil {
		return false, err
	}
	switch there, err := readFile(path, maxKeyFile); {
	case err == nil && bytes.Equal(there, text):
		return false, nil
	case err == nil:
		return false, step.Usagef("%s is another public key: this one was rotated, or is new here\n  fix: keep the file for what it has signed, pathctl key export KEY --out another one, and add that to %s", path, TrustFile)
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("create folder for keys: %w", err)
	}
	return true, writePublic(path, s.Public())
}
