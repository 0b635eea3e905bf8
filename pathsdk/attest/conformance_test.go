//go:build conformance

package attest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/pavedpaths/paths/pathsdk/attest"
)

// TestSigstoreConformance runs the verification cases of sigstore-conformance.
// This trust root holds keys only, and Verify reads statements only, so that
// every case is refused; what counts is why. A case that must fail may fail for
// any reason, but a good one only because we don't know its signer or because
// it signs a message.
func TestSigstoreConformance(t *testing.T) {
	data := os.Getenv("PATHS_TESTDATA")
	if data == "" {
		t.Fatal("PATHS_TESTDATA is not set\n  fix: set it to the folder that holds sigstore-conformance, the verification cases of github.com/sigstore/sigstore-conformance (test/assets/bundle-verify)")
	}
	bundles, err := filepath.Glob(filepath.Join(data, "sigstore-conformance", "*", "bundle.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(bundles) < 30 {
		t.Fatalf("found %d cases in PATHS_TESTDATA/sigstore-conformance, want at least 30", len(bundles))
	}
	_, _, trust := home(t)
	counts := map[string]int{}
	for _, path := range bundles {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// Cases with a managed key are tried with that key, too.
			trusts := []*attest.Trust{trust}
			if pub, err := os.ReadFile(filepath.Join(dir, "key.pub")); err == nil {
				managed, err := attest.ParseTrust([]byte(oneSigner), func(string) ([]byte, error) { return pub, nil })
				if err != nil {
					t.Fatal(err)
				}
				trusts = append(trusts, managed)
			}
			for _, trust := range trusts {
				_, err := attest.Verify(trust, b)
				if err == nil {
					t.Fatal("accepted")
				}
				if strings.HasSuffix(dir, "_fail") {
					counts["fail"]++
					continue
				}
				if !errors.Is(err, attest.ErrUnknownSigner) && !strings.Contains(err.Error(), "signs a message") {
					t.Errorf("a good bundle is refused for a wrong reason: %v", err)
				}
				counts["good"]++
			}
		})
	}
	if counts["fail"] == 0 || counts["good"] == 0 {
		t.Errorf("cases: %v", counts)
	}
}

// TestManagedKey shows that the library which Verify rests on accepts the
// conformance case that is signed with a plain key.
func TestManagedKey(t *testing.T) {
	data := os.Getenv("PATHS_TESTDATA")
	if data == "" {
		t.Fatal("PATHS_TESTDATA is not set\n  fix: set it to the folder that holds sigstore-conformance")
	}
	dir := filepath.Join(data, "sigstore-conformance", "managed-key-happy-path")
	b, err := bundle.LoadJSONFromPath(filepath.Join(dir, "bundle.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	sv, err := signature.LoadDefaultVerifier(pub)
	if err != nil {
		t.Fatal(err)
	}
	material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(sv, time.Time{}, time.Time{}), nil
	})
	sev, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps())
	if err != nil {
		t.Fatal(err)
	}
	digest := b.GetMessageSignature().GetMessageDigest().GetDigest()
	if _, err := sev.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), verify.WithKey())); err != nil {
		t.Error(err)
	}
}
