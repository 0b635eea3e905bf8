//go:build e2e

package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
)

// TestTrustClocks: an authority whose clock is wrong signs with its own, trusted key.
// Nothing is logged or published with what it says, why is said, and once the clock is
// right the same command goes through.
func TestTrustClocks(t *testing.T) {
	w := newSigstoreWorld(t)
	for name, c := range map[string]struct {
		service string
		off     time.Duration
		want    string // in what is said; empty if nothing is wrong
	}{
		"the timestamp authority's is an hour behind":        {"tsa", -time.Hour, "says that it is"},
		"the timestamp authority's is an hour ahead":         {"tsa", time.Hour, "says that it is"},
		"the timestamp authority's is some seconds ahead":    {"tsa", 20 * time.Second, ""},
		"the certificate authority's is an hour behind":      {"fulcio", -time.Hour, "says that it is"},
		"the certificate authority's is an hour ahead":       {"fulcio", time.Hour, "says that it is"},
		"the certificate authority's is some seconds behind": {"fulcio", -20 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Join(w.home, "cache", "attest", "bundles")); err != nil {
				t.Fatal(err)
			}
			reg := regtest.New(t)
			to := reg.Repo("hello") + ":v1"
			right := os.Getenv("PATHS_SIGNING_CONFIG")
			asked := w.before(t, c.service, w.clock(t, c.service, c.off))
			w.token(t)
			logged := w.logged(t)
			r := w.ship(t, to)
			if asked.n.Load() == 0 {
				t.Fatalf("%s was not asked", c.service)
			}
			if c.want == "" {
				r.says(t, "ship", 0)
				runProcess(t, w.home, "verify", to).says(t, "verify", 0)
				return
			}
			r.says(t, "ship", 1, c.want, "fix: set the clock")
			if resp, err := http.Head("http://" + reg.Host + "/v2/hello/manifests/v1"); err != nil || resp.StatusCode != http.StatusNotFound {
				t.Errorf("it is published all the same: %v, %v", resp, err)
			}
			if now := w.logged(t); now != logged {
				t.Errorf("the log has %s entries, and had %s before", now, logged)
			}
			t.Setenv("PATHS_SIGNING_CONFIG", right)
			w.token(t)
			w.ship(t, to).says(t, "ship, once the clock is right", 0)
			runProcess(t, w.home, "verify", to).says(t, "verify", 0)
		})
	}
}

// logged is how many entries the log has.
func (w sigstoreWorld) logged(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.dir, "log", "checkpoint"))
	lines := strings.Split(string(raw), "\n")
	if err != nil || len(lines) < 3 {
		t.Fatalf("the log's checkpoint: %q, %v", raw, err)
	}
	return lines[1]
}

// clock lets a service answer as if its clock were off by so much: what it signed is
// signed again with its own key, at another time.
func (w sigstoreWorld) clock(t *testing.T, service string, off time.Duration) func(int64, http.ResponseWriter, func() *httptest.ResponseRecorder) {
	t.Helper()
	key, cert := w.authority(t, service)
	again := map[string]func([]byte) ([]byte, error){
		"tsa": func(answer []byte) ([]byte, error) {
			ts, err := timestamp.ParseResponse(answer)
			if err != nil {
				return nil, err
			}
			ts.Time, ts.AddTSACertificate = ts.Time.Add(off), true
			return ts.CreateResponseWithOpts(cert, key, crypto.SHA256)
		},
		"fulcio": func(answer []byte) ([]byte, error) {
			var got map[string]struct {
				Chain struct {
					Certificates []string `json:"certificates"`
				} `json:"chain"`
			}
			if err := json.Unmarshal(answer, &got); err != nil {
				return nil, err
			}
			for _, g := range got {
				block, _ := pem.Decode([]byte(g.Chain.Certificates[0]))
				leaf, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					return nil, err
				}
				leaf.NotBefore, leaf.NotAfter, leaf.ExtraExtensions = leaf.NotBefore.Add(off), leaf.NotAfter.Add(off), leaf.Extensions
				der, err := x509.CreateCertificate(rand.Reader, leaf, cert, leaf.PublicKey, key)
				if err != nil {
					return nil, err
				}
				g.Chain.Certificates[0] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
			}
			return json.Marshal(got)
		},
	}[service]
	return func(_ int64, out http.ResponseWriter, answer func() *httptest.ResponseRecorder) {
		rec := answer()
		if rec.Code >= 300 || strings.HasPrefix(rec.Header().Get("Content-Type"), "text/") {
			pass(out, rec)
			return
		}
		body, err := again(rec.Body.Bytes())
		if err != nil {
			t.Errorf("sign the answer of %s again: %v", service, err)
		}
		out.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		out.WriteHeader(rec.Code)
		_, _ = out.Write(body)
	}
}

// authority is the key with which a service signs, and its certificate.
func (w sigstoreWorld) authority(t *testing.T, service string) (crypto.Signer, *x509.Certificate) {
	t.Helper()
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(w.dir, "keys", name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			t.Fatalf("%s is no PEM", name)
		}
		return block.Bytes
	}
	key, err := x509.ParsePKCS8PrivateKey(read(service + ".key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(read(service + ".pem"))
	if err != nil {
		t.Fatal(err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		t.Fatalf("%s.key is a %T", service, key)
	}
	return signer, cert
}
