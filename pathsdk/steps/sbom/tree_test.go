package sbom

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func keep(*node, io.Reader) error { return nil }

func dir(name string) entryFile  { return entryFile{name: name, typ: tar.TypeDir, mode: 0o755} }
func text(name string) entryFile { return entryFile{name: name, data: []byte(name)} }
func link(name, target string) entryFile {
	return entryFile{name: name, typ: tar.TypeSymlink, target: target}
}

func TestLayers(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]entryFile
		want   string // regular files, with the path that leads to them when it is another
	}{
		{"later wins", [][]entryFile{{text("a"), text("b")}, {text("a")}}, "/a /b"},
		{"whiteout", [][]entryFile{{text("d/a"), text("d/b")}, {text("d/.wh.a")}}, "/d/b"},
		{"whiteout of a folder", [][]entryFile{{text("d/e/a"), text("b")}, {text(".wh.d")}}, "/b"},
		{"whiteout spares its own layer", [][]entryFile{{text("d/a")}, {text("d/.wh.b"), text("d/b"), text(".wh.d")}}, "/d/b"},
		{"whiteout of what isn't there", [][]entryFile{{text("a")}, {text(".wh.b"), text("x/.wh.y")}}, "/a"},
		{"opaque", [][]entryFile{{text("d/a"), text("d/e/b")}, {text("d/c"), text("d/.wh..wh..opq")}}, "/d/c"},
		{"file over folder", [][]entryFile{{text("d/a")}, {text("d")}}, "/d"},
		{"folder over file", [][]entryFile{{text("d")}, {dir("d"), text("d/a")}}, "/d/a"},
		{"folder again keeps what is in it", [][]entryFile{{text("d/a")}, {dir("d")}}, "/d/a"},
		{"below a file", [][]entryFile{{text("d")}, {text("d/a")}}, "/d"},
		{"through a linked folder", [][]entryFile{{dir("usr/lib"), link("lib", "usr/lib")}, {text("lib/a")}}, "/lib>/usr/lib/a? /usr/lib/a"},
		{"link to a file", [][]entryFile{{text("a"), link("b", "/a"), link("d/c", "../b")}}, "/a /b>/a /d/c>/a"},
		{"link out of the image", [][]entryFile{{text("a"), link("b", "../../../../a")}}, "/a /b>/a"},
		{"circle", [][]entryFile{{link("a", "b"), link("b", "a"), link("c", "c/c"), text("c/d"), text("e")}}, "/e"},
		{"hard link", [][]entryFile{{text("a")}, {{name: "b", typ: tar.TypeLink, target: "a"}, {name: "c", typ: tar.TypeLink, target: "gone"}}}, "/a /b"},
		{"device hides", [][]entryFile{{text("a")}, {{name: "a", typ: tar.TypeChar}}}, ""},
		{"traversal stays inside", [][]entryFile{{text("../../etc/a"), text("/b/../../c")}}, "/c /etc/a"},
		{"the root itself", [][]entryFile{{dir("./"), text("a")}}, "/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTree(defaultLimits())
			for i, l := range tt.layers {
				if err := tr.apply(fmt.Sprint("sha256:", i), tar.NewReader(bytes.NewReader(tarOf(t, l...))), keep); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, f := range newResolver(tr).files {
				s := f.access
				if p := f.node.path(); p != s {
					s += ">" + p
				}
				got = append(got, s)
			}
			var want []string
			for _, w := range strings.Fields(tt.want) {
				if !strings.HasSuffix(w, "?") { // a linked folder is no file
					want = append(want, w)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTreeLimits(t *testing.T) {
	long := strings.Repeat("d/", 40)
	var maze []entryFile
	for i := range 30 {
		maze = append(maze, link(fmt.Sprint("l", i), strings.Repeat(fmt.Sprintf("l%d/../", i+1), 20)))
	}
	maze = append(maze, text("l30"))
	churn := [][]entryFile{{}, {}}
	for i := range 100 {
		churn[0] = append(churn[0], text(fmt.Sprintf("d/%d/f", i)))
		churn[1] = append(churn[1], text("d/.wh..wh..opq"), text(fmt.Sprintf("d/%d/.wh..wh..opq", i)), text(fmt.Sprintf("d/%d/g", i)))
	}
	tests := []struct {
		name   string
		limit  func(*limits)
		layers [][]entryFile
		want   string
	}{
		{"files", func(l *limits) { l.entries = 3 }, [][]entryFile{{text("a"), text("b")}, {text("c"), text("d")}}, "more than 3 files"},
		{"folders that no entry names", func(l *limits) { l.entries = 30 }, [][]entryFile{{text(long + "f")}}, "more than 30 files"},
		{"names", func(l *limits) { l.names = 20 }, [][]entryFile{{text("abcdefgh"), text("ijklmnop"), text("qrstuvwx")}}, "file names"},
		{"names of links", func(l *limits) { l.names = 20 }, [][]entryFile{{link("a", strings.Repeat("x", 30)), text("b")}}, "file names"},
		{"one name", func(l *limits) { l.path = 10 }, [][]entryFile{{text("abcdefghijklmn")}}, "longer than 10"},
		{"a path through links", func(l *limits) { l.path = 100 }, [][]entryFile{{dir(long), link("a", long), text("a/" + long + "f")}}, "longer than 100"},
		{"content", func(l *limits) { l.unpacked = 10 }, [][]entryFile{{{name: "a", data: make([]byte, 6)}}, {{name: "b", data: make([]byte, 6)}}}, "unpacks to more than 10"},
		{"replacing", func(l *limits) { l.visits = 500 }, churn, errTooComplex.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lim := defaultLimits()
			tt.limit(&lim)
			tr := newTree(lim)
			var err error
			for _, l := range tt.layers {
				if err = tr.apply("sha256:0", tar.NewReader(bytes.NewReader(tarOf(t, l...))), keep); err != nil {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
	t.Run("maze of links", func(t *testing.T) {
		lim := defaultLimits()
		tr := newTree(lim)
		if err := tr.apply("sha256:0", tar.NewReader(bytes.NewReader(tarOf(t, maze...))), keep); err != nil {
			t.Fatal(err)
		}
		newResolver(tr)
		if n := tr.steps.Load(); n > 1_000_000 {
			t.Errorf("followed %d path elements for 31 names", n)
		}
	})
}

func TestGlob(t *testing.T) {
	tr := newTree(defaultLimits())
	l := tarOf(t, text("lib/apk/db/installed"), text("var/lib/dpkg/status.d/a"), text("var/lib/dpkg/status.d/b"), link("x/installed", "/lib/apk/db/installed"), text("usr/lib/sysimage/rpm/rpmdb.sqlite"))
	if err := tr.apply("sha256:0", tar.NewReader(bytes.NewReader(l)), keep); err != nil {
		t.Fatal(err)
	}
	r := newResolver(tr)
	for pattern, want := range map[string]string{
		"**/lib/apk/db/installed":                           "/lib/apk/db/installed",
		"**/lib/dpkg/status.d/*":                            "/var/lib/dpkg/status.d/a /var/lib/dpkg/status.d/b",
		"**/installed":                                      "/lib/apk/db/installed",
		"/lib/apk/db/installed":                             "/lib/apk/db/installed",
		"**/{usr/lib/sysimage}/rpm/{Packages,rpmdb.sqlite}": "/usr/lib/sysimage/rpm/rpmdb.sqlite",
		"**/nothing":                                        "",
		"[":                                                 "",
	} {
		ls, err := r.FilesByGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range ls {
			got = append(got, l.RealPath)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s finds %q, want %q", pattern, s, want)
		}
	}
}

// FuzzLayers feeds any bytes as two layers.
func FuzzLayers(f *testing.F) {
	f.Add(tarOf(f, text("a"), link("b", "a"), dir("d")), tarOf(f, text(".wh.a"), text("d/.wh..wh..opq"), link("d", "d/d")))
	f.Add([]byte("no archive"), []byte{})
	lim := defaultLimits()
	lim.entries, lim.unpacked, lim.steps = 1000, 1<<20, 1_000_000
	f.Fuzz(func(t *testing.T, a, b []byte) {
		tr := newTree(lim)
		for _, l := range [][]byte{a, b} {
			if err := tr.apply("sha256:0", tar.NewReader(bytes.NewReader(l)), keep); err != nil {
				break
			}
		}
		for _, found := range newResolver(tr).files {
			if n := tr.lookup(found.access, true); n != found.node && tr.steps.Load() <= lim.steps {
				t.Errorf("%q leads elsewhere the second time", found.access)
			}
		}
	})
}
