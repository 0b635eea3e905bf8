// Package hostile helps tests that ship a hostile service: testdata/service is
// a Go module whose tests hunt for keys, poison caches and write where they
// should not, and print what they managed to do.
package hostile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Mark is in every file that Plant makes; the hunt recognises it.
const Mark = "PLANTED-FOR-THE-HUNT"

// Service is the folder of the hostile module, for tests of a package at that
// depth below pathsdk (steps/test has 2). Copy it before use: then go test sees
// that the test depends on its files, and the original stays as it is.
func Service(depth int) string {
	return filepath.Join(strings.Repeat("../", depth), "internal", "hostile", "testdata", "service")
}

// Deed is one thing that the service managed to do.
type Deed struct {
	// Verb is found, wrote, reached or touched.
	Verb string
	// What it was done to: a path, env:NAME, an address, a process.
	What string
}

var (
	deed   = regexp.MustCompile(`(?m)HOSTILE (found|wrote|reached|touched) ("(?:[^"\\]|\\.)*")`)
	hunted = regexp.MustCompile(`(?m)HOSTILE hunted ([^:\n]+): (\d+) attempts`)
)

// Deeds reads what the service printed, which may be mixed with other text.
func Deeds(output string) []Deed {
	var deeds []Deed
	for _, m := range deed.FindAllStringSubmatch(output, -1) {
		if what, err := strconv.Unquote(m[2]); err == nil && !slices.Contains(deeds, Deed{m[1], what}) {
			deeds = append(deeds, Deed{m[1], what})
		}
	}
	return deeds
}

// Hunts names the hunts that ran to their end, such as "lib init". Without one,
// an empty list of deeds means nothing.
func Hunts(output string) []string {
	var who []string
	for _, m := range hunted.FindAllStringSubmatch(output, -1) {
		if m[2] != "0" {
			who = append(who, m[1])
		}
	}
	slices.Sort(who)
	return who
}

// AllHunts are the hunts of one run of all tests of the service.
func AllHunts() []string {
	return []string{"hunt TestHunt", "hunt init", "lib TestAnswer", "lib init"}
}

// NothingDone fails the test unless every hunt ran and none had any success.
func NothingDone(t testing.TB, output string) {
	t.Helper()
	if got := Hunts(output); !slices.Equal(got, AllHunts()) {
		t.Errorf("these hunts ran: %q, want %q; output:\n%.4000s", got, AllHunts(), output)
	}
	for _, d := range Deeds(output) {
		t.Errorf("the hostile service %s %s", d.Verb, d.What)
	}
}

// Plant makes a paths home with keys, a step cache and a store, and returns a
// function that fails the test if anything of it changed.
func Plant(t testing.TB, home string) (intact func()) {
	t.Helper()
	for name, text := range map[string]string{
		"keys/attester.key":            "-----BEGIN PRIVATE KEY-----\n" + Mark + "\n-----END PRIVATE KEY-----\n",
		"keys/verifier.key":            "-----BEGIN PRIVATE KEY-----\n" + Mark + "\n-----END PRIVATE KEY-----\n",
		"keys/cache.key":               Mark,
		"trust.yaml":                   "# " + Mark + "\n",
		"cache/attest/00ff/output":     Mark,
		"cache/fetch/00ff/output":      Mark,
		"store/blobs/sha256/00ff":      Mark,
		"store/index.json":             `{"schemaVersion":2,"annotations":{"x":"` + Mark + `"}}`,
		"home-of-user/.ssh/id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----\n" + Mark + "\n",
	} {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	roots := []string{"keys", "trust.yaml", "cache/attest", "cache/fetch", "store", "home-of-user"}
	state := func() string {
		var b strings.Builder
		for _, r := range roots {
			fmt.Fprintf(&b, "%s:\n%s", r, tree(t, filepath.Join(home, r)))
		}
		entries, err := os.ReadDir(home)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b.WriteString(e.Name() + "\n")
		}
		return b.String()
	}
	before := state()
	return func() {
		t.Helper()
		if after := state(); after != before {
			t.Errorf("what was planted has changed; before:\n%s\nafter:\n%s", before, after)
		}
	}
}

// tree is a listing with digests.
func tree(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || d.IsDir() {
			fmt.Fprintln(&b, rel)
			return err
		}
		fmt.Fprintln(&b, rel, Digest(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Digest is the SHA-256 of a file in hexadecimal.
func Digest(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// CleanGoCache returns what in a Go build cache was not put there by the go
// command: an output whose name is not its own digest, an action entry of
// another form, and files with other names. n is the number of entries.
func CleanGoCache(t testing.TB, dir string) (problems []string, n int) {
	t.Helper()
	action := regexp.MustCompile(`^v1 [0-9a-f]{64} [0-9a-f]{64} [ 0-9]{20} [ 0-9]{20}\n$`)
	entry := regexp.MustCompile(`^[0-9a-f]{2}/[0-9a-f]{64}-[ad]$`)
	compiled := regexp.MustCompile(`^paths-compiled/([0-9a-f]{64}|lock)$`) // see gomod.Compile
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch base := filepath.Base(rel); {
		case slices.Contains([]string{"README", "trim.txt", "testexpire.txt"}, rel):
		case strings.Contains(rel, "-d/"): // the folder of a cached program
		case compiled.MatchString(rel):
			if info, err := d.Info(); err != nil || info.Size() > 0 {
				problems = append(problems, fmt.Sprintf("is not empty: %s: %v", rel, err))
			}
		case !entry.MatchString(rel):
			problems = append(problems, "is no entry: "+rel)
		case strings.HasSuffix(base, "-d"):
			n++
			if Digest(t, path)+"-d" != base {
				problems = append(problems, "is not what its name says: "+rel)
			}
		default:
			n++
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !action.Match(raw) {
				problems = append(problems, fmt.Sprintf("is no action: %s: %.80q", rel, raw))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return problems, n
}
