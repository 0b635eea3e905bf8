package tree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/tree"
)

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// read returns the files and links below dir with their content, and "x" in
// front of what is executable.
func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(p)
			got[rel] = "-> " + target
			return err
		}
		b, err := os.ReadFile(p)
		if fi, _ := d.Info(); fi.Mode()&0o111 != 0 {
			b = append([]byte("x"), b...)
		}
		got[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSnapshotAndBack(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("d/", 40) + strings.Repeat("n", 120)
	files := map[string]string{
		"a/b.go": "b", "a.go": "a", "run.sh": "r", "ünï/çode": "u", long: "long", "empty": "",
		"link": "-> a/b.go", "up/link": "-> ../a", "dangling": "-> nothing/here", "chain": "-> up/link/b.go",
		".git/config": "no", "sub/.git": "no", "a/.paths/x": "no", ".gitignore": "*",
	}
	src := t.TempDir()
	write(t, src, files)
	if err := os.Chmod(filepath.Join(src, "run.sh"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(src, "void/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	d, err := tree.Snapshot(src, &buf, ".git", ".paths")
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(bytes.NewReader(buf.Bytes()))
	last := ""
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name <= last {
			t.Errorf("%s comes after %s", h.Name, last)
		}
		last = h.Name
		mode := int64(0o644)
		switch {
		case h.Name == "run.sh":
			mode = 0o755
		case h.Typeflag == tar.TypeSymlink:
			mode = 0o777
		}
		if h.Mode != mode || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s has mode %o, owner %d:%d %q, time %s", h.Name, h.Mode, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
	}
	dst := t.TempDir()
	old := syscall.Umask(0o077)
	err = tree.Extract(bytes.NewReader(buf.Bytes()), dst, tree.Limits{})
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for name, content := range files {
		if !strings.Contains(name, ".git/") && !strings.HasSuffix(name, ".git") && !strings.Contains(name, ".paths") {
			want[name] = content
		}
	}
	want["run.sh"] = "xr"
	if d := cmp.Diff(want, read(t, dst)); d != "" {
		t.Error(d)
	}
	if again, err := tree.Digest(dst); err != nil || again != d {
		t.Errorf("digest of the extracted tree = %s, %v, want %s", again, err, d)
	}
}

// TestDigestIsStable pins the form of the archive: a change of it would change
// the digest of everybody's source.
func TestDigestIsStable(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	write(t, src, map[string]string{"go.mod": "module x\n", "cmd/x/main.go": "package main\n", "l": "-> go.mod"})
	d, err := tree.Digest(src)
	if err != nil {
		t.Fatal(err)
	}
	if want := "sha256:43d77887570ea5f02ee590512d4bcff2e807f8443dac6b2fb1c4fffdcd0f446e"; string(d) != want {
		t.Errorf("digest = %s, want %s", d, want)
	}
}

func TestSnapshotRefuses(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	cases := map[string]struct {
		files map[string]string
		make  func(dir string) error
		want  string
	}{
		"absolute link":    {files: map[string]string{"l": "-> " + outside}, want: `"l" is a symbolic link to the absolute path`},
		"link out":         {files: map[string]string{"a/l": "-> ../../x"}, want: `"a/l" is a symbolic link to "../../x", outside`},
		"link out by link": {files: map[string]string{"d": "-> .", "l": "-> d/..", "e": "-> d/../x"}, want: `leads outside`},
		"link out and in":  {files: map[string]string{"l": "-> ../x/l"}, want: "outside"},
		"loop":             {files: map[string]string{"l": "-> l"}, want: "loop"},
		"not UTF-8":        {files: map[string]string{"a/\xff.go": "x"}, want: `\xff.go" is not a valid UTF-8 name`},
		"not UTF-8 target": {files: map[string]string{"l": "-> \xff"}, want: "UTF-8"},
		"pipe":             {make: func(d string) error { return syscall.Mkfifo(filepath.Join(d, "p"), 0o644) }, want: `"p" is a named pipe`},
		"deep":             {files: map[string]string{strings.Repeat("d/", 70) + "f": ""}, want: "deeper than 64"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, c.files)
			if c.make != nil {
				if err := c.make(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, err := tree.Digest(dir)
			var te *tree.Error
			if !errors.As(err, &te) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %q", err, c.want)
			}
		})
	}
}

type item struct {
	name, link string
	kind       byte
	content    string
	size       int64
}

func archive(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range items {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o4777, Size: int64(len(e.content))}
		if e.size != 0 {
			h.Size = e.size
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.content); err != nil {
			t.Fatal(err)
		}
	}
	tw.Flush()
	if err := tw.Close(); err != nil && items[len(items)-1].size == 0 {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		items  []item
		limits tree.Limits
		want   string
	}{
		"traversal":           {items: []item{{name: "../evil", content: "x"}}, want: "clean relative path"},
		"hidden traversal":    {items: []item{{name: "a/../../evil", content: "x"}}, want: "clean relative path"},
		"absolute":            {items: []item{{name: "/evil", content: "x"}}, want: "clean relative path"},
		"not clean":           {items: []item{{name: "./a", content: "x"}}, want: "clean relative path"},
		"name in PAX":         {items: []item{{name: "ü/../../evil", content: "x"}}, want: "clean relative path"},
		"not UTF-8":           {items: []item{{name: "\xff", content: "x"}}, want: "UTF-8"},
		"long":                {items: []item{{name: strings.Repeat("n", 1025), content: "x"}}, want: "longer than"},
		"folder":              {items: []item{{name: "d", kind: tar.TypeDir}}, want: "only files and symbolic links"},
		"hard link":           {items: []item{{name: "a", content: "x"}, {name: "b", kind: tar.TypeLink, link: "a"}}, want: "only files and symbolic links"},
		"device":              {items: []item{{name: "null", kind: tar.TypeChar}}, want: "only files and symbolic links"},
		"pipe":                {items: []item{{name: "p", kind: tar.TypeFifo}}, want: "only files and symbolic links"},
		"twice":               {items: []item{{name: "a", content: "x"}, {name: "a", content: "y"}}, want: "exist"},
		"file and folder":     {items: []item{{name: "a", content: "x"}, {name: "a/b", content: "y"}}, want: "a"},
		"absolute link":       {items: []item{{name: "l", kind: tar.TypeSymlink, link: "/etc"}}, want: "absolute"},
		"link out":            {items: []item{{name: "l", kind: tar.TypeSymlink, link: ".."}}, want: "outside"},
		"links out":           {items: []item{{name: "d", kind: tar.TypeSymlink, link: "."}, {name: "l", kind: tar.TypeSymlink, link: "d/.."}}, want: "outside"},
		"through a link":      {items: []item{{name: "l", kind: tar.TypeSymlink, link: "d"}, {name: "l/f", content: "x"}}, want: "l"},
		"link twice":          {items: []item{{name: "l", kind: tar.TypeSymlink, link: "d"}, {name: "l", kind: tar.TypeSymlink, link: "e"}}, want: "exist"},
		"too many":            {items: []item{{name: "a"}, {name: "b"}, {name: "c"}}, limits: tree.Limits{Entries: 2}, want: "more than 2 entries"},
		"too much":            {items: []item{{name: "a", content: "123"}, {name: "b", content: "45"}}, limits: tree.Limits{Bytes: 4}, want: "more than 4 bytes"},
		"declared too large":  {items: []item{{name: "a", size: 1 << 40, content: "x"}}, want: "more than"},
		"ends early":          {items: []item{{name: "a", size: 100, content: "x"}}, want: "EOF"},
		"limit can't be more": {items: []item{{name: "a", size: 1<<30 + 1, content: "x"}}, limits: tree.Limits{Bytes: 1 << 40}, want: "more than 1073741824 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			dst := filepath.Join(parent, "a", "b")
			if err := os.MkdirAll(dst, 0o755); err != nil {
				t.Fatal(err)
			}
			err := tree.Extract(bytes.NewReader(archive(t, c.items...)), dst, c.limits)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %q", err, c.want)
			}
			for name := range read(t, parent) {
				if !strings.HasPrefix(name, "a/b/") {
					t.Errorf("%s was written outside of the destination", name)
				}
			}
		})
	}
}

