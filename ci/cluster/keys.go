package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The identities of the cluster's parts, by the name of their kubeconfig.
var users = map[string]pkix.Name{
	"admin":      {CommonName: "admin", Organization: []string{"system:masters"}},
	"controller": {CommonName: "system:kube-controller-manager"},
	"scheduler":  {CommonName: "system:kube-scheduler"},
	"proxy":      {CommonName: "system:kube-proxy"},
	"policies":   {CommonName: "kube-network-policies", Organization: []string{"system:masters"}}, // no group that Kubernetes knows may just read
	"node":       {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
}

// makeKeys makes all keys, certificates and kubeconfigs, the first time. They appear
// together, and stay when the cluster goes: who trusted its issuer trusts the next one.
func makeKeys(c *config) error {
	if complete(c) {
		return nil
	}
	dir := c.path("keys.new")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	a, err := newAuthority(dir)
	if err != nil {
		return err
	}
	if err := a.issueTo("api", pkix.Name{CommonName: "kube-apiserver"},
		"127.0.0.1", serviceIP, nodeIP, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"); err != nil {
		return err
	}
	if err := a.issueTo("kubelet", pkix.Name{CommonName: nodeName}, "127.0.0.1", nodeIP, nodeName); err != nil {
		return err
	}
	if err := a.issueTo("kubelet-client", pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}}); err != nil {
		return err
	}
	for user, name := range users {
		cert, key, err := a.issue(name)
		if err != nil {
			return err
		}
		server := "https://" + apiAddr
		if user == "admin" {
			server = "https://" + c.loopback("api") // for people and tests, on the host
		}
		if err := os.WriteFile(filepath.Join(dir, user+".kubeconfig"), kubeconfig(server, a.pem, cert, key), 0o600); err != nil {
			return err
		}
	}
	tokens, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	raw, err := keyPEM(tokens)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "tokens.key"), raw, 0o600); err != nil {
		return err
	}
	if err := os.RemoveAll(c.keys()); err != nil {
		return err
	}
	return os.Rename(dir, c.keys())
}

// complete reports whether there are keys for all users: those of an older version of this
// program may lack some.
func complete(c *config) bool {
	for user := range users {
		if _, err := os.Stat(c.kubeconfig(user)); err != nil {
			return false
		}
	}
	return true
}

// authority signs the cluster's certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := certificate(pkix.Name{CommonName: "paths-cluster"})
	cert.IsCA, cert.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	// As parsed it has the key's identifier, which what it signs refers to.
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a := &authority{dir: dir, cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	return a, os.WriteFile(filepath.Join(dir, "ca.crt"), a.pem, 0o644)
}

// issue makes a key and its certificate, for a client, and a server at the addresses
// or names.
func (a *authority) issue(name pkix.Name, at ...string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := certificate(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range at {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key, err
}

func (a *authority) issueTo(file string, name pkix.Name, at ...string) error {
	cert, key, err := a.issue(name, at...)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.dir, file+".crt"), cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, file+".key"), key, 0o600)
}

func certificate(name pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	now := time.Now().Add(-time.Hour)
	return &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: now, NotAfter: now.AddDate(10, 0, 0), BasicConstraintsValid: true}
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// kubeconfig is one without references to other files, so that it may be copied.
func kubeconfig(server string, ca, cert, key []byte) []byte {
	b64 := base64.StdEncoding.EncodeToString
	return []byte(strings.TrimLeft(fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: paths, cluster: {server: "%s", certificate-authority-data: %s}}]
users: [{name: paths, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: paths, context: {cluster: paths, user: paths}}]
current-context: paths
`, server, b64(ca), b64(cert), b64(key)), "\n"))
}
