package gomod_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
)

const (
	sumA = "h1:wk8382ETsv4JYUZwIsn6YpYiWiBsYLSJiTsyBybVuN8="
	sumB = "h1:pXiqmnSA92OHEEa9HXL2W4E7lf9JzCmGVUdgjX3N/iU="
)

func TestWriteRead(t *testing.T) {
	t.Parallel()
	in := []gomod.Module{{Path: "example.com/b", Version: "v1.0.0", Sum: sumA}, {Path: "example.com/a", Version: "v1.2.0", Sum: sumB}}
	var buf bytes.Buffer
	if err := gomod.Write(&buf, in); err != nil {
		t.Fatal(err)
	}
	got, err := gomod.Read(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]gomod.Module{in[1], in[0]}, got); d != "" {
		t.Error(d)
	}
	buf.Reset()
	if err := gomod.Write(&buf, nil); err != nil || buf.String() != "[]\n" {
		t.Errorf("no modules: %q, %v", buf.String(), err)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	one := `{"path":"example.com/a","version":"v1.0.0","sum":"` + sumA + `"}`
	for name, c := range map[string]struct{ in, want string }{
		"not JSON":  {"x", "list of modules"},
		"field":     {`[{"path":"example.com/a","version":"v1.0.0","sum":"` + sumA + `","x":1}]`, "unknown field"},
		"no sum":    {`[{"path":"example.com/a","version":"v1.0.0"}]`, "no h1 sum"},
		"sum":       {`[{"path":"example.com/a","version":"v1.0.0","sum":"h1:x"}]`, "no h1 sum"},
		"path":      {`[{"path":"../a","version":"v1.0.0","sum":"` + sumA + `"}]`, "../a"},
		"version":   {`[{"path":"example.com/a","version":"latest","sum":"` + sumA + `"}]`, "latest"},
		"repeated":  {"[" + one + "," + one + "]", "repeated"},
		"trailing":  {"[" + one + "] []", "more follows"},
		"too large": {"[" + strings.Repeat(" ", gomod.MaxFile) + "]", "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := gomod.Read(strings.NewReader(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %q", err, c.want)
			}
		})
	}
}

func TestParseSums(t *testing.T) {
	t.Parallel()
	sums, err := gomod.ParseSums([]byte("example.com/a v1.0.0 " + sumA + "\nexample.com/a v1.0.0/go.mod " + sumB + "\n\nexample.com/a v1.0.0 h2:other\n"))
	if err != nil || len(sums) != 2 {
		t.Errorf("sums = %v, %v", sums, err)
	}
	for _, bad := range []string{"example.com/a v1.0.0\n", "example.com/a v1.0.0 h1:short\n", "a v1 " + sumA + "\na v1 " + sumB + "\n"} {
		if _, err := gomod.ParseSums([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := gomod.Flags(dir); got != "-mod=readonly -buildvcs=false" {
		t.Errorf("flags = %q", got)
	}
	if err := os.MkdirAll(filepath.Join(dir, "vendor"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vendor", "modules.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := gomod.Flags(dir); got != "-mod=vendor -buildvcs=false" {
		t.Errorf("flags of a vendored source = %q", got)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`[{"path":"example.com/a","version":"v1.0.0","sum":"` + sumA + `"}]`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := gomod.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := gomod.Write(&buf, m); err != nil {
			t.Fatal(err)
		}
		again, err := gomod.Read(&buf)
		if err != nil || len(again) != len(m) {
			t.Fatalf("what was accepted can't be read again: %v", err)
		}
	})
}

func FuzzParseSums(f *testing.F) {
	f.Add([]byte("example.com/a v1.0.0 " + sumA + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sums, err := gomod.ParseSums(b)
		if err != nil {
			return
		}
		for k, v := range sums {
			if k.Path == "" || k.Version == "" || !strings.HasPrefix(v, "h1:") {
				t.Fatalf("accepted %v %q", k, v)
			}
		}
	})
}
