package sbom

import (
	"bytes"
	"context"
	"database/sql"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/pkg"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const alpineRelease = `NAME="Alpine Linux"
ID=alpine
VERSION_ID=3.20.1
PRETTY_NAME="Alpine Linux v3.20"
HOME_URL="https://alpinelinux.org/"
`

const alpineDB = `C:Q1abc=
P:musl
V:1.2.5-r0
A:x86_64
S:1
I:1
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
F:lib
R:ld-musl-x86_64.so.1

P:ssl_client
V:1.36.1-r29
A:x86_64
T:External ssl_client for busybox wget
U:https://busybox.net/
L:GPL-2.0-only
o:busybox
D:so:libc.musl-x86_64.so.1

`

const debianStatus = `Package: libssl3
Status: install ok installed
Source: openssl (3.0.11-1)
Architecture: amd64
Version: 3.0.11-1~deb12u2
Maintainer: nobody
Description: text

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2024a-0
Description: text

`

// ship runs the step on an image of these layers, and validates what it writes.
func ship(t *testing.T, s step.Step, layers ...[]byte) (Out, []byte) {
	t.Helper()
	layout, d := store(t, imageOf(t, "amd64", layers...))
	out, ev, err := runStep(t, s, newEnv(t), inputsFor(t, layout, d))
	if err != nil {
		t.Fatal(err)
	}
	validate(t, ev[0].Predicate, ev[1].Predicate)
	for _, e := range ev {
		for _, r := range string(e.Predicate) {
			if unprintable(r) {
				t.Fatalf("%s has the character %U", e.Type, r)
			}
		}
	}
	return out, ev[1].Predicate
}

func TestDistributions(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]entryFile
		want   []string
		text   []string // what the document must say besides
	}{
		{
			"alpine",
			[][]entryFile{{{name: "etc/os-release", data: []byte(alpineRelease)}, {name: "lib/apk/db/installed", data: []byte(alpineDB)}}},
			[]string{"alpine@3.20.1", "musl@1.2.5-r0", "ssl_client@1.36.1-r29"},
			[]string{`"pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1"`, `{"name":"aquasecurity:trivy:SrcName","value":"busybox"}`},
		},
		{
			"alpine below a link",
			[][]entryFile{{dir("usr/lib"), link("lib", "usr/lib"), {name: "etc/os-release", data: []byte(alpineRelease)}, {name: "lib/apk/db/installed", data: []byte(alpineDB)}}},
			[]string{"alpine@3.20.1", "musl@1.2.5-r0", "ssl_client@1.36.1-r29"}, nil,
		},
		{
			"removed by a later layer",
			[][]entryFile{{{name: "etc/os-release", data: []byte(alpineRelease)}, {name: "lib/apk/db/installed", data: []byte(alpineDB)}}, {text("lib/apk/.wh.db")}},
			[]string{"alpine@3.20.1"}, nil,
		},
		{
			"debian",
			[][]entryFile{{{name: "etc/os-release", data: []byte("ID=debian\nVERSION_ID=\"12\"\n")}, {name: "var/lib/dpkg/status", data: []byte(debianStatus)}}},
			[]string{"debian@12", "libssl3@3.0.11-1~deb12u2", "tzdata@2024a-0"},
			[]string{`{"name":"aquasecurity:trivy:SrcName","value":"openssl"}`, `{"name":"aquasecurity:trivy:SrcVersion","value":"3.0.11-1"}`},
		},
		{
			"debian whose programs are listed by a linked folder",
			[][]entryFile{{
				dir("usr/bin"), link("bin", "usr/bin"), {name: "usr/bin/true", data: anotherProgram(), mode: 0o755},
				{name: "etc/os-release", data: []byte("ID=debian\nVERSION_ID=\"12\"\n")},
				{name: "var/lib/dpkg/status", data: []byte("Package: coreutils\nStatus: install ok installed\nArchitecture: amd64\nVersion: 9.1-1\n\n")},
				{name: "var/lib/dpkg/info/coreutils.md5sums", data: []byte("d41d8cd98f00b204e9800998ecf8427e  bin/true\n")},
			}},
			[]string{"coreutils@9.1-1", "debian@12"}, nil,
		},
		{
			"distroless debian",
			[][]entryFile{{{name: "etc/os-release", data: []byte("ID=debian\nVERSION_ID=\"12\"\n")}, {name: "var/lib/dpkg/status.d/tzdata", data: []byte("Package: tzdata\nVersion: 2024a-0\nArchitecture: all\n")}}},
			[]string{"debian@12", "tzdata@2024a-0"}, nil,
		},
		{
			"red hat",
			[][]entryFile{{{name: "etc/os-release", data: []byte("ID=rhel\nVERSION_ID=\"9.4\"\n")}, {name: "var/lib/rpm/rpmdb.sqlite", data: rpmDB(t, "bash", "5.1.8", "9.el9")}}},
			[]string{"bash@5.1.8-9.el9", "rhel@9.4"},
			[]string{`pkg:rpm/redhat/bash@5.1.8-9.el9?arch=x86_64&distro=rhel-9.4&upstream=bash-5.1.8-9.el9.src.rpm`},
		},
		{
			"interpreters",
			[][]entryFile{{
				{name: "usr/lib/python3/dist-packages/six-1.16.0.dist-info/METADATA", data: []byte("Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n")},
				{name: "srv/node_modules/left-pad/package.json", data: []byte(`{"name":"left-pad","version":"1.3.0"}`)},
			}},
			[]string{"left-pad@1.3.0", "six@1.16.0"}, nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range tt.layers {
				layers = append(layers, tarOf(t, l...))
			}
			_, cdx := ship(t, New(), layers...)
			if diff := cmp.Diff(tt.want, names(t, cdx)); diff != "" {
				t.Errorf("components (-want +got):\n%s", diff)
			}
			if n := notes(t, cdx); len(n) > 0 {
				t.Errorf("notes %q", n)
			}
			for _, s := range tt.text {
				if !bytes.Contains(cdx, []byte(s)) {
					t.Errorf("the document lacks %s", s)
				}
			}
		})
	}
}

func TestNotes(t *testing.T) {
	good := program(t)
	tests := []struct {
		name  string
		files []entryFile
		want  []string
	}{
		{"archive of Java", []entryFile{{name: "app.JAR", data: []byte("PK")}}, []string{"/app.JAR: a Java archive, not examined"}},
		{"executable of nobody", []entryFile{{name: "tool", data: anotherProgram(), mode: 0o755}}, []string{"/tool: an executable that belongs to no package and has no build information"}},
		{"cut off program", []entryFile{{name: "tool", data: good[:len(good)/2], mode: 0o755}}, []string{"/tool: an executable that is malformed"}},
		{"bomb in the table of names", []entryFile{{name: "tool", data: spoil(t, compressNames), mode: 0o755}}, []string{"/tool: an executable that is malformed: a symbol or string table is compressed"}},
		{"packed program", []entryFile{{name: "tool", data: append(anotherProgram(), "UPX!\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...), mode: 0o755}}, []string{"/tool: an executable that belongs to no package"}},
		{"rpm database that is none", []entryFile{{name: "var/lib/rpm/rpmdb.sqlite", data: []byte("SQLite format 3\x00 and nothing else")}}, []string{"cataloger rpm: /var/lib/rpm/rpmdb.sqlite: "}},
		{"old rpm database that is none", []entryFile{{name: "var/lib/rpm/Packages", data: bytes.Repeat([]byte{0x61, 0x15, 0x06, 0}, 4096)}}, []string{"cataloger rpm: /var/lib/rpm/Packages: "}},
		{"apk database that is none", []entryFile{{name: "lib/apk/db/installed", data: []byte("nonsense\n\n")}}, []string{"cataloger apk: "}},
		{"package.json that is none", []entryFile{{name: "node_modules/x/package.json", data: []byte("{")}}, []string{"cataloger npm: "}},
		{"nested package.json", []entryFile{{name: "node_modules/x/package.json", data: bytes.Repeat([]byte("["), 1<<20)}}, []string{"cataloger npm: "}},
		{"control characters in a path", []entryFile{{name: "a\x1b[31m\u202e\xff.jar"}}, []string{"/a\ufffd[31m\ufffd\ufffd.jar: a Java archive"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, cdx := ship(t, New(), tarOf(t, tt.files...), service(t))
			got := notes(t, cdx)
			if len(got) != len(tt.want) || out.Notes != len(got) {
				t.Fatalf("notes %q, want %q", got, tt.want)
			}
			for i, w := range tt.want {
				if !strings.HasPrefix(got[i], w) {
					t.Errorf("note %q, want %q", got[i], w)
				}
			}
			if !slices.Contains(names(t, cdx), "golang.org/x/mod@v0.36.0") {
				t.Error("what could be examined is gone")
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	content := map[string][]entryFile{
		"records": {{name: "usr/lib/apk/db/installed", data: []byte(strings.Repeat("P:a\nV:1\n\n", 200_000))}},
	}
	for i := range 20 {
		content["files of packages"] = append(content["files of packages"], entryFile{name: fmt.Sprintf("d%d/package.json", i), data: []byte("{}")})
	}
	tests := []struct {
		name  string
		limit func(*limits)
		want  string // of the error; empty wants a note
		note  string
	}{
		{"bomb", func(l *limits) { l.unpacked = 1 << 20 }, "unpacks to more than 1048576 bytes", ""},
		{"layers", func(l *limits) { l.layers = 1 }, "2 layers, more than the limit of 1", ""},
		{"packages", func(l *limits) { l.packages = 1 }, "more than 1 packages", ""},
		{"links", func(l *limits) { l.steps = 3 }, errTooComplex.Error(), ""},
		{"records", func(l *limits) { l.packages = 50 }, "", "cataloger apk: "},
		{"files of packages", func(l *limits) { l.packages = 10 }, "files that describe packages", ""},
		{"file", func(l *limits) { l.file = 1 << 10 }, "", "/ko-app/hello: larger than 1024 bytes, not examined"},
		{"database", func(l *limits) { l.text = 100 }, "", "cataloger apk: "},
		{"slow cataloger", func(l *limits) { l.cataloger = time.Nanosecond }, "sbom completeness", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lim := defaultLimits()
			tt.limit(&lim)
			layout, d := store(t, imageOf(t, "amd64", tarOf(t, append(content[tt.name], entryFile{name: "lib/apk/db/installed", data: []byte(alpineDB)})...), service(t)))
			env := newEnv(t)
			_, ev, err := runStep(t, define(catalogers, lim), env, inputsFor(t, layout, d))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error about %q", err, tt.want)
				}
			} else if err != nil || !slices.ContainsFunc(notes(t, ev[1].Predicate), func(n string) bool { return strings.HasPrefix(n, tt.note) }) {
				t.Errorf("got %v, want the note %q", err, tt.note)
			}
			if left := must(os.ReadDir(env.Work))(t); len(left) > 0 {
				t.Errorf("%s is left behind", left[0].Name())
			}
		})
	}
}

// TestGzipBomb unpacks at most what the limit allows, of a layer that is a
// thousand times smaller.
func TestGzipBomb(t *testing.T) {
	lim := defaultLimits()
	lim.unpacked, lim.file = 64<<20, 32<<20
	var files []entryFile
	zeros := make([]byte, 30<<20)
	for _, name := range []string{"a", "b", "c"} {
		files = append(files, entryFile{name: name, data: zeros})
	}
	layout, d := store(t, imageOf(t, "amd64", tarOf(t, files...)))
	_, _, err := runStep(t, define(catalogers, lim), newEnv(t), inputsFor(t, layout, d))
	if err == nil || !strings.Contains(err.Error(), "unpacks to more than") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// TestHostileNames: two programs whose names are the same once they are text,
// and a program whose build information is made to be misread.
func TestHostileNames(t *testing.T) {
	evil := bytes.ReplaceAll(program(t), []byte("golang.org/x/sync\tv0.20.0"), []byte("{a,b}{c,d}\x1b[31m\xff?\tv0.20.0"))
	if bytes.Equal(evil, program(t)) {
		t.Fatal("the program doesn't name the module")
	}
	layer := tarOf(t,
		entryFile{name: "bin/\xff", data: program(t), mode: 0o755},
		entryFile{name: "bin/\xfe", data: evil, mode: 0o755})
	_, cdx := ship(t, New(), layer)
	got := names(t, cdx)
	for _, want := range []string{"golang.org/x/sync@v0.20.0", "{a,b}{c,d}\ufffd[31m\ufffd?@v0.20.0"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
}

func TestHostileText(t *testing.T) {
	release := "ID=al\x1bpine\nVERSION_ID=\"3\u202e\"\nHOME_URL=\"javascript:alert(1)\"\nSUPPORT_URL=\"ht tp://%zz\"\nCPE_NAME=nonsense\n"
	db := "P:mu\x1b[31msl\u202e\xff\nV:1\x07\nA:<script>\nT:a\x00b\nU:javascript:alert(1)\nL:(((AND\no:mu\nR:x\n\nP:../../etc\nV:1\nL:" + strings.Repeat("MIT OR ", 1000) + "MIT\n\n"
	_, cdx := ship(t, New(), tarOf(t, entryFile{name: "etc/os-release", data: []byte(release)}, entryFile{name: "lib/apk/db/installed", data: []byte(db)}))
	if got := names(t, cdx); !slices.Contains(got, "mu\ufffd[31msl\ufffd\ufffd@1\ufffd") {
		t.Errorf("components %q", got)
	}
}

func TestLayerForms(t *testing.T) {
	plain := service(t)
	w := must(zstd.NewWriter(nil))(t)
	for name, l := range map[string]v1.Layer{
		"plain": static.NewLayer(plain, types.OCIUncompressedLayer),
		"zstd":  static.NewLayer(w.EncodeAll(plain, nil), types.OCILayerZStd),
	} {
		t.Run(name, func(t *testing.T) {
			layout, d := store(t, withLayer(t, l))
			out, _, err := runStep(t, New(), newEnv(t), inputsFor(t, layout, d))
			if err != nil || out.Packages != 4 {
				t.Errorf("%d packages, %v", out.Packages, err)
			}
		})
	}
	for name, content := range map[string][]byte{"no archive": []byte(strings.Repeat("x", 2048)), "cut off": plain[:len(plain)/2], "broken gzip": []byte("\x1f\x8bxxxxxxxx")} {
		t.Run(name, func(t *testing.T) {
			layout, d := store(t, withLayer(t, static.NewLayer(content, types.OCIUncompressedLayer)))
			env := newEnv(t)
			if _, _, err := runStep(t, New(), env, inputsFor(t, layout, d)); err == nil || !strings.Contains(err.Error(), "layer sha256:") {
				t.Errorf("got %v, want an error that names the layer", err)
			}
			if left := must(os.ReadDir(env.Work))(t); len(left) > 0 {
				t.Errorf("%s is left behind", left[0].Name())
			}
		})
	}
}

// TestTamperedLayer changes one byte of a layer that follows the archive's end,
// where no reader of archives would notice.
func TestTamperedLayer(t *testing.T) {
	content := append(service(t), make([]byte, 1<<20)...)
	layout, d := store(t, withLayer(t, static.NewLayer(content, types.OCIUncompressedLayer)))
	h := must(static.NewLayer(content, types.OCIUncompressedLayer).Digest())(t)
	name := filepath.Join(layout, "blobs", "sha256", h.Hex)
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	write(t, name, string(content))
	if _, _, err := runStep(t, New(), newEnv(t), inputsFor(t, layout, d)); err == nil {
		t.Error("a layer of another digest passes")
	}
}

func TestHostilePlatform(t *testing.T) {
	for _, arch := range []string{"../../etc", "", "a b", "x\x00y"} {
		layout, d := store(t, imageOf(t, arch, service(t)))
		env := newEnv(t)
		if _, _, err := runStep(t, New(), env, inputsFor(t, layout, d)); err == nil {
			t.Errorf("the architecture %q passes", arch)
		}
	}
}

func TestCatalogerFailures(t *testing.T) {
	with := func(f func(context.Context, *scene) ([]pkg.Package, []artifact.Relationship, error)) step.Step {
		lim := defaultLimits()
		lim.cataloger = 5 * time.Second
		return define(func() []cataloger { return append(catalogers(), cataloger{"odd", f}) }, lim)
	}
	t.Run("panic", func(t *testing.T) {
		_, cdx := ship(t, with(func(context.Context, *scene) ([]pkg.Package, []artifact.Relationship, error) {
			panic("index out of range")
		}), service(t))
		if diff := cmp.Diff([]string{"cataloger odd: gave up on a malformed file: index out of range"}, notes(t, cdx)); diff != "" {
			t.Errorf("notes (-want +got):\n%s", diff)
		}
	})
	t.Run("error names no path of this machine", func(t *testing.T) {
		_, cdx := ship(t, with(func(_ context.Context, s *scene) ([]pkg.Package, []artifact.Relationship, error) {
			return nil, nil, errors.New("open " + s.work + "/x: no")
		}), service(t))
		if diff := cmp.Diff([]string{"cataloger odd: open /x: no"}, notes(t, cdx)); diff != "" {
			t.Errorf("notes (-want +got):\n%s", diff)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		layout, d := store(t, imageOf(t, "amd64", service(t)))
		in, env := inputsFor(t, layout, d), newEnv(t)
		lim := defaultLimits()
		cs := func() []cataloger {
			return []cataloger{{"stuck", func(ctx context.Context, _ *scene) ([]pkg.Package, []artifact.Relationship, error) {
				cancel()
				<-ctx.Done()
				return nil, nil, ctx.Err()
			}}}
		}
		if _, _, err := run(ctx, env, in, cs, lim); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's end", err)
		}
	})
}

func withLayer(t testing.TB, l v1.Layer) v1.Image {
	t.Helper()
	img := imageOf(t, "amd64")
	return must(mutate.AppendLayers(img, l))(t)
}

func compressNames(_ []byte, _ *elf.File, section func(string) []byte) {
	binary.LittleEndian.PutUint64(section(".shstrtab")[8:], 0x800)
}

// anotherProgram is an ELF file without sections: nothing of Go.
func anotherProgram() []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], 2)
	binary.LittleEndian.PutUint16(b[18:], 62)
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint16(b[52:], 64)
	return b
}

// rpmDB makes a database of one package, in the format of current
// distributions: a header of tags (rpm's "Header" format) in a SQLite table.
func rpmDB(t testing.TB, name, version, release string) []byte {
	t.Helper()
	var index, data bytes.Buffer
	count := uint32(0)
	for _, tag := range []struct {
		tag  uint32
		text string
	}{{1000, name}, {1001, version}, {1002, release}, {1014, "MIT"}, {1022, "x86_64"}, {1044, name + "-" + version + "-" + release + ".src.rpm"}} {
		for _, v := range []uint32{tag.tag, 6, uint32(data.Len()), 1} {
			_ = binary.Write(&index, binary.BigEndian, v)
		}
		data.WriteString(tag.text + "\x00")
		count++
	}
	var blob bytes.Buffer
	_ = binary.Write(&blob, binary.BigEndian, []uint32{count, uint32(data.Len())})
	blob.Write(index.Bytes())
	blob.Write(data.Bytes())

	file := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	db := must(sql.Open("sqlite", file))(t)
	defer db.Close()
	for _, q := range []struct {
		text string
		args []any
	}{{"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)", nil}, {"INSERT INTO Packages VALUES (1, ?)", []any{blob.Bytes()}}} {
		if _, err := db.Exec(q.text, q.args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return must(os.ReadFile(file))(t)
}
