package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// writeTUF writes the TUF repository through which a Sigstore hands out its trusted
// root, for verifiers that take it from nowhere else: a folder to be served over HTTP,
// with root.json as the anchor. Nothing is ever added to it, so its key is thrown away.
func writeTUF(c *config) error {
	dir := c.path("tuf")
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	trusted, err := os.ReadFile(c.path("trusted_root.json"))
	if err != nil {
		return err
	}
	noLog, err := nobodysKey()
	if err != nil {
		return err
	}
	ends := time.Now().AddDate(10, 0, 0).UTC()
	targets := metadata.Targets(ends)
	for name, content := range map[string][]byte{
		"trusted_root.json": trusted,
		// Kyverno wants the key of a certificate log even where it asks none.
		"ctfe.pub": noLog,
	} {
		info, err := metadata.TargetFile().FromBytes(name, content, "sha256")
		if err != nil {
			return err
		}
		targets.Signed.Targets[name] = info
		sum := sha256.Sum256(content)
		if err := write(filepath.Join(tmp, "targets", hex.EncodeToString(sum[:])+"."+name), content, 0o644); err != nil {
			return err
		}
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := signature.LoadSigner(key, crypto.Hash(0))
	if err != nil {
		return err
	}
	tufKey, err := metadata.KeyFromPublicKey(pub)
	if err != nil {
		return err
	}
	root := metadata.Root(ends)
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		if err := root.Signed.AddKey(tufKey, role); err != nil {
			return err
		}
	}
	for _, err := range []error{
		writeMetadata(root, signer, tmp, "1.root.json", "root.json"),
		writeMetadata(targets, signer, tmp, "1.targets.json"),
		writeMetadata(metadata.Snapshot(ends), signer, tmp, "1.snapshot.json"),
		writeMetadata(metadata.Timestamp(ends), signer, tmp, "timestamp.json"),
	} {
		if err != nil {
			return err
		}
	}
	return os.Rename(tmp, dir)
}

func writeMetadata[T metadata.Roles](m *metadata.Metadata[T], signer signature.Signer, dir string, names ...string) error {
	if _, err := m.Sign(signer); err != nil {
		return err
	}
	for _, name := range names {
		if err := m.ToFile(filepath.Join(dir, name), false); err != nil {
			return err
		}
	}
	return nil
}

// nobodysKey is a public key whose other half nobody has.
func nobodysKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
