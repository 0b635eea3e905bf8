package fence

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCarve(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/b/c", "a/d", "e"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "a", "b"), filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, paths, hide, want string }{
		{"nothing hidden", "a e", "x", "a e"},
		{"itself", "a e", "e", "a"},
		{"above", "a/b e", "a", "e"},
		{"not a prefix of names", "a/b/c e", "a/b/c2", "a/b/c e"},
		{"below, and no way by a link", "a e", "a/b", "a/d a/file e"},
		{"deep", "a", "a/b/c", "a/d a/file"},
		{"a file", "a", "a/file", "a/b a/d"},
		{"everything", "a e", ".", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			abs := func(s string) []string {
				var out []string
				for _, p := range strings.Fields(s) {
					out = append(out, filepath.Join(dir, p))
				}
				return out
			}
			got, err := carve(abs(c.paths), abs(c.hide))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(abs(c.want), got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, c := range []struct{ name, path, want string }{
		{"tool", "PATH=/usr/bin:" + dir, filepath.Join(dir, "tool")},
		{"tool", "PATH=/usr/bin", ""},
		{"tool", "OTHER=x", ""},
		{"tool", "PATH=.", ""},
		{"data", "PATH=" + dir, ""},
		{"./tool", "PATH=", filepath.Join(dir, "tool")},
		{"/bin/x", "PATH=", "/bin/x"},
	} {
		got, err := lookPath(c.name, dir, []string{c.path})
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s with %s: got %q, %v", c.name, c.path, got, err)
		}
	}
}

func TestMechanism(t *testing.T) {
	for want, r := range map[string]Report{
		"none": {},
		"Landlock ABI 7, private root, namespaces user net pid ipc": {Landlock: 7, Root: true, UserNS: true, NetNS: true, PIDNS: true, IPCNS: true},
		"Landlock ABI 3": {Landlock: 3},
	} {
		if got := r.Mechanism(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if (Report{}).Files() || (Report{}).Offline() {
		t.Error("the zero Report claims a fence")
	}
	if p := NewExecer("/x", Report{}).Confine([]string{"/a"}, []string{"/b"}); p != nil {
		t.Errorf("without Landlock Confine gives %q", p)
	}
}

func TestInherited(t *testing.T) {
	want := Report{Landlock: 7, Read: []string{"/usr"}}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{ReportEnv: string(raw)}
	got, ok := Inherited(func(k string) string { return env[k] })
	if d := cmp.Diff(want, got); d != "" || !ok {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, bad := range []string{"", "{", "[]"} {
		if _, ok := Inherited(func(string) string { return bad }); ok {
			t.Errorf("%q is taken for a report", bad)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`{"report":{"landlock":7}}`))
	f.Add([]byte(`{"report":{"landlock":7}}{"failed":"run x: no such file"}`))
	f.Add([]byte(`{"failed":"no","retry":true}{"rep`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := readAnswer(bytes.NewReader(b))
		if !ok && (a.Failed != "" || a.Retry || a.Report.Files()) {
			t.Errorf("nothing was said, and yet %+v", a)
		}
	})
}

func BenchmarkProbe(b *testing.B) {
	me, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	f := New(me)
	for b.Loop() {
		if _, err := f.Probe(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
