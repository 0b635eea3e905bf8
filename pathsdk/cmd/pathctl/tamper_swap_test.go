package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func (f *forger) flipByte(d step.Digest) {
	f.t.Helper()
	b := f.blob(d)
	b[len(b)/2] ^= 1
	f.write(f.path(d), b)
}

func (f *forger) rm(d step.Digest) {
	f.t.Helper()
	if err := os.Remove(f.path(d)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forger) fifo(d step.Digest) {
	f.t.Helper()
	f.rm(d)
	if err := syscall.Mkfifo(f.path(d), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forger) truncate(d step.Digest, size int64) {
	f.t.Helper()
	if err := os.Truncate(f.path(d), size); err != nil {
		f.t.Fatal(err)
	}
}

// TestEvidenceRemoved takes away each required piece of evidence, and all.
func TestEvidenceRemoved(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	undo := snapshot(t, store)
	required := f.required(f.image)
	for _, r := range required {
		f.remove(r.digest)
		got := pathctl(t, home, "verify", "oci:"+store)
		if want := fmt.Sprintf("there is no usable %s", r.typ.Name); got.code != 3 || !strings.Contains(got.stdout, want) {
			t.Errorf("without %s: exit %d, want 3 and %q:\n%s%s", r.typ.Name, got.code, want, got.stdout, got.stderr)
		}
		undo()
	}
	for _, r := range required {
		f.remove(r.digest)
	}
	v, got := verdictOf(t, home, "oci:"+store)
	if got.code != 3 || v.Passed || v.Level.Build != 0 || len(v.Findings) < len(required) {
		t.Errorf("without any: exit %d, passed %v, level %d, %d findings", got.code, v.Passed, v.Level.Build, len(v.Findings))
	}
	undo()
	// The VSA is no evidence for anybody: it may go.
	f.remove(f.of(f.image, evidence.VSA).digest)
	if got := pathctl(t, home, "verify", "oci:"+store); got.code != 0 {
		t.Errorf("without the VSA: exit %d\n%s", got.code, got.stderr)
	}
}

// twin adds another image with evidence of its own, rightly signed, built from
// another source. It returns the twin's digest.
func (f *forger) twin(home string) step.Digest {
	f.t.Helper()
	m := f.object(f.image)
	m["annotations"].(object)["org.opencontainers.image.title"] = "twin"
	manifest := encoded(f.t, m)
	twin := f.add(manifest)
	source := subjectOf(f.t, f.of(f.image, evidence.TestResult).statement)
	other := step.Digest("sha256:" + strings.Repeat("5", 64))
	for _, r := range f.required(f.image) {
		st := bytes.ReplaceAll(r.statement, []byte(f.image.Hex()), []byte(twin.Hex()))
		st = bytes.ReplaceAll(st, []byte(source.Hex()), []byte(other.Hex()))
		f.attach(twin, signed(f.t, home, attest.AttesterKey, st))
	}
	return twin
}

func subjectOf(t testing.TB, statement []byte) step.Digest {
	t.Helper()
	st, err := evidence.ParseStatement(statement)
	if err != nil {
		t.Fatal(err)
	}
	return st.Subject.Digest
}

// attach hangs a bundle on an image as our own tools do.
func (f *forger) attach(image step.Digest, bundle []byte) step.Digest {
	f.t.Helper()
	m := decoded(f.t, f.pattern).(object)
	hang(m, image, json.Number(fmt.Sprint(len(f.blob(image)))))
	d, size := f.put(bundle)
	layer := m["layers"].([]any)[0].(object)
	layer["digest"], layer["size"] = string(d), size
	return f.add(encoded(f.t, m))
}

// TestEvidenceOfAnother hangs one image's evidence on another one.
func TestEvidenceOfAnother(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	twin := f.twin(home)
	undo := snapshot(t, store)
	at := func(d step.Digest) string { return "oci:" + store + "@" + string(d) }
	for _, d := range []step.Digest{f.image, twin} {
		if r := pathctl(t, home, "verify", at(d)); r.code != 0 {
			t.Fatalf("%s: exit %d before anything was swapped\n%s%s", d, r.code, r.stdout, r.stderr)
		}
	}
	mine, theirs := f.required(f.image), f.required(twin)
	for _, r := range mine {
		i := slices.IndexFunc(theirs, func(o referrer) bool { return o.typ == r.typ })
		o := theirs[i]
		f.rebundle(r, f.blob(o.bundle))
		f.rebundle(o, f.blob(r.bundle))
		for _, d := range []step.Digest{f.image, twin} {
			v, got := verdictOf(t, home, at(d))
			if got.code != 3 || !slices.ContainsFunc(v.Evidence, func(e policy.EvidenceStatus) bool {
				return e.Status == policy.StatusInvalid && strings.Contains(e.Why, "about")
			}) {
				t.Errorf("%s swapped: exit %d on %.19s, want 3\n%s", r.typ.Name, got.code, d, got.stderr)
			}
		}
		undo()
		// As an extra it is reported, and changes nothing.
		d := f.attach(f.image, f.blob(o.bundle))
		v, got := verdictOf(t, home, at(f.image))
		if s := statusOf(v, d); got.code != 0 || s.Status != policy.StatusInvalid {
			t.Errorf("%s of another image attached as well: exit %d, status %q", r.typ.Name, got.code, s.Status)
		}
		undo()
	}
}

func statusOf(v policy.Verdict, d step.Digest) policy.EvidenceStatus {
	for _, e := range v.Evidence {
		if e.Digest == d {
			return e
		}
	}
	return policy.EvidenceStatus{}
}

// TestForgedVSA: a summary says what an earlier verifier found. It supports
// nothing, whoever signed it.
func TestForgedVSA(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	undo := snapshot(t, store)
	vsa := f.of(f.image, evidence.VSA)
	lie := bytes.ReplaceAll(vsa.statement, []byte("SLSA_BUILD_LEVEL_1"), []byte("SLSA_BUILD_LEVEL_3"))
	if bytes.Equal(lie, vsa.statement) {
		t.Fatalf("the VSA names no level: %s", vsa.statement)
	}
	stranger := t.TempDir()
	if _, err := attest.InitHome(stranger, nil, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bundle []byte
		status string
	}{
		"old signature":           {withPayload(t, f.blob(vsa.bundle), lie), policy.StatusInvalid},
		"stranger":                {signed(t, stranger, attest.VerifierKey, lie), policy.StatusForeign},
		"attester":                {signed(t, home, attest.AttesterKey, lie), policy.StatusUnused},
		"verifier of another day": {signed(t, home, attest.VerifierKey, lie), policy.StatusUnused},
	} {
		d := f.attach(f.image, c.bundle)
		v, got := verdictOf(t, home, "oci:"+store)
		if s := statusOf(v, d); got.code != 0 || v.Level.Build != 1 || s.Status != c.status {
			t.Errorf("%s: exit %d, level %d, status %q, want 0, 1, %q", name, got.code, v.Level.Build, s.Status, c.status)
		}
		f.remove(f.of(f.image, evidence.Provenance).digest)
		if v, got := verdictOf(t, home, "oci:"+store); got.code != 3 || v.Level.Build != 0 {
			t.Errorf("%s, in place of provenance: exit %d, level %d, want 3 and 0", name, got.code, v.Level.Build)
		}
		undo()
	}
}

// TestReplayedScan: an old clean scan does not hide a newer one that found
// something, and does not stand alone once it is stale.
func TestReplayedScan(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	undo := snapshot(t, store)
	clean := f.of(f.image, evidence.Vulns)
	edit := func(change func(scanner, db, metadata object)) []byte {
		st := decoded(t, clean.statement).(object)
		p := st["predicate"].(object)
		scanner := p["scanner"].(object)
		change(scanner, scanner["db"].(object), p["metadata"].(object))
		return signed(t, home, attest.AttesterKey, encoded(t, st))
	}
	found := func(scanner, _, metadata object) {
		now := time.Now().UTC().Format(time.RFC3339)
		metadata["scanStartedOn"], metadata["scanFinishedOn"] = now, now
		scanner["result"] = []any{object{
			"id":          "CVE-2026-0001",
			"severity":    []any{object{"method": "nvd", "score": "CRITICAL"}},
			"annotations": []any{object{"package": "example.com/x", "version": "v1.0.0", "purl": "pkg:golang/example.com/x@v1.0.0"}},
		}}
	}
	newer := f.attach(f.image, edit(found))
	v, got := verdictOf(t, home, "oci:"+store)
	if got.code != 3 || !strings.Contains(got.stdout, "CVE-2026-0001") || statusOf(v, clean.digest).Status != policy.StatusSuperseded || statusOf(v, newer).Status != policy.StatusUsed {
		t.Errorf("a clean scan beside a newer one that found something: exit %d, want 3\n%s%s", got.code, got.stdout, got.stderr)
	}
	undo()
	stale := edit(func(_, db, metadata object) {
		then := time.Now().UTC().Add(-72 * time.Hour).Format(time.RFC3339)
		metadata["scanStartedOn"], metadata["scanFinishedOn"], db["lastUpdate"] = then, then, then
	})
	f.rebundle(clean, stale)
	if v, got := verdictOf(t, home, "oci:"+store); got.code != 3 || !hasFinding(v, "vulnerability-db") {
		t.Errorf("an old clean scan alone: exit %d, want 3\n%s%s", got.code, got.stdout, got.stderr)
	}
	undo()
	future := edit(func(_, _, metadata object) {
		metadata["scanFinishedOn"] = time.Now().UTC().Add(48 * time.Hour).Format(time.RFC3339)
	})
	f.rebundle(clean, future)
	if v, got := verdictOf(t, home, "oci:"+store); got.code != 3 || v.Passed {
		t.Errorf("a scan of the day after tomorrow: exit %d, want 3", got.code)
	}
}

// TestEvidenceOfFormerSource: who edits only a test gets the same image from
// another source, and its new evidence beside the old.
func TestEvidenceOfFormerSource(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	source := subjectOf(t, f.of(f.image, evidence.TestResult).statement)
	former := func(r referrer) []byte {
		st := bytes.ReplaceAll(r.statement, []byte(source.Hex()), []byte(strings.Repeat("5", 64)))
		if bytes.Equal(st, r.statement) {
			t.Fatalf("the %s does not name the source", r.typ.Name)
		}
		return signed(t, home, attest.AttesterKey, st)
	}
	for _, typ := range []evidence.Type{evidence.SCAI, evidence.TestResult} {
		undo := snapshot(t, store)
		r := f.of(f.image, typ)
		d := f.attach(f.image, former(r))
		v, got := verdictOf(t, home, "oci:"+store)
		if s := statusOf(v, d); got.code != 0 || s.Status == policy.StatusUsed || !strings.Contains(s.Why, "source") {
			t.Errorf("%s of the former source beside the new one: exit %d, status %q (%s), want 0\n%s", typ.Name, got.code, s.Status, s.Why, got.stderr)
		}
		f.remove(r.digest)
		if _, got := verdictOf(t, home, "oci:"+store); got.code != 3 {
			t.Errorf("%s of the former source alone: exit %d, want 3", typ.Name, got.code)
		}
		undo()
	}
}

func hasFinding(v policy.Verdict, rule string) bool {
	return slices.ContainsFunc(v.Findings, func(f policy.Finding) bool { return f.Rule == rule && !f.Waived })
}

// TestForeignReferrers hangs all sorts of things on the image that are not ours.
// They are reported, and change nothing.
func TestForeignReferrers(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	before, got := verdictOf(t, home, "oci:"+store)
	if got.code != 0 {
		t.Fatalf("exit %d\n%s", got.code, got.stderr)
	}
	stranger := t.TempDir()
	if _, err := attest.InitHome(stranger, nil, nil); err != nil {
		t.Fatal(err)
	}
	vulns := f.of(f.image, evidence.Vulns)
	manifest := func(change func(object)) []byte {
		m := decoded(t, f.pattern).(object)
		change(m)
		return encoded(t, m)
	}
	giant := int64(attest.MaxBundle) + 1
	extras := map[string]struct {
		digest step.Digest
		status string
	}{
		"text":                  {f.attach(f.image, []byte("hello")), policy.StatusInvalid},
		"binary":                {f.attach(f.image, []byte{0, 0xff, 0xfe, '\n'}), policy.StatusInvalid},
		"nothing":               {f.attach(f.image, nil), policy.StatusInvalid},
		"deep JSON":             {f.attach(f.image, []byte(strings.Repeat("[", 100_000))), policy.StatusInvalid},
		"bundle unsigned":       {f.attach(f.image, withoutSignature(t, f.blob(vulns.bundle))), policy.StatusInvalid},
		"bundle, payload lost":  {f.attach(f.image, withPayload(t, f.blob(vulns.bundle), []byte("{}"))), policy.StatusInvalid},
		"signed by a stranger":  {f.attach(f.image, signed(t, stranger, attest.AttesterKey, vulns.statement)), policy.StatusForeign},
		"wrong signer's role":   {f.attach(f.image, signed(t, home, attest.VerifierKey, vulns.statement)), policy.StatusInvalid},
		"another artifact type": {f.add(manifest(func(m object) { m["artifactType"] = "application/vnd.example.thing+json" })), policy.StatusForeign},
		"two layers": {f.add(manifest(func(m object) {
			m["layers"] = append(m["layers"].([]any), m["layers"].([]any)[0])
		})), policy.StatusInvalid},
		"no layers":   {f.add(manifest(func(m object) { m["layers"] = []any{} })), policy.StatusInvalid},
		"lost bundle": {f.add(manifest(func(m object) { m["layers"].([]any)[0].(object)["digest"] = "sha256:" + strings.Repeat("0", 64) })), policy.StatusInvalid},
		"giant bundle": {f.add(manifest(func(m object) {
			d, _ := f.put([]byte("x"))
			f.truncate(d, giant)
			layer := m["layers"].([]any)[0].(object)
			layer["digest"], layer["size"] = string(d), json.Number(fmt.Sprint(giant))
		})), policy.StatusInvalid},
		// The bundle is the image's own signature: whoever reads this one first
		// must not hold it against the other.
		"bundle of no end, it says": {f.add(manifest(func(m object) {
			m["layers"].([]any)[0].(object)["size"] = json.Number("9000000000000000000")
		})), policy.StatusInvalid},
	}
	// Manifests that can't be read have no subject: they hang on nothing, and
	// must not hide the others.
	broken := []step.Digest{f.add([]byte("not JSON")), f.add([]byte("{}")), f.add(bytes.Repeat([]byte(" "), 5<<20))}
	v, got := verdictOf(t, home, "oci:"+store)
	if got.code != 0 || !v.Passed || v.Level.Build != before.Level.Build {
		t.Fatalf("exit %d, passed %v, level %d: foreign referrers changed the verdict\n%s%s", got.code, v.Passed, v.Level.Build, got.stdout, got.stderr)
	}
	for name, x := range extras {
		if s := statusOf(v, x.digest); s.Status != x.status || s.Why == "" {
			t.Errorf("%s: status %q (%s), want %q with a reason", name, s.Status, s.Why, x.status)
		}
	}
	for _, e := range before.Evidence {
		if s := statusOf(v, e.Digest); s.Status != e.Status {
			t.Errorf("%s was %s, and is %s (%s)", e.Type, e.Status, s.Status, s.Why)
		}
	}
	if want := len(before.Evidence) + len(extras); len(v.Evidence) != want {
		t.Errorf("%d pieces of evidence are reported, want %d (%d broken ones hang on nothing)", len(v.Evidence), want, len(broken))
	}
}

func withoutSignature(t testing.TB, bundle []byte) []byte {
	t.Helper()
	b := decoded(t, bundle).(object)
	b["dsseEnvelope"].(object)["signatures"] = []any{}
	return encoded(t, b)
}
