package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
)

// restsOnNothing lists the leaves of a referrer's manifest and of index.json on
// which no verdict rests, with the reason. Whoever can write a store can change
// them as they like.
var restsOnNothing = map[string]string{
	// The empty configuration of an artifact is never read: the manifest's own
	// artifactType counts.
	"referrer config.mediaType":    "not read",
	"referrer config.size":         "not read",
	"referrer config.digest":       "not read",
	"referrer config.artifactType": "not read",
	// For people and for other tools' filters: the type that counts is signed.
	"referrer annotations.dev.sigstore.bundle.content":       "a copy of what the bundle says",
	"referrer annotations.dev.sigstore.bundle.predicateType": "a copy of what the statement says",
	"referrer annotations.org.opencontainers.image.created":  "for people; times that count are signed",
	// A subject is its digest; nothing is read by the other two.
	"referrer subject.mediaType": "the digest names the image",
	"referrer subject.size":      "the digest names the image",
	// A tag is where a user's reference starts; judged is what it names.
	"entry annotations.org.opencontainers.image.ref.name": "a name for the digest that is judged",
}

// TestFlips flips every leaf of every document that a verdict rests on: once
// under the old name, so that the digest does not fit, and once as an attacker
// does who can write the store, so that all digests fit. Each must be refused.
func TestFlips(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	j := newTestJudge(t, home, verifyFlags{})
	byDigest, byTag := "oci:"+store+"@"+string(f.image), "oci:"+store
	for _, ref := range []string{byDigest, byTag} {
		if code, why := judged(t, j, ref); code != 0 {
			t.Fatalf("%s: exit %d before anything was done to it: %s", ref, code, why)
		}
	}
	undo := snapshot(t, store)
	excused := map[string]bool{}
	inPlace, readdressed := 0, 0
	refused := func(what, path, ref string) {
		t.Helper()
		code, why := judged(t, j, ref)
		key := what + " " + path
		if _, listed := restsOnNothing[key]; listed && code == 0 {
			excused[key] = true
		} else if code != 3 || why == "" {
			t.Errorf("%s: exit %d, want 3 with a reason: %s", key, code, why)
		}
		undo()
	}
	// eachLeaf calls use with the bytes of the document with one leaf flipped.
	eachLeaf := func(doc []byte, use func(path string, changed []byte)) {
		t.Helper()
		root := decoded(t, doc)
		for _, l := range leaves("", root, nil) {
			l.set(flipped(l.value))
			use(l.path, encoded(t, root))
			l.set(l.value)
		}
	}

	manifest := f.blob(f.image)
	eachLeaf(manifest, func(path string, b []byte) {
		inPlace++
		f.write(f.path(f.image), b)
		refused("image in place", path, byDigest)
		readdressed++
		forge(t, store).reimage(b)
		refused("image", path, byTag)
		// Who pins the digest gets the old image, and no evidence for it.
		forge(t, store).reimage(b)
		refused("image pinned", path, byDigest)
	})
	config := digestIn(f.object(f.image)["config"])
	eachLeaf(f.blob(config), func(path string, b []byte) {
		inPlace++
		f.write(f.path(config), b)
		refused("config in place", path, byDigest)
		readdressed++
		g, m := forge(t, store), f.object(f.image)
		d, size := g.put(b)
		m["config"].(object)["digest"], m["config"].(object)["size"] = string(d), size
		g.reimage(encoded(t, m))
		refused("config", path, byTag)
	})
	for i, e := range f.entries() {
		if digestIn(e) != f.image {
			continue
		}
		eachLeaf(encoded(t, e), func(path string, b []byte) {
			readdressed++
			entries := f.entries()
			entries[i] = decoded(t, b)
			f.setEntries(entries)
			refused("entry", path, byTag)
		})
	}
	for _, r := range f.required(f.image) {
		eachLeaf(f.blob(r.digest), func(path string, b []byte) {
			inPlace++
			f.write(f.path(r.digest), b)
			refused("referrer in place", path, byDigest)
			readdressed++
			f.replace(r.digest, b)
			refused("referrer", path, byDigest)
		})
		bundle := f.blob(r.bundle)
		eachLeaf(bundle, func(path string, b []byte) {
			inPlace++
			f.write(f.path(r.bundle), b)
			refused(r.typ.Name+" bundle in place", path, byDigest)
			readdressed++
			f.rebundle(r, b)
			refused(r.typ.Name+" bundle", path, byDigest)
		})
		eachLeaf(r.statement, func(path string, st []byte) {
			b := withPayload(t, bundle, st)
			inPlace++
			f.write(f.path(r.bundle), b)
			refused(r.typ.Name+" statement in place", path, byDigest)
			readdressed++
			f.rebundle(r, b)
			refused(r.typ.Name+" statement", path, byDigest)
		})
	}
	for key := range restsOnNothing {
		if !excused[key] {
			t.Errorf("%s is listed as what no verdict rests on, but its flip is refused: take it off the list", key)
		}
	}
	// What a small service has at least; fewer means that leaves were missed.
	if inPlace < 450 || readdressed < 450 {
		t.Errorf("only %d flips in place and %d with new digests", inPlace, readdressed)
	}
	t.Logf("%d flips in place, %d with new digests; %d leaves rest on nothing", inPlace, readdressed, len(excused))
}

