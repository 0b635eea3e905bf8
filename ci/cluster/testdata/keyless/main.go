// Keyless asks a Fulcio for a certificate with the token of the pod that it runs in, and
// writes whom the certificate names: keyless FULCIO TOKENFILE RESULTFILE.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "keyless:", err)
		os.Exit(1)
	}
}

func run(fulcio, tokenFile, resultFile string) error {
	raw, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(raw))
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("this is no token")
	}
	if raw, err = base64.RawURLEncoding.DecodeString(parts[1]); err != nil {
		return err
	}
	var claims struct{ Sub string }
	if err := json.Unmarshal(raw, &claims); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(claims.Sub))
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	body, err := json.Marshal(map[string]any{
		"credentials": map[string]string{"oidcIdentityToken": token},
		"publicKeyRequest": map[string]any{
			"publicKey": map[string]string{"algorithm": "ECDSA", "content": string(public)}, "proofOfPossession": proof,
		},
	})
	if err != nil {
		return err
	}
	resp, err := http.Post(fulcio+"/api/v2/signingCert", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if raw, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", resp.Status, raw)
	}
	type answer struct {
		Chain struct{ Certificates []string }
	}
	var a struct {
		Embedded answer `json:"signedCertificateEmbeddedSct"`
		Detached answer `json:"signedCertificateDetachedSct"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return err
	}
	chain := append(a.Embedded.Chain.Certificates, a.Detached.Chain.Certificates...)
	if len(chain) == 0 {
		return errors.New("there is no certificate in the answer")
	}
	block, _ := pem.Decode([]byte(chain[0]))
	if block == nil {
		return errors.New("the certificate is no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if len(cert.URIs) != 1 {
		return fmt.Errorf("the certificate names %v", cert.URIs)
	}
	return os.WriteFile(resultFile, []byte(cert.URIs[0].String()), 0o644)
}
