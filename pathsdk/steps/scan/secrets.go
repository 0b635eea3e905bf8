package scan

import (
	"bytes"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/aquasecurity/trivy/pkg/fanal/secret"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// limits bound the secret scan; reaching one is recorded as truncation.
type limits struct {
	text    int64 // largest text file in bytes
	binary  int64 // largest binary file whose strings are looked at
	files   int   // files of the source, or entries of one layer
	content int64 // bytes of the source, or of all unpacked layers
}

func defaults() limits {
	return limits{text: 5 << 20, binary: 1 << 20, files: 500_000, content: 8 << 30}
}

// secretResults holds what was found, by manifest; the source's is under "".
type secretResults map[step.Digest]secretResult

type secretResult struct {
	secrets  []Secret
	coverage Coverage
}

func (r secretResults) of(d step.Digest) secretResult { return r[d] }

// rules are trivy's built-in ones. Making the scanner writes to variables of
// its package, so it is made once, and only when there is something to scan.
var rules = sync.OnceValue(func() secret.Scanner { return secret.NewScanner(nil) })

// skippedFiles are full of checksums; skippedTypes are compressed. In either
// the rules find nothing but false alarms.
var (
	skippedFiles = []string{"go.sum", "go.work.sum", "package-lock.json", "yarn.lock", "pnpm-lock.yaml", "Cargo.lock"}
	skippedTypes = []string{
		".jpg", ".jpeg", ".png", ".gif", ".webp", ".ico", ".woff", ".woff2", ".ttf", ".pdf",
		".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".jar", ".mp3", ".mp4", ".wasm",
	}
)

// minSecret is the smallest file that any rule could match.
const minSecret = 10

// worthwhile decides by name and size; the name is relative, with slashes.
func (l limits) worthwhile(name string, size int64) bool {
	return size >= minSecret && size <= l.text &&
		!slices.Contains(skippedFiles, path.Base(name)) &&
		!slices.Contains(skippedTypes, strings.ToLower(path.Ext(name)))
}

// scanFile looks at one file's content; false means that it was skipped.
func (l limits) scanFile(target, name string, content []byte) ([]Secret, bool) {
	scanner := rules()
	if scanner.AllowPath(name) {
		return nil, false
	}
	binary := isBinary(content)
	if binary {
		if int64(len(content)) > l.binary {
			return nil, false
		}
		content = printable(content)
	}
	var found []Secret
	for _, f := range scanner.Scan(secret.ScanArgs{FilePath: name, Content: bytes.NewReader(content), Binary: binary}).Findings {
		s := Secret{
			Rule: f.RuleID, Severity: strings.ToLower(f.Severity), Title: f.Title,
			Target: target, File: strings.ToValidUTF8(name, "\ufffd"), Line: f.StartLine,
		}
		if binary {
			s.Line = 0
		}
		found = append(found, s)
	}
	return found, true
}

// isBinary judges as git does: by a NUL byte near the start.
func isBinary(b []byte) bool {
	return bytes.IndexByte(b[:min(len(b), 8000)], 0) >= 0
}

// printable keeps runs of at least eight printable characters, one a line.
func printable(b []byte) []byte {
	var out []byte
	start := -1
	for i := 0; i <= len(b); i++ {
		if i < len(b) && (b[i] >= ' ' && b[i] < 0x7f || b[i] == '\t') {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 && i-start >= 8 {
			out = append(append(out, b[start:i]...), '\n')
		}
		start = -1
	}
	return out
}

// readAll reads at most limit bytes; more is an error.
func readAll(r io.Reader, size, limit int64) ([]byte, error) {
	buf := bytes.NewBuffer(make([]byte, 0, min(max(size, 0)+bytes.MinRead, limit+bytes.MinRead)))
	n, err := buf.ReadFrom(io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = errBounded
	}
	return buf.Bytes(), err
}
