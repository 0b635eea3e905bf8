package scan

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/openvex/go-vex/pkg/vex"
	"github.com/package-url/packageurl-go"
	"golang.org/x/mod/modfile"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxVEX bounds one OpenVEX document in bytes, maxStatements what it says.
const (
	maxVEX        = 4 << 20
	maxStatements = 10000
)

// vexDocs are the OpenVEX documents that apply, in the order given.
type vexDocs []*vex.VEX

// product is what the statements may be about.
type product struct {
	index    step.Digest
	manifest step.Digest
	module   string // path of the main module
	name     string // the SBOM's name of the image
}

// readVEX reads documents below the source; a symbolic link out of it is an
// error.
func readVEX(source string, paths []string) (vexDocs, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var docs vexDocs
	for _, p := range paths {
		doc, err := readDocument(root, p)
		if err != nil {
			return nil, step.Usagef("input \"vex\": %s: %w", p, err)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

func readDocument(root *os.Root, name string) (*vex.VEX, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxVEX+1))
	if err != nil {
		return nil, err
	}
	return parseVEX(b)
}

// parseVEX reads an OpenVEX document (version 0.2.0) and checks every statement:
// a wrong one must not silently apply to nothing.
func parseVEX(b []byte) (*vex.VEX, error) {
	if len(b) > maxVEX {
		return nil, fmt.Errorf("%w of %d bytes", errBounded, maxVEX)
	}
	doc, err := vex.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("not an OpenVEX document: %w", err)
	}
	switch {
	case !strings.HasPrefix(doc.Context, vex.Context):
		return nil, fmt.Errorf("not an OpenVEX document: its @context is %.60q, not %s", doc.Context, vex.ContextLocator())
	case doc.ID == "":
		return nil, fmt.Errorf("the document has no @id: give it one, findings refer to it")
	case doc.Timestamp == nil:
		return nil, fmt.Errorf("the document has no timestamp")
	case len(doc.Statements) > maxStatements:
		return nil, fmt.Errorf("more than %d statements", maxStatements)
	}
	for i := range doc.Statements {
		s := &doc.Statements[i]
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		if s.Vulnerability.Name == "" && s.Vulnerability.ID == "" {
			return nil, fmt.Errorf("statement %d names no vulnerability", i+1)
		}
		if len(s.Products) == 0 {
			return nil, fmt.Errorf("statement %d names no product: give a purl of the package, or the image with the package as subcomponent", i+1)
		}
	}
	return doc, nil
}

// statement returns what the newest statement about a finding says.
func (docs vexDocs) statement(f Finding, p product) *VEX {
	var found *vex.Statement
	var doc *vex.VEX
	var newest time.Time
	for _, d := range docs {
		for i := range d.Statements {
			s := &d.Statements[i]
			if !aboutVulnerability(s, f) || !aboutPackage(s, f, p) {
				continue
			}
			// Of several at one time the last one counts.
			if at := statedAt(s, d); found == nil || !at.Before(newest) {
				found, doc, newest = s, d, at
			}
		}
	}
	if found == nil {
		return nil
	}
	return &VEX{
		Status: string(found.Status), Justification: string(found.Justification),
		Statement: cmp.Or(found.ImpactStatement, found.ActionStatement, found.StatusNotes),
		Document:  doc.ID, Author: doc.Author,
	}
}

// statedAt is when a statement was known to be true: its own times, or else the
// document's (OpenVEX specification, "Inheritance").
func statedAt(s *vex.Statement, d *vex.VEX) time.Time {
	for _, t := range []*time.Time{s.LastUpdated, s.Timestamp, d.LastUpdated, d.Timestamp} {
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

func aboutVulnerability(s *vex.Statement, f Finding) bool {
	for _, id := range append([]string{f.ID}, f.Aliases...) {
		// An @id is often the address of a page that ends with the id.
		if s.Vulnerability.Matches(id) || (s.Vulnerability.ID != "" && path.Base(s.Vulnerability.ID) == id) {
			return true
		}
	}
	return false
}

// aboutPackage matches the two ways to write a statement: about the package
// itself, or about the image (or its main module), perhaps for certain
// packages in it only.
func aboutPackage(s *vex.Statement, f Finding, p product) bool {
	for i := range s.Products {
		prod := &s.Products[i]
		if f.PURL != "" && prod.Component.Matches(f.PURL) && len(prod.Subcomponents) == 0 {
			return true
		}
		if !p.is(&prod.Component) {
			continue
		}
		if len(prod.Subcomponents) == 0 {
			return true
		}
		for j := range prod.Subcomponents {
			if f.PURL != "" && prod.Subcomponents[j].Component.Matches(f.PURL) {
				return true
			}
		}
	}
	return false
}

// is reports whether a component stands for the image.
func (p product) is(c *vex.Component) bool {
	for algorithm, h := range c.Hashes {
		if algorithm == vex.SHA256 && (string(h) == p.index.Hex() || string(h) == p.manifest.Hex()) {
			return true
		}
	}
	ids := []string{c.ID}
	if id, ok := c.Identifiers[vex.PURL]; ok {
		ids = append(ids, id)
	}
	for _, id := range ids {
		if p.isPURL(id) {
			return true
		}
	}
	return false
}

func (p product) isPURL(id string) bool {
	if !strings.HasPrefix(id, "pkg:") {
		return false
	}
	u, err := packageurl.FromString(id)
	if err != nil {
		return false
	}
	switch u.Type {
	case packageurl.TypeOCI:
		// The version of an OCI purl is the digest; one without is any.
		if u.Version != "" {
			return u.Version == string(p.index) || u.Version == string(p.manifest)
		}
		return p.name != "" && strings.EqualFold(u.Name, path.Base(p.name))
	case packageurl.TypeGolang:
		return p.module != "" && path.Join(u.Namespace, u.Name) == p.module
	}
	return false
}

// modulePath is the path of the source's main module; empty if there is none.
func modulePath(source string) string {
	root, err := os.OpenRoot(source)
	if err != nil {
		return ""
	}
	defer root.Close()
	f, err := root.Open("go.mod")
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return ""
	}
	return modfile.ModulePath(b)
}
