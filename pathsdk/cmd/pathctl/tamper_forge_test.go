package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// object is a JSON object as an attacker edits it.
type object = map[string]any

// forger is an attacker who can write a layout, and knows how it is made. It
// works on files, not by our packages: they would refuse.
type forger struct {
	t     testing.TB
	dir   string
	image step.Digest
	// pattern is a referrer's manifest, from which others are made.
	pattern []byte
}

func forge(t testing.TB, store string) *forger {
	t.Helper()
	f := &forger{t: t, dir: store}
	for _, e := range f.entries() {
		if _, ok := object(f.object(digestIn(e)))["subject"]; !ok {
			f.image = digestIn(e)
		}
	}
	if f.image == "" {
		t.Fatal("the store holds no image")
	}
	f.pattern = f.blob(f.of(f.image, evidence.Signature).digest)
	return f
}

func digestIn(descriptor any) step.Digest {
	return step.Digest(descriptor.(object)["digest"].(string))
}

func (f *forger) path(d step.Digest) string { return filepath.Join(f.dir, "blobs", "sha256", d.Hex()) }

func (f *forger) blob(d step.Digest) []byte {
	f.t.Helper()
	b, err := os.ReadFile(f.path(d))
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *forger) object(d step.Digest) object {
	f.t.Helper()
	return decoded(f.t, f.blob(d)).(object)
}

// decoded keeps numbers as they are written.
func decoded(t testing.TB, b []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

// put writes a blob under its right name, and returns what a descriptor says.
func (f *forger) put(b []byte) (step.Digest, json.Number) {
	f.t.Helper()
	d := oci.DigestOf(b)
	f.write(f.path(d), b)
	return d, json.Number(fmt.Sprint(len(b)))
}

func (f *forger) write(path string, b []byte) {
	f.t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forger) index() object {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "index.json"))
	if err != nil {
		f.t.Fatal(err)
	}
	return decoded(f.t, b).(object)
}

func (f *forger) entries() []any { return f.index()["manifests"].([]any) }

func (f *forger) setEntries(entries []any) {
	f.t.Helper()
	x := f.index()
	x["manifests"] = entries
	f.write(filepath.Join(f.dir, "index.json"), encoded(f.t, x))
}

// replace makes index.json name other bytes where it named d.
func (f *forger) replace(d step.Digest, manifest []byte) step.Digest {
	f.t.Helper()
	now, size := f.put(manifest)
	entries := f.entries()
	for _, e := range entries {
		if digestIn(e) == d {
			e.(object)["digest"], e.(object)["size"] = string(now), size
		}
	}
	f.setEntries(entries)
	return now
}

