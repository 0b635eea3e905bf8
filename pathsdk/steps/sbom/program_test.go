package sbom

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spoil changes a copy of the program through its ELF header or one section.
func spoil(t testing.TB, change func(b []byte, f *elf.File, section func(name string) []byte)) []byte {
	t.Helper()
	b := bytes.Clone(program(t))
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	change(b, f, func(name string) []byte {
		for i, s := range f.Sections {
			if s.Name == name {
				off := binary.LittleEndian.Uint64(b[40:]) + uint64(i)*64
				return b[off : off+64]
			}
		}
		t.Fatalf("the program has no section %s", name)
		return nil
	})
	return b
}

func TestCheckELF(t *testing.T) {
	good := program(t)
	if err := checkELF(bytes.NewReader(good), int64(len(good)), defaultLimits().symbols); err != nil {
		t.Fatalf("a good program: %v", err)
	}
	le := binary.LittleEndian
	tests := []struct {
		name   string
		change func(b []byte, f *elf.File, section func(string) []byte)
		want   string
	}{
		{"segment beyond the end", func(b []byte, _ *elf.File, _ func(string) []byte) {
			le.PutUint64(b[le.Uint64(b[32:])+32:], 1<<50)
		}, "segment"},
		{"segment that wraps around", func(b []byte, _ *elf.File, _ func(string) []byte) {
			le.PutUint64(b[le.Uint64(b[32:])+8:], 1<<63)
			le.PutUint64(b[le.Uint64(b[32:])+32:], 1<<63)
		}, "segment"},
		{"section beyond the end", func(_ []byte, _ *elf.File, s func(string) []byte) { le.PutUint64(s(".text")[32:], 1<<40) }, "section"},
		{"compressed names", func(_ []byte, _ *elf.File, s func(string) []byte) { le.PutUint64(s(".shstrtab")[8:], 0x800) }, "compressed"},
		{"compressed symbols", func(_ []byte, _ *elf.File, s func(string) []byte) {
			le.PutUint32(s(".rodata")[4:], 2)
			le.PutUint64(s(".rodata")[8:], 0x800)
		}, "compressed"},
		{"headers of sections beyond the end", func(b []byte, _ *elf.File, _ func(string) []byte) { le.PutUint64(b[40:], uint64(len(b))-10) }, "table of headers"},
		{"headers of segments too small", func(b []byte, _ *elf.File, _ func(string) []byte) { le.PutUint16(b[54:], 8) }, "table of headers"},
		{"sections without number", func(b []byte, _ *elf.File, _ func(string) []byte) { le.PutUint16(b[60:], 0) }, "sections"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := spoil(t, tt.change)
			err := checkELF(bytes.NewReader(b), int64(len(b)), defaultLimits().symbols)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
	if err := checkELF(bytes.NewReader(good), int64(len(good)), 100); err == nil || !strings.Contains(err.Error(), "larger than 100") {
		t.Errorf("giant tables: %v", err)
	}
	if err := checkELF(strings.NewReader("\x7fELF"), 4, 100); err == nil {
		t.Error("a header that is cut off passes")
	}
}

func TestModules(t *testing.T) {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8 X:nodwarf5",
		Main:      debug.Module{Path: "a.example/main", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "b.example/b", Version: "v1.0.0"},
			{Path: "c.example/c", Version: "v1.0.0", Replace: &debug.Module{Path: "d.example/d", Version: "v2.0.0"}},
			{Path: "e.example/e", Version: "v1.0.0", Replace: &debug.Module{Path: "./e"}},
			nil,
		},
	}
	want := []module{
		{"a.example/main", "", "/f"}, {"b.example/b", "v1.0.0", "/f"}, {"d.example/d", "v2.0.0", "/f"},
		{"e.example/e", "", "/f"}, {"stdlib", "1.26.8", "/f"},
	}
	if diff := cmp.Diff(want, modules(info, "/f"), cmp.AllowUnexported(module{})); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

// FuzzReadProgram checks that no bytes make the reader of programs crash or
// hold more memory than the file has.
func FuzzReadProgram(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Add([]byte("MZ\x90\x00"))
	f.Add(program(f)[:4096])
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := newTree(defaultLimits())
		tr.spool = bytes.NewReader(b)
		n := &node{name: "f", parent: tr.root, kind: kindFile, size: int64(len(b))}
		copy(n.magic[:], b)
		if executable(n) {
			_, _ = readProgram(tr, n)
		}
	})
}

func FuzzReadPURL(f *testing.F) {
	f.Add("golang.org/x/mod", "v0.36.0")
	f.Add("github.com/BurntSushi/toml", "v2.0.0+incompatible")
	f.Add("a b/%2F@/?#c", "v1@2")
	f.Fuzz(func(t *testing.T, path, version string) {
		if path == "" || strings.Trim(path, "/") != path || strings.Contains(path, "//") || strings.ContainsAny(version, "/") || dirty(path+version) {
			return
		}
		for _, part := range strings.Split(path, "/") {
			if part == "." || part == ".." {
				return
			}
		}
		p, v, ok := readPURL(modulePURL(path, version))
		if !ok || p != path || v != version {
			t.Errorf("%q %q becomes %q and back %q %q", path, version, modulePURL(path, version), p, v)
		}
	})
}

func FuzzParseModules(f *testing.F) {
	f.Add([]byte(`[{"path":"golang.org/x/mod","version":"v0.36.0","sum":"h1:x"}]`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := parseModules(b)
		if err != nil {
			return
		}
		for _, m := range ms {
			if m.Path == "" || m.Version == "" || dirty(m.Path+m.Version) {
				t.Errorf("took %q %q", m.Path, m.Version)
			}
		}
	})
}
