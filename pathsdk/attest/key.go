package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	maxKeyFile   = 64 << 10
	keySuffix    = ".key"
	publicSuffix = ".pub"
	// tempPattern names files before they get their name.
	tempPattern = ".new-*"
	pemPlain    = "PRIVATE KEY"
	pemPublic   = "PUBLIC KEY"
	// pemSealed and pemSealedOld are the PEM types of encrypted keys that cosign
	// writes and reads.
	pemSealed    = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemSealedOld = "ENCRYPTED COSIGN PRIVATE KEY"
)

// Passphrase returns the passphrase of a key. It is called only when a key is,
// or shall be, encrypted. A passphrase never comes from an argument.
type Passphrase func() ([]byte, error)

// PassphraseFile reads the passphrase from the first line of a file that only
// its owner can read.
func PassphraseFile(path string) Passphrase {
	return func() ([]byte, error) {
		b, err := readPrivate(path)
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
			return nil, fmt.Errorf("passphrase: the first line of %s is empty", path)
		}
		return line, nil
	}
}

// CreateKey makes sure that dir holds the ECDSA P-256 key pair name.key (mode
// 0600) and name.pub, and reports whether this call made it. An existing key is
// never replaced: of two processes that call it at once one makes the key, and
// both then see the same. Without passphrase (nil) the key is PKCS #8 in PEM;
// with one it is encrypted in the form that cosign reads.
func CreateKey(dir, name string, passphrase Passphrase) (bool, error) {
	if name == "" || filepath.Base(name) != name || name[0] == '.' {
		return false, step.Usagef("key name %q: want a plain file name", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("create folder for keys: %w", err)
	}
	keyPath, pubPath := filepath.Join(dir, name+keySuffix), filepath.Join(dir, name+publicSuffix)
	if _, err := os.Lstat(keyPath); err == nil {
		return false, completePair(keyPath, pubPath, passphrase)
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false, fmt.Errorf("generate key: %w", err)
	}
	text, err := encodeKey(priv, passphrase)
	if err != nil {
		return false, err
	}
	removeStale(dir)
	// The key appears under its name in one step, whole: a link fails if the name
	// is taken, where a rename would replace what is there.
	tmp, err := writeTemp(dir, text, 0o600)
	if err != nil {
		return false, fmt.Errorf("write key: %w", err)
	}
	defer os.Remove(tmp)
	switch err := os.Link(tmp, keyPath); {
	case errors.Is(err, fs.ErrExist):
		return false, completePair(keyPath, pubPath, passphrase)
	case err != nil:
		return false, fmt.Errorf("write key: %w", err)
	}
	return true, writePublic(pubPath, &priv.PublicKey)
}

// completePair writes the public key if it is missing: the process that made
// the key may have died before, or be just about to.
func completePair(keyPath, pubPath string, passphrase Passphrase) error {
	if _, err := os.Lstat(pubPath); err == nil {
		return nil
	}
	pair, err := loadFile(keyPath, passphrase)
	if err != nil {
		return fmt.Errorf("%s is missing, and can't be made again: key %s: %w", pubPath, keyPath, err)
	}
	return writePublic(pubPath, pair.public)
}

func writePublic(path string, pub crypto.PublicKey) error {
	text, err := publicPEM(pub)
	if err != nil {
		return err
	}
	tmp, err := writeTemp(filepath.Dir(path), text, 0o644)
	if err != nil {
		return fmt.Errorf("write public key: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write public key: %w", err)
	}
	return nil
}

func encodeKey(priv *ecdsa.PrivateKey, passphrase Passphrase) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	if passphrase == nil {
		return pem.EncodeToMemory(&pem.Block{Type: pemPlain, Bytes: der}), nil
	}
	secret, err := passphrase()
	if err != nil {
		return nil, err
	}
	if len(secret) == 0 {
		return nil, step.Usagef("the passphrase for the key is empty: give one, or none at all")
	}
	sealed, err := encrypted.Encrypt(der, secret)
	if err != nil {
		return nil, fmt.Errorf("encrypt key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSealed, Bytes: sealed}), nil
}

// LoadSigner reads a private key that CreateKey or cosign made, from a file that only
// its owner can read; passphrase may be nil if it is not encrypted. Or it asks the KMS
// that a URI names, such as hashivault://NAME: then the private key stays there.
func LoadSigner(ctx context.Context, key string, passphrase Passphrase) (*Signer, error) {
	var pair keypair
	var err error
	if inKMS(key) {
		pair, err = loadKMS(ctx, key)
	} else {
		pair, err = loadFile(key, passphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	return &Signer{pair: pair, id: pair.hint}, nil
}

func loadFile(path string, passphrase Passphrase) (keypair, error) {
	b, err := readPrivate(path)
	if err != nil {
		return keypair{}, err
	}
	der, err := decodeKey(path, b, passphrase)
	if err != nil {
		return keypair{}, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return keypair{}, fmt.Errorf("not PKCS #8: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return keypair{}, fmt.Errorf("%w\n  fix: make one with: pathctl key init", errNotP256)
	}
	return inProcess(key)
}

func decodeKey(path string, b []byte, passphrase Passphrase) ([]byte, error) {
	block, rest := pem.Decode(b)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not one PEM block")
	}
	switch block.Type {
	case pemPlain:
		return block.Bytes, nil
	case pemSealed, pemSealedOld:
		if passphrase == nil {
			return nil, step.Usagef("it is encrypted: give the file with its passphrase")
		}
		secret, err := passphrase()
		if err != nil {
			return nil, err
		}
		der, err := encrypted.Decrypt(block.Bytes, secret)
		if err != nil {
			return nil, step.Usagef("the passphrase does not fit: %w", err)
		}
		return der, nil
	}
	return nil, fmt.Errorf("PEM type %.60q is not supported", block.Type)
}

// readPrivate reads a small regular file that only its owner can read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if perm := fi.Mode().Perm(); perm&0o077 != 0 {
		return nil, step.Usagef("%s can be read by others (mode %04o)\n  fix: chmod 600 %s", path, perm, path)
	}
	return readLimited(f, path, maxKeyFile)
}

func readLimited(r io.Reader, path string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, path, limit)
}

// removeStale removes what processes left behind that died while they wrote a
// key. Younger files may belong to a process that still writes.
func removeStale(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, tempPattern)) // the pattern is valid
	for _, path := range left {
		if fi, err := os.Lstat(path); err == nil && time.Since(fi.ModTime()) > time.Hour {
			os.Remove(path)
		}
	}
}

// writeTemp writes a new file with a random name and makes it durable.
func writeTemp(dir string, content []byte, perm fs.FileMode) (string, error) {
	f, err := os.CreateTemp(dir, tempPattern) // made with 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
