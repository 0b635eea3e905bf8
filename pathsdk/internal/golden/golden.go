// Package golden compares what a test made with a file under testdata that was
// reviewed as code. `go test -update` writes the files anew.
package golden

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update is a flag, and so lives as long as the test binary.
var update = flag.Bool("update", false, "write the golden files anew")

// Equal compares got with testdata/NAME of the current package, where NAME is
// that of the test, with ext at its end (such as ".json").
func Equal(t testing.TB, ext string, got []byte) {
	t.Helper()
	EqualFile(t, filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "_")+ext), got)
}

// EqualFile compares got with a file of its own name.
func EqualFile(t testing.TB, path string, got []byte) {
	t.Helper()
	if problem := compare(path, got, *update); problem != "" {
		t.Errorf("%s", problem)
	}
}

// compare says what is wrong, or, with update, writes the file.
func compare(path string, got []byte, update bool) string {
	if update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err.Error()
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			return err.Error()
		}
		return ""
	}
	want, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path + " does not exist; write it with: go test -update, and review it"
	}
	if err != nil {
		return err.Error()
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		return path + " differs; if that is meant, write it with: go test -update, and review it (-want +got):\n" + d
	}
	return ""
}
