package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Locator is where an artifact is said to be: a repository of a registry or an
// OCI image layout, and perhaps a tag or a digest. It is what people type;
// Resolve turns it into a Ref.
type Locator struct {
	// Dir is the layout's folder; empty for a registry.
	Dir string
	// Repository is HOST/REPO; empty for a layout.
	Repository string
	// Tag and Digest may be empty. Where both are given the digest counts.
	Tag    string
	Digest step.Digest
}

// The forms are those of the distribution specification, "Pulling manifests".
const (
	tagForm  = `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`
	nameForm = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*`
)

// isTag compiles its pattern when it is needed: most runs of the command line
// need none.
func isTag(s string) bool { return regexp.MustCompile(`^` + tagForm + `$`).MatchString(s) }

// ParseLocator reads "oci:DIR[:TAG][@DIGEST]" or "HOST/REPO[:TAG][@DIGEST]". It
// touches the file system only to word a better error.
func ParseLocator(s string) (Locator, error) {
	if s == "" {
		return Locator{}, step.Usagef("the reference is empty: give oci:DIR[:TAG] or HOST/REPOSITORY[:TAG]")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return Locator{}, step.Usagef("reference %q has characters that can't be printed", s)
	}
	for _, p := range []string{"docker://", "oci://", "https://", "http://", "oci-layout:", "oci-archive:"} {
		if rest, ok := strings.CutPrefix(s, p); ok {
			return Locator{}, step.Usagef("reference %q: %s is not a way to write it here; a registry is HOST/REPOSITORY[:TAG] (%s), a layout oci:DIR[:TAG]", s, p, rest)
		}
	}
	var l Locator
	rest, layout := strings.CutPrefix(s, "oci:")
	// An '@' may be part of a folder's name; one before an algorithm is not.
	if i := strings.LastIndexByte(rest, '@'); i >= 0 && (!layout || strings.Contains(rest[i:], ":")) {
		d, err := step.ParseDigest(rest[i+1:])
		if err != nil {
			return Locator{}, step.Usagef("reference %q: %w", s, err)
		}
		rest, l.Digest = rest[:i], d
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') && (layout || strings.Contains(rest, "/")) {
		if !isTag(rest[i+1:]) {
			return Locator{}, step.Usagef("reference %q: %q is not a tag; a tag has letters, digits, '.', '_' and '-', at most 128", s, rest[i+1:])
		}
		rest, l.Tag = rest[:i], rest[i+1:]
	}
	if layout {
		if rest == "" {
			return Locator{}, step.Usagef("reference %q names no folder: write oci:DIR[:TAG]", s)
		}
		if strings.Contains(rest, ":") {
			return Locator{}, step.Usagef("reference %q: the folder's name may not have a ':'", s)
		}
		l.Dir = filepath.Clean(rest)
		return l, nil
	}
	repo, err := parseRepository(s, rest)
	l.Repository = repo
	return l, err
}

func parseRepository(s, rest string) (string, error) {
	host, path, _ := strings.Cut(rest, "/")
	if host == "localhost" {
		// Some tools take it for a repository of Docker Hub.
		return "", step.Usagef("reference %q: localhost needs a port, such as localhost:5000/%s", s, path)
	}
	isHost := strings.ContainsAny(host, ".:")
	looksLocal := host == "" || host == "." || host == ".." || host == "~"
	if looksLocal || !isHost || isLayout(rest) {
		if fi, err := os.Stat(rest); looksLocal || isLayout(rest) || (err == nil && fi.IsDir()) {
			return "", step.Usagef("reference %q is a folder, not a registry's: did you mean oci:%s ?", s, s)
		}
		if path == "" {
			path = "library/" + host
		} else {
			path = rest
		}
		return "", step.Usagef("reference %q names no registry: write HOST/REPOSITORY[:TAG], such as docker.io/%s, or oci:DIR for a layout", s, path)
	}
	if path == "" {
		return "", step.Usagef("reference %q names no repository: write HOST/REPOSITORY[:TAG]", s)
	}
	if !regexp.MustCompile(`^` + nameForm + `$`).MatchString(path) {
		return "", step.Usagef("reference %q: %q is not a repository's name; names are lower case, with single separators", s, path)
	}
	repo, err := name.NewRepository(rest, name.StrictValidation)
	if err != nil {
		return "", step.Usagef("reference %q: %w", s, err)
	}
	return repo.Name(), nil
}

func isLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, layoutFile))
	return err == nil
}

// IsLayout reports whether the locator names an OCI image layout.
func (l Locator) IsLayout() bool { return l.Dir != "" }

// Place is the locator without tag and digest.
func (l Locator) Place() string {
	if l.IsLayout() {
		return "oci:" + l.Dir
	}
	return l.Repository
}

// String is the form that ParseLocator reads.
func (l Locator) String() string {
	s := l.Place()
	if l.Tag != "" {
		s += ":" + l.Tag
	}
	if l.Digest != "" {
		s += "@" + string(l.Digest)
	}
	return s
}

// At returns the reference to a digest in the same place.
func (l Locator) At(d step.Digest) (Ref, error) {
	if _, err := step.ParseDigest(string(d)); err != nil {
		return Ref{}, fmt.Errorf("reference to %s: %w", l.Place(), err)
	}
	l.Digest, l.Tag = d, ""
	return Ref{l}, nil
}

// Ref is an artifact in a place, by digest. Only Locator.At makes one.
type Ref struct{ locator Locator }

// Locator returns the place, with the digest and without a tag.
func (r Ref) Locator() Locator { return r.locator }

// Digest is never empty.
func (r Ref) Digest() step.Digest { return r.locator.Digest }

// String is PLACE@DIGEST.
func (r Ref) String() string { return r.locator.String() }
