package attest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// tags are what a key signs for both tags of an image.
func (p place) tags(t testing.TB, s *attest.Signer, all ...evidence.Type) map[string][]attest.Legacy {
	t.Helper()
	text, err := attest.SimpleSigning(p.locator, p.image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := attest.SignSimple(t.Context(), s, text)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := attest.LegacySignature(s, text, b)
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string][]attest.Legacy{attest.SignatureTag(p.image.Digest): {sig}}
	for _, typ := range all {
		l, err := attest.LegacyAttestation(s, signed(t, s, statement(t, typ, p.image.Digest, evidence.Derived)), typ.URI)
		if err != nil {
			t.Fatal(err)
		}
		tag := attest.AttestationTag(p.image.Digest)
		tags[tag] = append(tags[tag], l)
	}
	return tags
}

// write returns the manifest under each tag.
func (p place) write(t testing.TB, tags map[string][]attest.Legacy) map[string]step.Digest {
	t.Helper()
	put := map[string]step.Digest{}
	for tag, all := range tags {
		var err error
		if put[tag], err = attest.WriteLegacy(t.Context(), p.locator, tag, all); err != nil {
			t.Fatal(err)
		}
	}
	return put
}

// cosign counts what cosign's library verifies under the tags.
func (p place) cosign(t testing.TB, s *attest.Signer) (signatures, attestations int) {
	t.Helper()
	ref, err := name.NewDigest(p.served+"@"+string(p.image.Digest), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	sv, err := signature.LoadDefaultVerifier(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	sigs, _, err := cosign.VerifyImageSignatures(t.Context(), ref, &cosign.CheckOpts{SigVerifier: sv, IgnoreTlog: true, ClaimVerifier: cosign.SimpleClaimVerifier})
	if (err == nil) != (len(sigs) > 0) {
		t.Errorf("%d signatures, %v", len(sigs), err)
	}
	atts, _, err := cosign.VerifyImageAttestations(t.Context(), ref, &cosign.CheckOpts{SigVerifier: sv, IgnoreTlog: true, ClaimVerifier: cosign.IntotoSubjectClaimVerifier})
	if (err == nil) != (len(atts) > 0) {
		t.Errorf("%d attestations, %v", len(atts), err)
	}
	return len(sigs), len(atts)
}

// TestLegacy: cosign's library reads the tags of each who signed, and of nobody else.
func TestLegacy(t *testing.T) {
	for _, kind := range places() {
		t.Run(kind, func(t *testing.T) {
			a, b := stranger(t), stranger(t)
			p := newPlace(t, kind)
			first := p.write(t, p.tags(t, a, evidence.Vulns, evidence.SCAI, evidence.Provenance))
			if !maps.Equal(p.write(t, p.tags(t, a, evidence.Vulns, evidence.SCAI, evidence.Provenance)), first) {
				t.Error("what is there was written again")
			}
			if s, n := p.cosign(t, b); s != 0 || n != 0 {
				t.Errorf("cosign verified %d signatures and %d attestations by a stranger", s, n)
			}
			for tag, d := range p.write(t, p.tags(t, b, evidence.SCAI)) {
				if d == first[tag] {
					t.Errorf("%s: another key's was not written", tag)
				}
			}
			for who, want := range map[*attest.Signer][2]int{a: {1, 3}, b: {1, 1}} {
				if s, n := p.cosign(t, who); s != want[0] || n != want[1] {
					t.Errorf("cosign verified %d signatures and %d attestations, want %v", s, n, want)
				}
			}
			// The tags are no images: the one that is there needs no name.
			place := p.locator
			if place.Tag = "v1"; place.IsLayout() {
				place.Tag = ""
			}
			if d, err := oci.Resolve(t.Context(), place); err != nil || d != p.image.Digest {
				t.Errorf("the image is %s, %v", d, err)
			}
		})
	}
}

// TestLegacyForged: what others put under a tag stays if it can, never stands for ours,
// and is bounded.
func TestLegacyForged(t *testing.T) {
	for _, kind := range places() {
		t.Run(kind, func(t *testing.T) {
			s := stranger(t)
			p := newPlace(t, kind)
			tags := p.tags(t, s, evidence.SCAI)
			ours := p.layers(t, p.write(t, tags))
			for tag, of := range ours {
				layer := of[0]
				text, err := json.Marshal(layer)
				if err != nil {
					t.Fatal(err)
				}
				like := func(edit func(*v1.Descriptor)) v1.Descriptor {
					l := layer
					l.Annotations = maps.Clone(l.Annotations)
					edit(&l)
					return l
				}
				many := func(n int, annotation string) []v1.Descriptor {
					var all []v1.Descriptor
					for i := range n {
						all = append(all, like(func(l *v1.Descriptor) { l.Annotations["n"] = fmt.Sprint(i, annotation) }))
					}
					return all
				}
				for name, tt := range map[string]struct {
					manifest v1.Manifest
					want     string // of the error; empty if ours is added
				}{
					"a like with another signature": {v1.Manifest{Layers: []v1.Descriptor{like(func(l *v1.Descriptor) { l.Annotations["dev.cosignproject.cosign/signature"] = "AAAA" })}}, ""},
					"a like with a certificate":     {v1.Manifest{Layers: []v1.Descriptor{like(func(l *v1.Descriptor) { l.Annotations["dev.sigstore.cosign/certificate"] = "x" })}}, ""},
					"a like without annotations":    {v1.Manifest{Layers: []v1.Descriptor{like(func(l *v1.Descriptor) { l.Annotations = nil })}}, ""},
					"as many as there may be":       {v1.Manifest{Layers: many(999, "")}, ""},
					"an image":                      {v1.Manifest{Layers: []v1.Descriptor{like(func(l *v1.Descriptor) { l.MediaType = types.OCILayer })}}, "something else"},
					"a referrer":                    {v1.Manifest{Layers: []v1.Descriptor{layer}, Subject: &p.image.Descriptor}, "something else"},
					"too many":                      {v1.Manifest{Layers: many(1000, "")}, "limits"},
					"too large":                     {v1.Manifest{Layers: many(1, strings.Repeat("x", oci.MaxManifest-500-len(text)))}, "limits"},
				} {
					t.Run(tag[len(tag)-3:]+" "+name, func(t *testing.T) {
						p.forge(t, tag, tt.manifest)
						d, err := attest.WriteLegacy(t.Context(), p.locator, tag, tags[tag])
						if tt.want != "" {
							if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "fix: ") {
								t.Errorf("got %v, want an error with %q", err, tt.want)
							}
							return
						}
						if err != nil {
							t.Fatal(err)
						}
						if n := len(p.layers(t, map[string]step.Digest{tag: d})[tag]); n != len(tt.manifest.Layers)+1 {
							t.Errorf("%d layers, want those %d and ours", n, len(tt.manifest.Layers))
						}
					})
				}
				t.Run(tag[len(tag)-3:]+" an index", func(t *testing.T) {
					index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{p.image.Descriptor}})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := p.store.PutManifest(t.Context(), string(types.OCIImageIndex), index, tag); err != nil {
						t.Fatal(err)
					}
					if _, err := attest.WriteLegacy(t.Context(), p.locator, tag, tags[tag]); err == nil || !strings.Contains(err.Error(), "something else") {
						t.Errorf("got %v", err)
					}
				})
			}
		})
	}
}