// snapshot returns a function that puts a folder back as it was.
func snapshot(t testing.TB, dir string) func() {
	t.Helper()
	was := map[string]string{}
	walk := func(visit func(path string, b []byte)) {
		t.Helper()
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if !d.Type().IsRegular() {
				return os.Remove(path) // a pipe that a test put there
			}
			b, err := os.ReadFile(path)
			visit(path, b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	walk(func(path string, b []byte) { was[path] = string(b) })
	return func() {
		t.Helper()
		now := map[string]bool{}
		walk(func(path string, b []byte) {
			now[path] = true
			if old, ok := was[path]; !ok {
				os.Remove(path)
			} else if old != string(b) {
				if err := os.WriteFile(path, []byte(old), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
		for path, b := range was {
			if !now[path] {
				if err := os.WriteFile(path, []byte(b), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestTamperedStore breaks what is no field, by the command line: exit 3, and
// the reason names what is broken. Nothing of it may look like a crash.
func TestTamperedStore(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	undo := snapshot(t, store)
	config := digestIn(f.object(f.image)["config"])
	layers := f.object(f.image)["layers"].([]any)
	layer := digestIn(layers[len(layers)-1])
	provenance := f.of(f.image, evidence.Provenance)
	for name, c := range map[string]struct {
		do   func()
		args []string
		want string // in the reason
	}{
		"image manifest flipped":      {do: func() { f.flipByte(f.image) }, want: string(f.image)},
		"image manifest removed":      {do: func() { f.rm(f.image) }, want: string(f.image)},
		"image manifest is a pipe":    {do: func() { f.fifo(f.image) }, want: "not a regular file"},
		"image manifest is giant":     {do: func() { f.truncate(f.image, oci.MaxManifest+1) }, want: "more than"},
		"config flipped":              {do: func() { f.flipByte(config) }, want: "configuration"},
		"config removed":              {do: func() { f.rm(config) }, want: "configuration"},
		"config emptied":              {do: func() { f.truncate(config, 0) }, want: "configuration"},
		"index.json cut":              {do: func() { f.write(filepath.Join(store, "index.json"), []byte(`{"schemaVersion":2,`)) }, want: "index.json"},
		"index.json of another form":  {do: func() { f.write(filepath.Join(store, "index.json"), []byte(`{"schemaVersion":3}`)) }, want: "index.json"},
		"oci-layout of another form":  {do: func() { f.write(filepath.Join(store, "oci-layout"), []byte(`{}`)) }, want: "oci-layout"},
		"provenance manifest flipped": {do: func() { f.flipByte(provenance.digest) }, want: "provenance"},
		"provenance manifest removed": {do: func() { f.rm(provenance.digest) }, want: "provenance"},
		"provenance bundle flipped":   {do: func() { f.flipByte(provenance.bundle) }, want: "provenance"},
		"provenance bundle removed":   {do: func() { f.rm(provenance.bundle) }, want: "provenance"},
		"layer flipped":               {do: func() { f.flipByte(layer) }, args: []string{"--deep"}, want: string(layer)},
		"layer removed":               {do: func() { f.rm(layer) }, args: []string{"--deep"}, want: string(layer)},
		"layer cut":                   {do: func() { f.truncate(layer, 100) }, args: []string{"--deep"}, want: string(layer)},
	} {
		t.Run(name, func(t *testing.T) {
			defer undo()
			c.do()
			args := append([]string{"verify", "oci:" + store + "@" + string(f.image)}, c.args...)
			r := pathctl(t, home, args...)
			if r.code != 3 || !strings.Contains(r.stderr, c.want) {
				t.Errorf("exit %d, want 3 and a reason with %q:\n%s%s", r.code, c.want, r.stdout, r.stderr)
			}
			// For machines it is a gate as well.
			r = pathctl(t, home, append(args, "-o", "json")...)
			var doc struct {
				ExitCode int
				Gate     string
			}
			if err := json.Unmarshal([]byte(r.stderr), &doc); err != nil || r.code != 3 || doc.ExitCode != 3 || doc.Gate == "" {
				t.Errorf("-o json: exit %d: %s (%v)", r.code, r.stderr, err)
			}
			if slices.Contains(c.args, "--deep") {
				// Layers are what a run-time checks when it pulls; without --deep
				// they are not read.
				if r := pathctl(t, home, args[:2]...); r.code != 0 {
					t.Errorf("without --deep: exit %d\n%s", r.code, r.stderr)
				}
			}
		})
	}
	if r := pathctl(t, home, "verify", "oci:"+store, "--deep"); r.code != 0 {
		t.Fatalf("the store, put back as it was: exit %d\n%s", r.code, r.stderr)
	}
}
