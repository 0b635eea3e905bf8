package attest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// largeSPDX is an SBOM of more than size bytes.
func largeSPDX(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"x","documentNamespace":"https://example.com/x",` +
		`"creationInfo":{"created":"2026-01-31T12:00:00Z","creators":["Tool: x"]},"packages":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"SPDXID":"SPDXRef-%d","name":"example.com/module-%d","versionInfo":"v1.0.%d","licenseDeclared":"MIT",`+
			`"externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:golang/example.com/module-%d@v1.0.%d"}]}`, i, i, i, i, i)
	}
	b.WriteString("]}")
	return b.Bytes()
}

// refer makes a statement that refers to a predicate.
func refer(t testing.TB, typ evidence.Type, predicate []byte, image step.Digest, edit func(*evidence.ReferenceV01)) []byte {
	t.Helper()
	about := step.Subject{Name: "app", Digest: image}
	p, err := evidence.Refer(typ, predicate, oci.DigestOf(predicate), about)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(&p)
	}
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := evidence.New(evidence.Reference, raw, about, evidence.Derived)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (p place) attachPredicate(t testing.TB, typ evidence.Type, predicate []byte) {
	t.Helper()
	if err := attest.AttachPredicate(t.Context(), p.store, p.image.Descriptor, typ, predicate, created); err != nil {
		t.Fatal(err)
	}
}

// collect is what another process would find.
func (p place) collect(t testing.TB, trust *attest.Trust) []attest.Found {
	t.Helper()
	if err := oci.Settle(t.Context(), p.store); err != nil {
		t.Fatal(err)
	}
	store, err := oci.Open(t.Context(), p.locator)
	if err != nil {
		t.Fatal(err)
	}
	found, err := attest.Collect(t.Context(), store, []oci.Image{p.image}, trust)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestReferenceResolved: what is referred to stands where it would, had it been signed
// itself, in every kind of store, and in a copy of it.
func TestReferenceResolved(t *testing.T) {
	attester, _, trust := home(t)
	predicate := largeSPDX(evidence.MaxInline)
	// Nobody is asked where the statement says to download it from.
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(predicate)
	}))
	defer elsewhere.Close()
	for _, kind := range places() {
		t.Run(kind, func(t *testing.T) {
			p := newPlace(t, kind)
			p.attachPredicate(t, evidence.SPDX, predicate)
			st := refer(t, evidence.SPDX, predicate, p.image.Digest, func(r *evidence.ReferenceV01) { r.References[0].DownloadLocation = elsewhere.URL + "/sbom" })
			bundle := signed(t, attester, st)
			if len(bundle) > 16<<10 {
				t.Errorf("the bundle has %d bytes", len(bundle))
			}
			d := p.attach(t, bundle, evidence.Reference.URI)
			check := func(p place) {
				t.Helper()
				found := p.collect(t, trust)
				if len(found) != 1 || found[0].Err != nil || found[0].Digest != d {
					t.Fatalf("found %+v", found)
				}
				f := found[0]
				if f.PredicateType != evidence.SPDX.URI || f.Verified.Statement.PredicateType != evidence.SPDX.URI || !bytes.Equal(f.Verified.Statement.Predicate, predicate) {
					t.Errorf("got a %s of %d bytes", f.PredicateType, len(f.Verified.Statement.Predicate))
				}
				if f.Verified.Reference == nil || f.Verified.Tier != evidence.Derived || f.Verified.Signer.Name != "attester" || f.Verified.Statement.Subject.Digest != p.image.Digest {
					t.Errorf("got %+v", f.Verified)
				}
			}
			check(p)
			// Who copies the image and its referrers, copies the predicate.
			to := newPlace(t, kind)
			if err := oci.Copy(t.Context(), to.store, p.store, p.image.Digest, ""); err != nil {
				t.Fatal(err)
			}
			referrers, err := p.store.Referrers(t.Context(), p.image.Digest)
			if err != nil || len(referrers) != 2 {
				t.Fatalf("%d referrers, %v", len(referrers), err)
			}
			for _, r := range referrers {
				if err := oci.Copy(t.Context(), to.store, p.store, oci.Digest(r), ""); err != nil {
					t.Fatal(err)
				}
			}
			to.image = p.image
			check(to)
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the place that the statement names was asked %d times", n)
	}
}

// TestReferenceRefused: each is refused with a reason of its own.
func TestReferenceRefused(t *testing.T) {
	attester, _, trust := home(t)
	predicate := largeSPDX(20 << 10)
	other := bytes.Replace(predicate, []byte("MIT"), []byte("GPL"), 1)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(predicate)
	_ = z.Close()
	blob := func(p place, of []byte) string {
		return filepath.Join(p.locator.Dir, "blobs", "sha256", oci.DigestOf(of).Hex())
	}
	write := func(of, b []byte) func(*testing.T, place) {
		return func(t *testing.T, p place) {
			if err := os.WriteFile(blob(p, of), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	note := func(key string, v any) func(*evidence.ReferenceV01) {
		return func(r *evidence.ReferenceV01) { r.References[0].Annotations["pavedpaths.dev/"+key] = v }
	}
	to := func(b []byte) func(*evidence.ReferenceV01) {
		return func(r *evidence.ReferenceV01) {
			r.References[0].Digest = evidence.SHA256(oci.DigestOf(b))
			note("size", len(b))(r)
		}
	}
	nested := refer(t, evidence.SPDX, predicate, sourceDigest, nil)
	for _, tt := range []struct {
		name  string
		edit  func(*evidence.ReferenceV01)
		store func(*testing.T, place)
		typ   evidence.Type
		code  attest.Code
		want  string
	}{
		{"the blob is missing", nil, func(t *testing.T, p place) {
			if err := os.Remove(blob(p, predicate)); err != nil {
				t.Fatal(err)
			}
		}, evidence.SPDX, attest.RefusedLost, "not found"},
		{"the blob was swapped", nil, write(predicate, other), evidence.SPDX, attest.RefusedLost, "have the digest"},
		{"the blob is longer than stated", nil, write(predicate, append(bytes.Clone(predicate), ' ')), evidence.SPDX, attest.RefusedLost, "bytes"},
		{"the blob is shorter than stated", nil, write(predicate, predicate[:len(predicate)-1]), evidence.SPDX, attest.RefusedLost, "bytes"},
		{"less is stated than there is", note("size", len(predicate)-1), nil, evidence.SPDX, attest.RefusedLost, "bytes"},
		{"more is stated than there is", note("size", len(predicate)+1), nil, evidence.SPDX, attest.RefusedLost, "bytes"},
		{"more is stated than we read", note("size", evidence.MaxPredicate+1), nil, evidence.Reference, attest.RefusedReference, "want 1 to"},
		{"another type is named", note("predicateType", evidence.CycloneDX.URI), nil, evidence.CycloneDX, attest.RefusedPredicate, "cyclonedx predicate: bomFormat is missing"},
		{"a type is named that nobody knows", note("predicateType", "https://example.com/v1"), nil, evidence.Reference, attest.RefusedReference, "no predicate type known"},
		{"a reference to a reference", note("predicateType", evidence.Reference.URI), nil, evidence.Reference, attest.RefusedReference, "another reference"},
		{"a reference to a reference that is called an SBOM", to(nested), write(nested, nested), evidence.SPDX, attest.RefusedPredicate, "spdxVersion is missing"},
		{"two references", func(r *evidence.ReferenceV01) { r.References = append(r.References, r.References[0]) }, nil, evidence.Reference, attest.RefusedReference, "2 documents"},
		{"it is compressed", to(zipped.Bytes()), write(zipped.Bytes(), zipped.Bytes()), evidence.SPDX, attest.RefusedPredicate, "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t, "layout")
			p.attachPredicate(t, evidence.SPDX, predicate)
			d := p.attach(t, signed(t, attester, refer(t, evidence.SPDX, predicate, p.image.Digest, tt.edit)), evidence.Reference.URI)
			if tt.store != nil {
				tt.store(t, p)
			}
			for _, f := range p.collect(t, trust) {
				if f.Digest != d {
					continue
				}
				if f.Verified != nil || f.Foreign() || attest.CodeOf(f.Err) != tt.code || !strings.Contains(fmt.Sprint(f.Err), tt.want) {
					t.Errorf("got %q: %v, want %q: %s", attest.CodeOf(f.Err), f.Err, tt.code, tt.want)
				}
				if f.PredicateType != tt.typ.URI {
					t.Errorf("it is called %s", f.PredicateType)
				}
				return
			}
			t.Error("it is not in the list")
		})
	}
}

// TestReferenceOfStranger: nothing is fetched for whom nobody trusts.
func TestReferenceOfStranger(t *testing.T) {
	_, _, trust := home(t)
	p := newPlace(t, "layout")
	predicate := largeSPDX(20 << 10)
	p.attachPredicate(t, evidence.SPDX, predicate)
	p.attach(t, signed(t, stranger(t), refer(t, evidence.SPDX, predicate, p.image.Digest, nil)), evidence.Reference.URI)
	s := &countingStore{Store: p.store}
	found, err := attest.Collect(t.Context(), s, []oci.Image{p.image}, trust)
	if err != nil || len(found) != 2 {
		t.Fatalf("found %+v, %v", found, err)
	}
	for _, f := range found {
		if !f.Foreign() {
			t.Errorf("got %+v", f)
		}
	}
	if n := s.blobs.Load(); n != 1 {
		t.Errorf("%d blobs were read, want the bundle alone", n)
	}
}

// TestReplayedReference hangs one reference on an image many times: its predicate is
// read once.
func TestReplayedReference(t *testing.T) {
	attester, _, trust := home(t)
	p := newPlace(t, "layout")
	predicate := largeSPDX(evidence.MaxInline)
	p.attachPredicate(t, evidence.SPDX, predicate)
	b := signed(t, attester, refer(t, evidence.SPDX, predicate, p.image.Digest, nil))
	const times = 50
	for i := range times {
		if _, err := attest.Attach(t.Context(), p.store, p.image.Descriptor, b, evidence.Reference.URI, created.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	s := &countingStore{Store: p.store}
	found, err := attest.Collect(t.Context(), s, []oci.Image{p.image}, trust)
	if err != nil || len(found) != times {
		t.Fatalf("found %d, %v", len(found), err)
	}
	if n := s.blobs.Load(); n != 2 {
		t.Errorf("%d blobs were read, want the bundle and the predicate", n)
	}
}

// TestReferenceMemory bounds what the largest predicates cost, several at once.
func TestReferenceMemory(t *testing.T) {
	attester, _, trust := home(t)
	p := newPlace(t, "layout")
	const each, n = evidence.MaxPredicate - 1<<10, 3
	for i := range n {
		predicate := largeSPDX(each - 1<<10)
		predicate = bytes.Replace(predicate, []byte("example.com/x"), fmt.Appendf(nil, "example.com/%d", i), 1)
		p.attachPredicate(t, evidence.SPDX, predicate)
		p.attach(t, signed(t, attester, refer(t, evidence.SPDX, predicate, p.image.Digest, nil)), evidence.Reference.URI)
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc-min(m.HeapAlloc, before.HeapAlloc))
			}
		}
	}()
	start := time.Now()
	found := p.collect(t, trust)
	took := time.Since(start)
	close(done)
	most := <-peak
	if len(found) != n {
		t.Fatalf("found %d", len(found))
	}
	for _, f := range found {
		if f.Err != nil {
			t.Fatal(f.Err)
		}
	}
	t.Logf("%d predicates of %d MiB: %v, %d MiB at most", n, each>>20, took, most>>20)
	// What is kept, and what one of them costs while it is read: its bytes, its
	// packages, and as much again that is garbage.
	if limit := uint64(n*each + 6*each); most > limit {
		t.Errorf("%d MiB at most, want %d", most>>20, limit>>20)
	}
}
