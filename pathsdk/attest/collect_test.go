package attest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func TestCollect(t *testing.T) {
	for _, kind := range places() {
		t.Run(kind, func(t *testing.T) {
			attester, verifier, trust := home(t)
			p := newPlace(t, kind)
			other := strings.Repeat("3", 64)
			type outcome struct {
				Type, Signer, Err string
				Foreign           bool
			}
			want := map[step.Digest]outcome{}

			st := statement(t, evidence.Vulns, p.image.Digest, evidence.Derived)
			want[p.attach(t, signed(t, attester, st), evidence.Vulns.URI)] = outcome{Type: evidence.Vulns.URI, Signer: "attester"}
			b, err := attest.SignImage(t.Context(), attester, step.Subject{Name: "app", Digest: p.image.Digest})
			if err != nil {
				t.Fatal(err)
			}
			want[p.attach(t, b, evidence.Signature.URI)] = outcome{Type: evidence.Signature.URI, Signer: "attester"}
			// A test result is about the source, and hangs on the image.
			st = statement(t, evidence.TestResult, sourceDigest, evidence.Reported)
			want[p.attach(t, signed(t, attester, st), evidence.TestResult.URI)] = outcome{Type: evidence.TestResult.URI, Signer: "attester"}
			st = statement(t, evidence.SCAI, p.image.Digest, evidence.Derived)
			want[p.attach(t, signed(t, verifier, st), evidence.SCAI.URI)] = outcome{Type: evidence.SCAI.URI, Signer: "verifier"}

			// What others may have pushed.
			st = statement(t, evidence.Vulns, p.image.Digest, evidence.Derived)
			want[p.attach(t, signed(t, stranger(t), st), evidence.Vulns.URI)] = outcome{Type: evidence.Vulns.URI, Err: "not in the trust root", Foreign: true}
			st = statement(t, evidence.Vulns, step.Digest("sha256:"+other), evidence.Derived)
			want[p.attach(t, signed(t, attester, st), evidence.Vulns.URI)] = outcome{Type: evidence.Vulns.URI, Err: "it hangs on"}
			want[p.attach(t, []byte("garbage"), evidence.Vulns.URI)] = outcome{Err: "bundle"}
			d, err := oci.Attach(t.Context(), p.store, p.image.Descriptor, oci.Artifact{ArtifactType: "application/vnd.example.notes", Payload: []byte("hello")})
			if err != nil {
				t.Fatal(err)
			}
			want[d] = outcome{Err: "not a Sigstore bundle", Foreign: true}
			d, err = oci.Attach(t.Context(), p.store, p.image.Descriptor, oci.Artifact{ArtifactType: attest.BundleType, MediaType: "text/plain", Payload: []byte("x")})
			if err != nil {
				t.Fatal(err)
			}
			want[d] = outcome{Err: "want one of type"}
			if err := oci.Settle(t.Context(), p.store); err != nil {
				t.Fatal(err)
			}

			// Another process reads.
			store, err := oci.Open(t.Context(), p.locator)
			if err != nil {
				t.Fatal(err)
			}
			found, err := attest.Collect(t.Context(), store, []oci.Image{p.image}, trust)
			if err != nil {
				t.Fatal(err)
			}
			got := map[step.Digest]outcome{}
			for _, f := range found {
				o := outcome{Type: f.PredicateType, Foreign: f.Foreign()}
				if f.Image != p.image.Digest {
					t.Errorf("%s hangs on %s", f.Digest, f.Image)
				}
				if (f.Verified == nil) == (f.Err == nil) {
					t.Errorf("%s: both or none of result and error", f.Digest)
				}
				if f.Err != nil {
					if w := want[f.Digest].Err; w != "" && strings.Contains(f.Err.Error(), w) {
						o.Err = w
					} else {
						o.Err = f.Err.Error()
					}
				} else {
					o.Signer = f.Verified.Signer.Name
				}
				got[f.Digest] = o
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAttachIsIdempotent attaches the same twice.
func TestAttachIsIdempotent(t *testing.T) {
	attester, _, trust := home(t)
	p := newPlace(t, "layout")
	b := signed(t, attester, statement(t, evidence.SCAI, p.image.Digest, evidence.Derived))
	if p.attach(t, b, evidence.SCAI.URI) != p.attach(t, b, evidence.SCAI.URI) {
		t.Error("two referrers")
	}
	found, err := attest.Collect(t.Context(), p.store, []oci.Image{p.image}, trust)
	if err != nil || len(found) != 1 {
		t.Errorf("found %d, %v", len(found), err)
	}
	m, err := p.store.Manifest(t.Context(), found[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		ArtifactType string            `json:"artifactType"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(m.Bytes, &manifest); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"org.opencontainers.image.created":  "2026-01-31T12:00:00Z",
		"dev.sigstore.bundle.content":       "dsse-envelope",
		"dev.sigstore.bundle.predicateType": evidence.SCAI.URI,
	}
	if diff := cmp.Diff(want, manifest.Annotations); diff != "" || manifest.ArtifactType != attest.BundleType {
		t.Errorf("%s\n%s", manifest.ArtifactType, diff)
	}
}

// brokenStore fails in one way.
type brokenStore struct {
	oci.Store
	referrers error
	manifest  error
	garbage   bool // in the place of a manifest
	blob      error
	other     step.Digest // listed among the referrers
}

func (b brokenStore) Referrers(ctx context.Context, d step.Digest) ([]v1.Descriptor, error) {
	if b.referrers != nil {
		return nil, b.referrers
	}
	ds, err := b.Store.Referrers(ctx, d)
	if b.other != "" {
		ds = append(ds, v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: b.other.Hex()}})
	}
	return ds, err
}

func (b brokenStore) Manifest(ctx context.Context, d step.Digest) (oci.Manifest, error) {
	if b.manifest != nil {
		return oci.Manifest{}, b.manifest
	}
	m, err := b.Store.Manifest(ctx, d)
	if b.garbage {
		m.Bytes = []byte("x")
	}
	return m, err
}

func (b brokenStore) Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if b.blob != nil {
		return nil, b.blob
	}
	return b.Store.Blob(ctx, d)
}

func TestCollectFromBrokenStores(t *testing.T) {
	attester, _, trust := home(t)
	p := newPlace(t, "layout")
	p.attach(t, signed(t, attester, statement(t, evidence.SCAI, p.image.Digest, evidence.Derived)), evidence.SCAI.URI)
	images := []oci.Image{p.image}

	if _, err := attest.Collect(t.Context(), brokenStore{Store: p.store, referrers: io.ErrUnexpectedEOF}, images, trust); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a list that can't be read: %v", err)
	}
	for name, store := range map[string]brokenStore{
		"manifest": {Store: p.store, manifest: io.ErrUnexpectedEOF}, "garbage": {Store: p.store, garbage: true}, "bundle": {Store: p.store, blob: io.ErrUnexpectedEOF},
	} {
		found, err := attest.Collect(t.Context(), store, images, trust)
		if err != nil || len(found) != 1 || attest.CodeOf(found[0].Err) != attest.RefusedUnreadable || found[0].Foreign() || (name != "garbage" && !errors.Is(found[0].Err, io.ErrUnexpectedEOF)) {
			t.Errorf("a %s that can't be read: %+v, %v", name, found, err)
		}
	}
	// A registry lists the image's own manifest, and one that is not there.
	for _, d := range []step.Digest{p.image.Digest, sourceDigest} {
		found, err := attest.Collect(t.Context(), brokenStore{Store: p.store, other: d}, images, trust)
		if err != nil || len(found) != 2 || found[0].Err != nil || found[1].Err == nil {
			t.Errorf("%s in the list: %+v, %v", d, found, err)
		}
	}
	// It lists what hangs on another image. A test result is about neither.
	img, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := oci.PutImage(t.Context(), p.store, img, "v2")
	if err != nil {
		t.Fatal(err)
	}
	d := p.attach(t, signed(t, attester, statement(t, evidence.TestResult, sourceDigest, evidence.Reported)), evidence.TestResult.URI)
	found, err := attest.Collect(t.Context(), brokenStore{Store: p.store, other: d}, []oci.Image{{Digest: oci.Digest(desc), Descriptor: desc}}, trust)
	if err != nil || len(found) != 1 || attest.CodeOf(found[0].Err) != attest.RefusedSubject {
		t.Errorf("another image's referrer: %+v, %v", found, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := attest.Collect(ctx, p.store, images, trust); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// countingStore counts how often blobs are read.
type countingStore struct {
	oci.Store
	blobs atomic.Int32
}

func (c *countingStore) Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	c.blobs.Add(1)
	return c.Store.Blob(ctx, d)
}

// TestReplayedBundle hangs one valid bundle on an image many times: that costs
// one verification.
func TestReplayedBundle(t *testing.T) {
	attester, _, trust := home(t)
	p := newPlace(t, "layout")
	b := signed(t, attester, statement(t, evidence.SCAI, p.image.Digest, evidence.Derived))
	const times = 50
	for i := range times {
		if _, err := attest.Attach(t.Context(), p.store, p.image.Descriptor, b, evidence.SCAI.URI, created.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	s := &countingStore{Store: p.store}
	found, err := attest.Collect(t.Context(), s, []oci.Image{p.image}, trust)
	if err != nil || len(found) != times {
		t.Fatalf("found %d, %v", len(found), err)
	}
	for _, f := range found {
		if f.Err != nil || f.Verified != found[0].Verified {
			t.Errorf("got %+v", f)
		}
	}
	if n := s.blobs.Load(); n != 1 {
		t.Errorf("the bundle was read %d times", n)
	}
}

// TestReferrerOfAnotherImage moves a valid bundle to an image that it is not
// about.
func TestReferrerOfAnotherImage(t *testing.T) {
	attester, _, trust := home(t)
	a, b := newPlace(t, "layout"), newPlace(t, "layout")
	d := b.attach(t, signed(t, attester, statement(t, evidence.Provenance, a.image.Digest, evidence.Observed)), evidence.Provenance.URI)
	found, err := attest.Collect(t.Context(), b.store, []oci.Image{b.image}, trust)
	if err != nil || len(found) != 1 || found[0].Digest != d || found[0].Err == nil || found[0].Foreign() {
		t.Errorf("got %+v, %v", found, err)
	}
}

// TestCosignVerifies reads what we attach with cosign's own library, from every
// kind of store.
func TestCosignVerifies(t *testing.T) {
	for _, kind := range places() {
		t.Run(kind, func(t *testing.T) {
			attester, _, _ := home(t)
			p := newPlace(t, kind)
			types := []evidence.Type{evidence.Vulns, evidence.SCAI, evidence.Provenance}
			for _, typ := range types {
				p.attach(t, signed(t, attester, statement(t, typ, p.image.Digest, evidence.Derived)), typ.URI)
			}
			// A reference is as good as any other; of the predicate beside it cosign knows nothing.
			types = append(types, evidence.Reference)
			sbom := largeSPDX(evidence.MaxInline)
			p.attachPredicate(t, evidence.SPDX, sbom)
			p.attach(t, signed(t, attester, refer(t, evidence.SPDX, sbom, p.image.Digest, nil)), evidence.Reference.URI)
			if err := oci.Settle(t.Context(), p.store); err != nil {
				t.Fatal(err)
			}
			ref, err := name.NewDigest(p.served+"@"+string(p.image.Digest), name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			for who, key := range map[string]*attest.Signer{"attester": attester, "stranger": stranger(t)} {
				sv, err := signature.LoadDefaultVerifier(key.Public())
				if err != nil {
					t.Fatal(err)
				}
				opts := cosign.CheckOpts{
					SigVerifier: sv, IgnoreTlog: true, NewBundleFormat: true,
					TrustedMaterial: &root.BaseTrustedMaterial{},
					ClaimVerifier:   cosign.IntotoSubjectClaimVerifier,
				}
				atts, _, err := cosign.VerifyImageAttestations(t.Context(), ref, &opts)
				if who == "stranger" {
					if err == nil {
						t.Error("cosign accepts attestations under a stranger's key")
					}
				} else if err != nil || len(atts) != len(types) {
					t.Errorf("cosign verified %d attestations: %v", len(atts), err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	attester, _, trust := home(b)
	one := `{"id":"CVE-2026-1","severity":[{"method":"nvd","score":"low"}],"annotations":[{"purl":"pkg:golang/example.com/some/module@v1.2.3"}]}`
	for name, n := range map[string]int{"small": 1, "large": 5000} {
		p := json.RawMessage(`{"scanner":{"uri":"x","db":{"lastUpdate":"2026-01-31T12:00:00Z"},"result":[` + one + strings.Repeat(","+one, n-1) +
			`]},"metadata":{"scanStartedOn":"2026-01-31T12:00:00Z","scanFinishedOn":"2026-01-31T12:00:01Z"}}`)
		st, err := evidence.New(evidence.Vulns, p, step.Subject{Digest: imageDigest}, evidence.Derived)
		if err != nil {
			b.Fatal(err)
		}
		bundle := signed(b, attester, st)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(bundle)))
			for b.Loop() {
				if _, err := attest.Verify(trust, bundle); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
