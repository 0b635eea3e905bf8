package attest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestKMSRefuses are the failures that need no server; make e2e-vault has the others.
func TestKMSRefuses(t *testing.T) {
	for _, name := range []string{"VAULT_TOKEN", "BAO_TOKEN", "VAULT_ADDR", "BAO_ADDR"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hvs.secret")
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "nowhere.json")
	for name, tt := range map[string]struct {
		key, addr, token string
		usage            bool
		want             []string
	}{
		"unknown scheme": {"gpg://orders", "", "", true, []string{"gpg://orders", "no KMS", "hashivault://NAME"}},
		"no name":        {"hashivault://", "http://127.0.0.1:1", "x", true, []string{"hashivault://<key>"}},
		"a folder":       {"hashivault://a/b", "http://127.0.0.1:1", "x", true, []string{"hashivault://<key>"}},
		"no address":     {"hashivault://orders", "", "x", false, []string{"hashivault://orders", "VAULT_ADDR", "fix: set VAULT_ADDR"}},
		"no token":       {"hashivault://orders", "http://127.0.0.1:1", "", false, []string{"no token for Vault", "fix: log in"}},
		"nobody there":   {"hashivault://orders", "http://127.0.0.1:1", "hvs.secret", false, []string{"does not answer", "connection refused", "fix: start Vault"}},
		"no AWS key":     {"awskms://orders", "", "", true, []string{"awskms://orders", "fix: give awskms:///ARN"}},
		"no GCP key":     {"gcpkms://orders", "", "", true, []string{"gcpkms://orders", "fix: give gcpkms://projects/"}},
		"no Azure key":   {"azurekms://orders", "", "", true, []string{"azurekms://orders", "fix: give azurekms://"}},
		"no AWS there":   {"awskms://127.0.0.1:1/alias/orders", "", "", false, []string{"connection refused", "fix: log in (AWS_PROFILE"}},
		"nobody at GCP":  {"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "", "", false, []string{"nowhere.json", "fix: log in (gcloud"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VAULT_ADDR", tt.addr)
			t.Setenv("VAULT_TOKEN", tt.token)
			_, err := attest.LoadSigner(t.Context(), tt.key, nil)
			if err == nil || errors.Is(err, step.ErrUsage) != tt.usage {
				t.Fatalf("got %v, want an error, of usage: %v", err, tt.usage)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "hvs.secret") {
				t.Errorf("the token is in: %v", err)
			}
		})
	}
}

// TestKMSSilent: the library waits for as long as it takes; whoever asked does not.
func TestKMSSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("VAULT_ADDR", "http://"+l.Addr().String())
	t.Setenv("VAULT_TOKEN", "x")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := attest.LoadSigner(ctx, "hashivault://orders", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestTrustWithoutKMS: whose signature counts is said by a file, not by a server.
func TestTrustWithoutKMS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trust.yaml")
	text := "apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n- {name: a, key: \"hashivault://orders\", roles: [attester], maxTier: observed, maxBuildLevel: 1}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.LoadTrust(file); !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), "pathctl key export hashivault://orders") {
		t.Errorf("got %v", err)
	}
}
