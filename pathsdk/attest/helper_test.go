package attest_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const helperHome = "ATTEST_TEST_HOME"

// TestMain lets tests start this binary again as another process that makes
// keys.
func TestMain(m *testing.M) {
	if home := os.Getenv(helperHome); home != "" {
		made, err := attest.InitHome(home, nil, nil)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		s, err := attest.LoadSigner(context.Background(), filepath.Join(home, attest.AttesterKey), nil)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(made, s.ID())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var created = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// home makes a home folder, and returns the attester, the verifier and the
// trust root.
func home(t testing.TB) (attester, verifier *attest.Signer, trust *attest.Trust) {
	t.Helper()
	dir := t.TempDir()
	if _, err := attest.InitHome(dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	trust, err := attest.LoadTrust(filepath.Join(dir, attest.TrustFile))
	if err != nil {
		t.Fatal(err)
	}
	return load(t, filepath.Join(dir, attest.AttesterKey)), load(t, filepath.Join(dir, attest.VerifierKey)), trust
}

func load(t testing.TB, path string) *attest.Signer {
	t.Helper()
	s, err := attest.LoadSigner(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stranger(t testing.TB) *attest.Signer {
	t.Helper()
	dir := t.TempDir()
	if _, err := attest.CreateKey(dir, "stranger", nil); err != nil {
		t.Fatal(err)
	}
	return load(t, filepath.Join(dir, "stranger.key"))
}

func publicPEM(t testing.TB, s *attest.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// statement makes a statement of a small but valid predicate.
func statement(t testing.TB, typ evidence.Type, d step.Digest, tier evidence.Tier) []byte {
	t.Helper()
	predicates := map[string]string{
		evidence.Signature.URI:  `{}`,
		evidence.TestResult.URI: `{"result":"PASSED","configuration":[{"name":"go test","uri":"https://go.dev/cmd/go"}]}`,
		evidence.SCAI.URI:       `{"attributes":[{"attribute":"NO_SECRETS_FOUND"}]}`,
		evidence.Vulns.URI: `{"scanner":{"uri":"pkg:golang/example.com/x","db":{"lastUpdate":"2026-01-31T12:00:00Z"},"result":[]},
			"metadata":{"scanStartedOn":"2026-01-31T12:00:00Z","scanFinishedOn":"2026-01-31T12:00:01Z"}}`,
		evidence.Provenance.URI: `{"buildDefinition":{"buildType":"https://example.com/b","externalParameters":{"a":1}},"runDetails":{"builder":{"id":"https://example.com/c"}}}`,
	}
	b, err := evidence.New(typ, json.RawMessage(predicates[typ.URI]), step.Subject{Name: "app", Digest: d}, tier)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func signed(t testing.TB, s *attest.Signer, st []byte) []byte {
	t.Helper()
	b, err := attest.Sign(t.Context(), s, st)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const sourceDigest = step.Digest("sha256:1111111111111111111111111111111111111111111111111111111111111111")

// place is a fresh store of one kind, with a random image in it.
type place struct {
	locator oci.Locator
	store   oci.Writer
	image   oci.Image
	// served is HOST/REPO of a registry that serves the same content.
	served string
}

// places are the kinds of stores that evidence lives in.
func places() []string {
	return []string{"layout", "registry with referrers", "registry with fallback tags"}
}

func newPlace(t testing.TB, kind string) place {
	t.Helper()
	var p place
	var err error
	if kind == "layout" {
		dir := filepath.Join(t.TempDir(), "store")
		p.locator = oci.Locator{Dir: dir}
		if p.store, err = oci.Open(t.Context(), p.locator, oci.WithCreate()); err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(oci.Handler(dir))
		t.Cleanup(s.Close)
		p.served = strings.TrimPrefix(s.URL, "http://") + "/team/app"
	} else {
		s := httptest.NewServer(registry.New(
			registry.WithReferrersSupport(kind == "registry with referrers"), registry.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(s.Close)
		p.served = strings.TrimPrefix(s.URL, "http://") + "/team/app"
		p.locator = oci.Locator{Repository: p.served}
		if p.store, err = oci.Open(t.Context(), p.locator); err != nil {
			t.Fatal(err)
		}
	}
	img, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := oci.PutImage(t.Context(), p.store, img, "v1")
	if err != nil {
		t.Fatal(err)
	}
	p.image = oci.Image{Digest: oci.Digest(desc), Descriptor: desc, Platform: "linux/amd64"}
	return p
}

func (p place) attach(t testing.TB, bundle []byte, predicateType string) step.Digest {
	t.Helper()
	d, err := attest.Attach(t.Context(), p.store, p.image.Descriptor, bundle, predicateType, created)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
