package legacy

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	san    = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_go_slsa3.yml@refs/tags/v1.9.0"
	commit = "2bcaa7495e1cbd11fbd4f598d857b3a6f18df933"
)

func expected() Expect {
	return Expect{
		Digest: step.Digest("sha256:" + strings.Repeat("a", 64)), SourceURI: "github.com/team/app", SourceTag: "v1.2.3",
		BuilderID: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_go_slsa3.yml",
	}
}

// TestJudge changes one thing at a time of a certificate and a statement that
// agree with each other and with what is expected.
func TestJudge(t *testing.T) {
	type run struct {
		san string
		c   certificate.Summary
		st  statement
		e   Expect
	}
	tests := map[string]struct {
		change func(*run)
		want   string // empty if it is accepted
	}{
		"as it should be": {func(*run) {}, ""},
		"any ref":         {func(r *run) { r.e.SourceTag = "" }, ""},
		"an old certificate": {func(r *run) {
			r.c.SourceRepositoryURI, r.c.SourceRepositoryRef, r.c.SourceRepositoryDigest, r.c.BuildTrigger = "", "", "", ""
		}, ""},
		"a new certificate": {func(r *run) {
			r.c.GithubWorkflowRepository, r.c.GithubWorkflowRef, r.c.GithubWorkflowSHA, r.c.GithubWorkflowTrigger = "", "", "", ""
		}, ""},
		"another tag":            {func(r *run) { r.e.SourceTag = "v1.2.4" }, "not from tag v1.2.4"},
		"a longer tag":           {func(r *run) { r.e.SourceTag = "v1.2.3-rc.1" }, "not from tag"},
		"another source":         {func(r *run) { r.e.SourceURI = "github.com/team/apps" }, "source:"},
		"builder at a branch":    {func(r *run) { r.san = strings.Replace(san, "refs/tags/v1.9.0", "refs/heads/main", 1) }, "builder:"},
		"builder at a candidate": {func(r *run) { r.san += "-rc.1" }, "builder:"},
		"builder without a ref":  {func(r *run) { r.san, _, _ = strings.Cut(san, "@") }, "builder:"},
		"builder by another":     {func(r *run) { r.san = strings.Replace(san, "slsa-framework", "somebody", 1) }, "builder:"},
		"statement: builder":     {func(r *run) { r.st.Predicate.Builder.ID += "0" }, "the statement says"},
		"statement: source": {func(r *run) {
			r.st.Predicate.Invocation.ConfigSource.URI = "git+https://github.com/team/other@refs/tags/v1.2.3"
		}, "configSource"},
		"statement: ref":          {func(r *run) { r.st.Predicate.Materials[0].URI = "git+https://github.com/team/app@refs/tags/v9" }, "materials[0]"},
		"statement: no ref":       {func(r *run) { r.st.Predicate.Materials[0].URI = "git+https://github.com/team/app" }, "materials[0]"},
		"statement: commit":       {func(r *run) { r.st.Predicate.Materials[0].Digest = map[string]string{"sha1": strings.Repeat("0", 40)} }, "materials[0]"},
		"statement: no commit":    {func(r *run) { r.st.Predicate.Invocation.ConfigSource.Digest = nil }, "configSource"},
		"statement: no materials": {func(r *run) { r.st.Predicate.Materials = nil }, "no materials"},
		"statement: no git":       {func(r *run) { r.st.Predicate.Materials[0].URI = "https://github.com/team/app@refs/tags/v1.2.3" }, "materials[0]"},
		"certificate: two repos":  {func(r *run) { r.c.GithubWorkflowRepository = "team/other" }, "two of the source's repository"},
		"certificate: two refs":   {func(r *run) { r.c.GithubWorkflowRef = "refs/heads/main" }, "two of the source's ref"},
		"certificate: no commit":  {func(r *run) { r.c.GithubWorkflowSHA, r.c.SourceRepositoryDigest = "", "" }, "names no commit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := material{URI: "git+https://github.com/team/app@refs/tags/v1.2.3", Digest: map[string]string{"sha1": commit}}
			r := run{san: san, e: expected(), c: certificate.Summary{Extensions: certificate.Extensions{
				GithubWorkflowRepository: "team/app", SourceRepositoryURI: "https://github.com/team/app",
				GithubWorkflowRef: "refs/tags/v1.2.3", SourceRepositoryRef: "refs/tags/v1.2.3",
				GithubWorkflowSHA: commit, SourceRepositoryDigest: commit, GithubWorkflowTrigger: "push", BuildTrigger: "push",
			}}}
			r.st.Predicate.Builder.ID = san
			r.st.Predicate.Invocation.ConfigSource = m
			r.st.Predicate.Materials = []material{m}
			tt.change(&r)
			u, err := url.Parse(r.san)
			if err != nil {
				t.Fatal(err)
			}
			v, err := judge(&x509.Certificate{URIs: []*url.URL{u}}, &r.c, r.st, r.e)
			if tt.want == "" && (err != nil || v.SourceRef != "refs/tags/v1.2.3" || v.Trigger != "push" || v.SourceCommit != commit) {
				t.Errorf("got %+v, %v", v, err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestHostile: what ends the libraries that read it is refused, whichever way it came,
// and other provenance beside it is looked at all the same.
func TestHostile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	seed, err := os.ReadFile("../testdata/fuzz/FuzzVerifyIdentity/f4a78bf1a75cfdbb")
	if err != nil {
		t.Fatal(err)
	}
	_, quoted, _ := strings.Cut(strings.TrimSpace(string(seed)), "[]byte(")
	bundle, err := strconv.Unquote(strings.TrimSuffix(quoted, ")"))
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		VerificationMaterial struct {
			Certificate struct{ RawBytes []byte }
			TlogEntries []struct{ CanonicalizedBody []byte }
		}
		DSSEEnvelope struct {
			Payload, PayloadType string
			Signatures           []map[string]string
		}
	}
	if err := json.Unmarshal([]byte(bundle), &parts); err != nil {
		t.Fatal(err)
	}
	env := parts.DSSEEnvelope
	env.Signatures[0]["cert"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: parts.VerificationMaterial.Certificate.RawBytes}))
	envelope, err := json.Marshal(map[string]any{"payloadType": env.PayloadType, "payload": env.Payload, "signatures": env.Signatures})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := json.Marshal(map[string]any{"uuid": map[string]any{
		"body": parts.VerificationMaterial.TlogEntries[0].CanonicalizedBody, "integratedTime": 4, "logID": strings.Repeat("a", 64),
		"verification": map[string]any{"signedEntryTimestamp": []byte("x")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	fromBundle, err := Read(write("bundle.json", []byte(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	fromEntry, err := Read(write("envelope.json", envelope))
	if err != nil {
		t.Fatal(err)
	}
	if fromEntry, err = WithEntry(fromEntry, write("entry.json", entry)); err != nil {
		t.Fatal(err)
	}
	trust, err := LoadRoot("../../policy/export/testdata/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, sources := range map[string][]Source{"a bundle": fromBundle, "an envelope and its log entry": fromEntry} {
		_, err := Verify(trust, append(sources, Source{Envelope: []byte(`{}`)}), expected())
		if err == nil || !strings.Contains(err.Error(), "provenance: reading it ended in: runtime error") || !strings.Contains(err.Error(), "payload type") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestExpect(t *testing.T) {
	for name, change := range map[string]func(*Expect){
		"no digest":           func(e *Expect) { e.Digest = "" },
		"no builder":          func(e *Expect) { e.BuilderID = "" },
		"builder elsewhere":   func(e *Expect) { e.BuilderID = "https://gitlab.com/a/b" },
		"builder twice at":    func(e *Expect) { e.BuilderID += "@v1.0.0@v1.0.0" },
		"builder at a branch": func(e *Expect) { e.BuilderID += "@main" },
		"no source":           func(e *Expect) { e.SourceURI = "" },
		"source elsewhere":    func(e *Expect) { e.SourceURI = "gitlab.com/team/app" },
		"source is an owner":  func(e *Expect) { e.SourceURI = "github.com/team" },
		"source with a ref":   func(e *Expect) { e.SourceURI += "@refs/tags/v1" },
		"tag as a ref":        func(e *Expect) { e.SourceTag = "refs/tags/v1" },
	} {
		e := expected()
		change(&e)
		if err := e.Validate(); !errors.Is(err, step.ErrUsage) {
			t.Errorf("%s: got %v, want a usage error", name, err)
		}
	}
	if err := expected().Validate(); err != nil {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tt := range map[string]struct {
		text            string
		envelopes, bits int // envelopes, bundles
	}{
		"one":     {`{"payloadType":"x"}`, 1, 0},
		"lines":   {"{\"payloadType\":\"x\"}\n\n{\"payloadType\":\"y\"}\n", 2, 0},
		"bundle":  {`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`, 0, 1},
		"nothing": {" \n", 0, 0},
	} {
		got, err := Read(write(name, tt.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		n := 0
		for _, s := range got {
			if len(s.Bundle) > 0 {
				n++
			}
		}
		if n != tt.bits || len(got)-n != tt.envelopes {
			t.Errorf("%s: %d envelopes and %d bundles", name, len(got)-n, n)
		}
	}
	if _, err := Read(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "no OCI layout") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Read(write("many", strings.Repeat("{}\n", maxSources+1))); err == nil {
		t.Error("any number of envelopes is read")
	}
	if _, err := LoadRoot(write("root.json", `{}`)); !errors.Is(err, step.ErrUsage) {
		t.Errorf("a trust root without a media type: %v", err)
	}
}

func FuzzSource(f *testing.F) {
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AA==","cert":"x"}]}`), []byte(`{"SignedEntryTimestamp":"AA==","Payload":{"body":"e30=","integratedTime":1,"logIndex":1,"logID":"aa"}}`), false)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`), []byte(`{"uuid":{"body":"e30=","verification":{"inclusionProof":{}}}}`), true)
	f.Fuzz(func(t *testing.T, doc, entry []byte, bundled bool) {
		s := Source{Envelope: doc, Entry: entry}
		if bundled {
			s = Source{Bundle: doc}
		}
		b, err := s.bundle()
		if err != nil {
			return
		}
		if len(b.GetVerificationMaterial().GetTlogEntries()) == 0 {
			t.Error("a bundle without a log entry")
		}
		_, _ = parseStatement(b.GetDsseEnvelope().GetPayload())
	})
}

func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"` + statementType + `","predicateType":"` + provenanceType + `","predicate":{"materials":[{"uri":"git+https://github.com/a/b@refs/heads/main"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseStatement(b)
		if err != nil {
			return
		}
		if !json.Valid(b) || st.PredicateType != provenanceType {
			t.Errorf("accepted %q", b)
		}
		_ = st.agrees(claims{})
	})
}