// add lists another manifest.
func (f *forger) add(manifest []byte) step.Digest {
	f.t.Helper()
	d, size := f.put(manifest)
	f.setEntries(append(f.entries(), object{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": string(d), "size": size}))
	return d
}

// remove takes a manifest off the list, and away.
func (f *forger) remove(d step.Digest) {
	f.t.Helper()
	f.setEntries(slices.DeleteFunc(f.entries(), func(e any) bool { return digestIn(e) == d }))
	if err := os.Remove(f.path(d)); err != nil {
		f.t.Fatal(err)
	}
}

// referrer is a piece of evidence in all its wrappings.
type referrer struct {
	digest    step.Digest // of its manifest
	bundle    step.Digest
	typ       evidence.Type
	statement []byte
}

// referrers lists the evidence on an image; VSAs too.
func (f *forger) referrers(image step.Digest) []referrer {
	f.t.Helper()
	var all []referrer
	for _, e := range f.entries() {
		r := referrer{digest: digestIn(e)}
		m := f.object(r.digest)
		if m["subject"] == nil || digestIn(m["subject"]) != image {
			continue
		}
		r.bundle = digestIn(m["layers"].([]any)[0])
		r.statement = payload(f.t, f.blob(r.bundle))
		st, err := evidence.ParseStatement(r.statement)
		if err != nil {
			f.t.Fatal(err)
		}
		r.typ, _ = evidence.Lookup(st.PredicateType)
		all = append(all, r)
	}
	return all
}

// required are the referrers that the shipped policy asks for.
func (f *forger) required(image step.Digest) []referrer {
	f.t.Helper()
	all := slices.DeleteFunc(f.referrers(image), func(r referrer) bool { return r.typ == evidence.VSA })
	if len(all) != 7 {
		f.t.Fatalf("%d pieces of evidence on %s, want 7", len(all), image)
	}
	return all
}

func (f *forger) of(image step.Digest, t evidence.Type) referrer {
	f.t.Helper()
	for _, r := range f.referrers(image) {
		if r.typ == t {
			return r
		}
	}
	f.t.Fatalf("no %s on %s", t.Name, image)
	return referrer{}
}

// rebundle gives a referrer another bundle, consistently.
func (f *forger) rebundle(r referrer, bundle []byte) step.Digest {
	f.t.Helper()
	m := f.object(r.digest)
	d, size := f.put(bundle)
	layer := m["layers"].([]any)[0].(object)
	layer["digest"], layer["size"] = string(d), size
	return f.replace(r.digest, encoded(f.t, m))
}

// hang makes a referrer's manifest hang on another image.
func hang(m object, image step.Digest, size json.Number) {
	m["subject"].(object)["digest"], m["subject"].(object)["size"] = string(image), size
}

// reimage gives the image another manifest, and hangs all evidence on it.
func (f *forger) reimage(manifest []byte) step.Digest {
	f.t.Helper()
	old := f.referrers(f.image)
	now := f.replace(f.image, manifest)
	for _, r := range old {
		m := f.object(r.digest)
		hang(m, now, json.Number(fmt.Sprint(len(manifest))))
		f.replace(r.digest, encoded(f.t, m))
	}
	f.image = now
	return now
}

// payload is the statement in a bundle.
func payload(t testing.TB, bundle []byte) []byte {
	t.Helper()
	env := decoded(t, bundle).(object)["dsseEnvelope"].(object)
	b, err := base64.StdEncoding.DecodeString(env["payload"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withPayload is a bundle around another statement, with the old signature.
func withPayload(t testing.TB, bundle, statement []byte) []byte {
	t.Helper()
	b := decoded(t, bundle).(object)
	b["dsseEnvelope"].(object)["payload"] = base64.StdEncoding.EncodeToString(statement)
	return encoded(t, b)
}

// signed is a bundle that a key of the home signed.
func signed(t testing.TB, home, key string, statement []byte) []byte {
	t.Helper()
	s, err := attest.LoadSigner(t.Context(), filepath.Join(home, filepath.FromSlash(key)), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := attest.Sign(t.Context(), s, statement)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leaf is a value of a JSON document that holds no others.
type leaf struct {
	path  string
	value any
	set   func(any)
}

// leaves lists them in order; empty objects and lists are leaves too.
func leaves(path string, v any, set func(any)) []leaf {
	var out []leaf
	switch x := v.(type) {
	case object:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			out = append(out, leaves(strings.TrimPrefix(path+"."+k, "."), x[k], func(n any) { x[k] = n })...)
		}
		if len(x) > 0 {
			return out
		}
	case []any:
		for i := range x {
			out = append(out, leaves(fmt.Sprintf("%s[%d]", path, i), x[i], func(n any) { x[i] = n })...)
		}
		if len(x) > 0 {
			return out
		}
	}
	return []leaf{{path, v, set}}
}

// flipped is another value of the same kind and, for texts, of the same length:
// the middle changes, where base64 has no bits that don't count.
func flipped(v any) any {
	switch x := v.(type) {
	case string:
		if x == "" {
			return "x"
		}
		b := []byte(x)
		if i := len(b) / 2; b[i] == '0' {
			b[i] = '1'
		} else {
			b[i] = '0'
		}
		return string(b)
	case json.Number:
		n, err := x.Int64()
		if err != nil {
			return json.Number("1")
		}
		return json.Number(fmt.Sprint(n + 1))
	case bool:
		return !x
	case object:
		return object{"x": "x"}
	case []any:
		return []any{"x"}
	}
	return "x" // null
}

// judged verifies in this process, by the code behind pathctl verify, with what
// it brings along made once: hundreds of runs of one test would make it anew.
func judged(t testing.TB, j *judge, reference string) (int, string) {
	t.Helper()
	v, err := j.judge(t.Context(), reference)
	if err == nil {
		err = gateOf(v)
	}
	if err == nil {
		return 0, ""
	}
	return exitCode(err), err.Error()
}

func newTestJudge(t testing.TB, home string, f verifyFlags) *judge {
	t.Helper()
	a := &app{}
	a.host.Home = home
	if f.policy.dbMaxAge == 0 {
		f.policy.dbMaxAge = 24 * 3600e9
	}
	j, err := a.newJudge(t.Context(), &f)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// verdictOf runs pathctl verify and reads its verdict.
func verdictOf(t testing.TB, home string, args ...string) (policy.Verdict, result) {
	t.Helper()
	r := pathctl(t, home, append([]string{"verify", "--output", "json"}, args...)...)
	var v policy.Verdict
	if r.stdout != "" {
		if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
			t.Fatalf("verify %q printed no verdict: %v\n%s", args, err, r.stdout)
		}
	}
	return v, r
}
