package tekton_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/policy"
)

// documented is the one block of YAML in the README that has a text in it.
func documented(t *testing.T, text string) string {
	t.Helper()
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, rest := range strings.Split(string(raw), "```yaml\n")[1:] {
		if block, _, ok := strings.Cut(rest, "```"); ok && strings.Contains(block, text) {
			found = append(found, block)
		}
	}
	if len(found) != 1 {
		t.Fatalf("README.md has %d blocks with %q", len(found), text)
	}
	return found[0]
}

// chainsConfig are the settings of Tekton Chains that the README asks for.
func chainsConfig(t *testing.T) map[string]string {
	t.Helper()
	var config map[string]string
	if err := yaml.UnmarshalStrict([]byte(documented(t, "artifacts.pipelinerun.format")), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// keyPair is a key as Tekton Chains reads it, and its public half.
func keyPair(t *testing.T) (private, public []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	known, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: known})
}

// TestChainsDocumented: the settings and the trust that the README asks for are those
// that the fixes in the code name, and are accepted.
func TestChainsDocumented(t *testing.T) {
	if c := chainsConfig(t); c["artifacts.pipelinerun.format"] != "slsa/v2alpha4" || c["artifacts.pipelinerun.storage"] != "oci" {
		t.Errorf("settings: %v", c)
	}
	trust, err := attest.ParseTrust(fmt.Appendf(nil, "apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n%s", documented(t, "roles: [platform]")), func(string) ([]byte, error) {
		_, public := keyPair(t)
		return public, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := trust.Signers(); len(s) != 1 || s[0].MaxBuildLevel != 2 || !s[0].Has(attest.RolePlatform) {
		t.Errorf("trust: %+v", s)
	}
}

// TestChainsPolicy runs the cases beside the policy for what Tekton Chains signs.
func TestChainsPolicy(t *testing.T) {
	p, err := policy.Load("chains/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	results, err := policy.Test(p, "chains/policy_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 {
		t.Fatal("there is no case")
	}
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			for _, problem := range r.Problems {
				t.Error(problem)
			}
			if t.Failed() {
				f, _ := json.MarshalIndent(r.Verdict.Findings, "", "  ")
				t.Logf("%s", f)
			}
		})
	}
}