// FuzzExtract checks that whatever the archive is, nothing leaves the
// destination, by a file or through a link.
func FuzzExtract(f *testing.F) {
	for _, items := range [][]item{
		{{name: "a/b", content: "x"}, {name: "l", kind: tar.TypeSymlink, link: "a/b"}},
		{{name: "d", kind: tar.TypeSymlink, link: "."}, {name: "l", kind: tar.TypeSymlink, link: "d/.."}},
		{{name: "../x", content: "x"}},
		{{name: "ü/../../c", content: "x"}},
	} {
		f.Add(archive(f, items...))
	}
	f.Add([]byte("not an archive"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := t.TempDir()
		dst := filepath.Join(parent, "dst")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		err := tree.Extract(bytes.NewReader(b), dst, tree.Limits{Entries: 100, Bytes: 1 << 20})
		if entries, _ := os.ReadDir(parent); len(entries) != 1 {
			t.Fatalf("the archive left the destination: %v", entries)
		}
		if err != nil {
			return
		}
		filepath.WalkDir(dst, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			if real, err := filepath.EvalSymlinks(p); err == nil {
				if root, _ := filepath.EvalSymlinks(dst); real != root && !strings.HasPrefix(real, root+"/") {
					t.Fatalf("%s leads to %s", p, real)
				}
			}
			return nil
		})
		// What was accepted can be archived again.
		if _, err := tree.Digest(dst); err != nil {
			t.Fatal(err)
		}
	})
}