// forge puts a manifest under a tag.
func (p place) forge(t testing.TB, tag string, m v1.Manifest) {
	t.Helper()
	var err error
	if m.Config, err = p.store.PutBlob(t.Context(), string(types.OCIConfigJSON), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for i, l := range m.Layers {
		if l.MediaType == types.OCILayer {
			if m.Layers[i], err = p.store.PutBlob(t.Context(), string(l.MediaType), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.SchemaVersion, m.MediaType = 2, types.OCIManifestSchema1
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.PutManifest(t.Context(), string(m.MediaType), text, tag); err != nil {
		t.Fatal(err)
	}
}

func (p place) layers(t testing.TB, put map[string]step.Digest) map[string][]v1.Descriptor {
	t.Helper()
	all := map[string][]v1.Descriptor{}
	for tag, d := range put {
		m, err := p.store.Manifest(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Content()
		if err != nil {
			t.Fatal(err)
		}
		all[tag] = c.Layers
	}
	return all
}

// TestSimpleMade: a remembered signature is used for what it signed, and nothing else.
func TestSimpleMade(t *testing.T) {
	a, b := stranger(t), stranger(t)
	p := newPlace(t, "layout")
	text, err := attest.SimpleSigning(p.locator, p.image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := attest.SignSimple(t.Context(), a, text)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Made(kept, text) {
		t.Error("it is not known again")
	}
	if b.Made(kept, text) {
		t.Error("it is taken for another key's")
	}
	if a.Made(kept, append(text, ' ')) || a.Made(kept, nil) {
		t.Error("it is taken for another text's")
	}
	st := statement(t, evidence.SCAI, p.image.Digest, evidence.Derived)
	if a.Made(signed(t, a, st), text) || a.Made(kept, st) {
		t.Error("statement and text are taken for each other")
	}
	// It is no evidence, nor the other way round.
	if _, err := attest.LegacyAttestation(a, kept, evidence.SCAI.URI); err == nil {
		t.Error("a message is written as an attestation")
	}
	if _, err := attest.LegacySignature(a, text, signed(t, a, st)); err == nil {
		t.Error("a statement is written as a signature of something else")
	}
	if _, err := attest.SimpleSigning(p.locator, "sha256:x"); err == nil {
		t.Error("a malformed digest was signed")
	}
	if got, want := attest.SignatureTag(sourceDigest), "sha256-"+strings.Repeat("1", 64)+".sig"; got != want {
		t.Errorf("tag %s", got)
	}
}
