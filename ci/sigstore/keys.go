package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// makeKeys makes all keys and certificates, the first time. They appear together: a
// half-made set would be one that nobody trusts.
func makeKeys(c *config) error {
	if _, err := os.Stat(c.path("keys")); err == nil {
		return nil
	}
	dir := c.path("keys.new")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"issuer", "rekor"} {
		if _, err := newKey(dir, name); err != nil {
			return err
		}
	}
	for _, name := range []string{"fulcio", "tsa"} {
		if err := newAuthority(dir, name); err != nil {
			return err
		}
	}
	return os.Rename(dir, c.path("keys"))
}

func newKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// timestamping is what a timestamp authority's certificate must be for, and for
// nothing else: RFC 3161, section 2.3. Go's x509 does not mark it critical.
func timestamping() (pkix.Extension, error) {
	purposes, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: purposes}, err
}

// newAuthority makes a root, and below it the certificate that signs: an intermediate
// authority for Fulcio, a leaf for timestamps.
func newAuthority(dir, name string) error {
	now := time.Now().Add(-time.Hour)
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	root := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"paths test"}, CommonName: name + " root"},
		NotBefore: now, NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	key, err := newKey(dir, name)
	if err != nil {
		return err
	}
	cert := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"paths test"}, CommonName: name},
		NotBefore: now, NotAfter: now.AddDate(9, 0, 0), BasicConstraintsValid: true,
	}
	if name == "tsa" {
		purpose, err := timestamping()
		if err != nil {
			return err
		}
		cert.KeyUsage, cert.ExtraExtensions = x509.KeyUsageDigitalSignature, []pkix.Extension{purpose}
	} else {
		cert.IsCA, cert.MaxPathLenZero, cert.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	var chain []byte
	for _, c := range []struct {
		template *x509.Certificate
		public   crypto.PublicKey
	}{{cert, key.Public()}, {root, rootKey.Public()}} {
		der, err := x509.CreateCertificate(rand.Reader, c.template, root, c.public, rootKey)
		if err != nil {
			return err
		}
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return os.WriteFile(filepath.Join(dir, name+".pem"), chain, 0o644)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return n
}

func readKey(c *config, name string) (*ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(c.path("keys", name+".key"))
	if err != nil {
		return nil, fmt.Errorf("%w\n  fix: make sigstore", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New(name + ".key is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s.key is a %T", name, key)
	}
	return ec, nil
}

// readChain is the certificate that signs, and its root.
func readChain(c *config, name string) (cert, root *x509.Certificate, err error) {
	raw, err := os.ReadFile(c.path("keys", name+".pem"))
	if err != nil {
		return nil, nil, err
	}
	first, rest := pem.Decode(raw)
	second, _ := pem.Decode(rest)
	if first == nil || second == nil {
		return nil, nil, errors.New(name + ".pem has no two certificates")
	}
	if cert, err = x509.ParseCertificate(first.Bytes); err != nil {
		return nil, nil, err
	}
	root, err = x509.ParseCertificate(second.Bytes)
	return cert, root, err
}
