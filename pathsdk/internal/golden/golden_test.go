package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "x.json")
	if p := compare(path, []byte("a\n"), false); !strings.Contains(p, "does not exist; write it with: go test -update") {
		t.Errorf("without a file: %q", p)
	}
	if p := compare(path, []byte("a\n"), true); p != "" {
		t.Fatal(p)
	}
	if p := compare(path, []byte("a\n"), false); p != "" {
		t.Errorf("the same: %q", p)
	}
	if p := compare(path, []byte("b\n"), false); !strings.Contains(p, "differs") || !strings.Contains(p, "+") {
		t.Errorf("other content: %q", p)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "a\n" {
		t.Errorf("comparing changed the file: %q, %v", b, err)
	}
	if p := compare(filepath.Dir(path), nil, false); p == "" {
		t.Error("a folder is equal to nothing")
	}
}

func TestEqual(t *testing.T) {
	t.Run("of a subtest", func(t *testing.T) { Equal(t, ".txt", []byte("tea\n")) })
}
