//go:build conformance

package legacy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/attest/legacy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	workflows = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
	source    = "github.com/slsa-framework/example-package"
	layoutDir = "gha_generic_container/v2.1.0/container_workflow_dispatch"
)

// data is the folder with slsa-verifier's test data.
func data(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PATHS_TESTDATA")
	if dir == "" {
		t.Fatal("PATHS_TESTDATA is not set\n  fix: set it to the folder that holds slsa-legacy, provenance by slsa-github-generator from github.com/slsa-framework/slsa-verifier (cli/slsa-verifier/testdata)")
	}
	return filepath.Join(dir, "slsa-legacy")
}

// publicGood is the public instance's trust root, which sigstore-go's module has
// among its examples.
func publicGood(t *testing.T) *legacy.Root {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := legacy.LoadRoot(filepath.Join(strings.TrimSpace(string(out)), "examples", "trusted-root-public-good.json"))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// container is the container case, with all that it should be.
func container(t *testing.T) ([]legacy.Source, legacy.Expect) {
	t.Helper()
	sources, err := legacy.Read(filepath.Join(data(t), layoutDir))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := os.ReadFile(filepath.Join(data(t), layoutDir+".digest"))
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) != 1 {
		t.Fatalf("%d sources, want one", len(sources))
	}
	return sources, legacy.Expect{
		Digest: step.Digest(strings.TrimSpace(string(digest))), BuilderID: workflows + "generator_container_slsa3.yml", SourceURI: source,
	}
}

func TestContainer(t *testing.T) {
	trust := publicGood(t)
	sources, expect := container(t)
	v, err := legacy.Verify(trust, sources, expect)
	if err != nil {
		t.Fatal(err)
	}
	if v.BuilderID != expect.BuilderID+"@refs/tags/v2.1.0" || v.SourceURI != "https://"+source || v.SourceRef != "refs/heads/main" ||
		v.SourceCommit != "4d329c75e7ec1725f7c9ce917a8799d408d06be3" || v.Runner != "github-hosted" || v.LogIndex != 174304112 || v.SignedOn.Year() != 2025 {
		t.Errorf("got %+v", v)
	}
	accepted := map[string]func(*legacy.Expect){
		"builder with its version":  func(e *legacy.Expect) { e.BuilderID += "@v2.1.0" },
		"builder with its full ref": func(e *legacy.Expect) { e.BuilderID += "@refs/tags/v2.1.0" },
		"source with https":         func(e *legacy.Expect) { e.SourceURI = "https://" + source },
		"source with git":           func(e *legacy.Expect) { e.SourceURI = "git+https://" + source },
	}
	for name, change := range accepted {
		e := expect
		change(&e)
		if _, err := legacy.Verify(trust, sources, e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused := map[string]struct {
		change func(*legacy.Expect)
		want   string
	}{
		"another builder": {func(e *legacy.Expect) { e.BuilderID = workflows + "generator_generic_slsa3.yml" }, "builder:"},
		"another version": {func(e *legacy.Expect) { e.BuilderID += "@v2.0.0" }, "builder:"},
		"another source":  {func(e *legacy.Expect) { e.SourceURI = "github.com/slsa-framework/example" }, "source:"},
		"another owner":   {func(e *legacy.Expect) { e.SourceURI = "github.com/somebody/example-package" }, "source:"},
		"a tag":           {func(e *legacy.Expect) { e.SourceTag = "v1.2.3" }, "which is no tag"},
		"another image":   {func(e *legacy.Expect) { e.Digest = step.Digest("sha256:" + strings.Repeat("a", 64)) }, "digest does not match"},
	}
	for name, tt := range refused {
		e := expect
		tt.change(&e)
		if _, err := legacy.Verify(trust, sources, e); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.want)
		}
	}
}

// TestContainerChanged changes each part of the evidence by one byte.
func TestContainerChanged(t *testing.T) {
	trust := publicGood(t)
	sources, expect := container(t)
	good := sources[0]
	var env struct {
		PayloadType string           `json:"payloadType"`
		Payload     string           `json:"payload"`
		Signatures  []map[string]any `json:"signatures"`
	}
	if err := json.Unmarshal(good.Envelope, &env); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(env.Payload)
	if err != nil {
		t.Fatal(err)
	}
	// Every 97th byte of the statement, and its last.
	tried := 0
	for i := 0; i < len(payload); i += 97 {
		changed := bytes.Clone(payload)
		changed[i] ^= 1
		env.Payload = base64.StdEncoding.EncodeToString(changed)
		s := good
		if s.Envelope, err = json.Marshal(env); err != nil {
			t.Fatal(err)
		}
		if _, err := legacy.Verify(trust, []legacy.Source{s}, expect); err == nil {
			t.Errorf("accepted with byte %d of the statement changed", i)
		}
		tried++
	}
	if tried < 50 {
		t.Errorf("changed %d bytes only", tried)
	}
	swap := func(b []byte, old, fresh string) []byte {
		t.Helper()
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("no %q in %.200s", old, b)
		}
		return bytes.Replace(b, []byte(old), []byte(fresh), 1)
	}
	for name, change := range map[string]func(*legacy.Source){
		"signature": func(s *legacy.Source) { s.Envelope = swap(s.Envelope, `"sig":"MEQ`, `"sig":"MEU`) },
		"promise": func(s *legacy.Source) {
			s.Entry = swap(s.Entry, `"SignedEntryTimestamp":"ME`, `"SignedEntryTimestamp":"MF`)
		},
		"integrated time": func(s *legacy.Source) { s.Entry = swap(s.Entry, `1740520687`, `1740520688`) },
		"log index":       func(s *legacy.Source) { s.Entry = swap(s.Entry, `174304112`, `174304113`) },
		"log":             func(s *legacy.Source) { s.Entry = swap(s.Entry, `c0d23d6a`, `c0d23d6b`) },
		"certificate":     func(s *legacy.Source) { s.Certificate[len(s.Certificate)/2] ^= 1 },
		"no certificate":  func(s *legacy.Source) { s.Certificate = nil },
		"no promise":      func(s *legacy.Source) { s.Entry = swap(s.Entry, `"SignedEntryTimestamp"`, `"X"`) },
	} {
		s := good
		s.Certificate, s.Entry = bytes.Clone(good.Certificate), bytes.Clone(good.Entry)
		change(&s)
		if _, err := legacy.Verify(trust, []legacy.Source{s}, expect); err == nil {
			t.Errorf("accepted with another %s", name)
		}
	}
	// Bad provenance beside the good changes nothing, whatever the order.
	bad := good
	bad.Envelope = []byte(`{}`)
	if _, err := legacy.Verify(trust, []legacy.Source{bad, good}, expect); err != nil {
		t.Errorf("with a bad one beside it: %v", err)
	}
}

// TestEntryFile takes the container's provenance apart into the two files that
// the other builders leave: an envelope with its certificate in it, and the
// answer of the log.
func TestEntryFile(t *testing.T) {
	trust := publicGood(t)
	sources, expect := container(t)
	var env map[string]any
	if err := json.Unmarshal(sources[0].Envelope, &env); err != nil {
		t.Fatal(err)
	}
	env["signatures"].([]any)[0].(map[string]any)["cert"] = string(sources[0].Certificate)
	var kept struct {
		SignedEntryTimestamp string
		Payload              map[string]any
	}
	dec := json.NewDecoder(bytes.NewReader(sources[0].Entry))
	dec.UseNumber()
	if err := dec.Decode(&kept); err != nil {
		t.Fatal(err)
	}
	kept.Payload["verification"] = map[string]any{"signedEntryTimestamp": kept.SignedEntryTimestamp}
	envelope, entry := write(t, "provenance.intoto.jsonl", env), write(t, "entry.json", map[string]any{"uuid": kept.Payload})

	found, err := legacy.Read(envelope)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := legacy.Verify(trust, found, expect); !errors.Is(err, legacy.ErrNoLogProof) {
		t.Errorf("without the entry: got %v", err)
	}
	if found, err = legacy.WithEntry(found, entry); err != nil {
		t.Fatal(err)
	}
	if _, err := legacy.Verify(trust, found, expect); err != nil {
		t.Errorf("with the entry: %v", err)
	}

	// Another's entry proves nothing.
	other, err := legacy.Read(filepath.Join(data(t), "gha_generic/v1.10.0/binary-linux-amd64-push-v14.2.intoto.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if other, err = legacy.WithEntry(other, entry); err != nil {
		t.Fatal(err)
	}
	expect.Digest, expect.BuilderID = "sha256:2892146b063a94cb4a4318c0e98d38af12dcf2b1e29237486b58463b59607bbd", workflows+"generator_generic_slsa3.yml"
	if _, err := legacy.Verify(trust, other, expect); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("with another's entry: got %v", err)
	}
}

// TestNoLogProof: what carries no log entry is refused for that reason, however
// right all else is.
func TestNoLogProof(t *testing.T) {
	trust := publicGood(t)
	list, err := os.ReadFile(filepath.Join(data(t), "SUBJECTS.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	builders := map[string]string{"gha_generic": "generator_generic_slsa3.yml", "gha_go": "builder_go_slsa3.yml"}
	n := 0
	for line := range strings.Lines(string(list)) {
		digest, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			continue
		}
		n++
		t.Run(name, func(t *testing.T) {
			sources, err := legacy.Read(filepath.Join(data(t), name+".intoto.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			kind, _, _ := strings.Cut(name, "/")
			_, err = legacy.Verify(trust, sources, legacy.Expect{Digest: step.Digest("sha256:" + digest), BuilderID: workflows + builders[kind], SourceURI: source})
			if !errors.Is(err, legacy.ErrNoLogProof) {
				t.Errorf("got %v, want no log proof", err)
			}
		})
	}
	if n != 8 {
		t.Errorf("%d cases, want 8", n)
	}
}

func write(t *testing.T, name string, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
