package oci_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// role makes the test binary play another process.
const role = "OCI_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "writer":
		writer(os.Args[1], os.Args[2])
	case "limited":
		limited(os.Args[1])
	default:
		os.Exit(m.Run())
	}
}

func child(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, args...)
	c.Env = append(os.Environ(), role+"="+as)
	return c
}

// writer attaches artifacts to one subject until it is killed, or stops after
// ten if its name ends in "10". It prints each digest once it is written.
func writer(dir, name string) {
	l, err := oci.CreateLayout(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; !strings.HasSuffix(name, "10") || i < 10; i++ {
		d, err := oci.Attach(context.Background(), l, v1.Descriptor{MediaType: manifestType, Size: 2, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}},
			oci.Artifact{ArtifactType: "application/vnd.test", Payload: bytes.Repeat([]byte(fmt.Sprint(name, i)), 2000)})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(d)
	}
}

const writersSubject = step.Digest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

func TestLayoutOfTwoProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	var outs []*bytes.Buffer
	var procs []*exec.Cmd
	for i := range 3 { // they race to create it, too
		c := child(t, "writer", dir, fmt.Sprintf("p%d-10", i))
		out, errs := &bytes.Buffer{}, &bytes.Buffer{}
		c.Stdout, c.Stderr = out, errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		outs, procs = append(outs, out), append(procs, c)
	}
	var want []step.Digest
	for i, c := range procs {
		if err := c.Wait(); err != nil {
			t.Fatalf("%v: %s", err, c.Stderr)
		}
		for _, line := range strings.Fields(outs[i].String()) {
			want = append(want, step.Digest(line))
		}
	}
	l, err := oci.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 30 {
		t.Errorf("%d writes, want 30", len(want))
	}
	if diff := cmp.Diff(sorted(want...), referrers(t, l, writersSubject)); diff != "" {
		t.Errorf("lost updates (-want +got):\n%s", diff)
	}
}

func TestLayoutOfManyGoroutines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	shared, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	subject := put(t, shared, newImage(t, "amd64"), "v1")
	var mu sync.Mutex
	var want []step.Digest
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			w := shared
			if i%2 == 0 {
				var err error
				if w, err = oci.OpenLayout(dir); err != nil {
					t.Error(err)
					return
				}
			}
			for j := range 8 {
				d, err := oci.Attach(t.Context(), w, subject, oci.Artifact{ArtifactType: "a/b", Payload: []byte(fmt.Sprint(i, j/2))})
				if err != nil {
					t.Error(err)
				}
				if _, err := w.Referrers(t.Context(), oci.Digest(subject)); err != nil {
					t.Error(err)
				}
				mu.Lock()
				want = append(want, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(sorted(want...), referrers(t, shared, oci.Digest(subject))); diff != "" {
		t.Errorf("lost updates (-want +got):\n%s", diff)
	}
}

// A writer that is killed leaves a valid layout that has all it had reported.
func TestLayoutOfAKilledProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	reported := map[step.Digest]bool{}
	for round := range 12 {
		c := child(t, "writer", dir, fmt.Sprintf("r%d.", round))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		// The moment differs from round to round: the first ones die while they
		// start, the others a little after their nth write.
		kill := func(after time.Duration) { time.AfterFunc(after, func() { c.Process.Kill() }) }
		if round < 3 {
			kill(time.Duration(5+5*round) * time.Millisecond)
		}
		for n := 1; lines.Scan(); n++ {
			reported[step.Digest(lines.Text())] = true
			if n == round {
				kill(time.Duration(round) * 300 * time.Microsecond)
			}
		}
		c.Wait()
		if c.ProcessState.ExitCode() != -1 {
			t.Fatalf("the writer ended by itself: %v", c.ProcessState)
		}
		checkLayout(t, dir, reported)
	}
	if len(reported) < 50 {
		t.Errorf("only %d writes: the test saw too little", len(reported))
	}
	// Life goes on.
	l, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, newImage(t, "amd64"), "after")
	checkLayout(t, dir, reported)
}

// checkLayout reads a layout by hand and with another library.
func checkLayout(t *testing.T, dir string, want map[step.Digest]bool) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); errors.Is(err, os.ErrNotExist) && len(want) == 0 {
		return // killed before there was a layout
	}
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if strings.HasPrefix(b.Name(), ".tmp-") {
			continue // what the kill left behind is removed later, and is no blob
		}
		content, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", b.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if got := oci.DigestOf(content); got.Hex() != b.Name() {
			t.Errorf("blob %s has the digest %s", b.Name(), got)
		}
	}
	p, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := p.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", d.Digest.Hex)); err != nil {
			t.Errorf("index.json lists what is not there: %v", err)
		}
	}
	l, err := oci.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := referrers(t, l, writersSubject)
	for d := range want {
		if !slices.Contains(got, d) {
			t.Errorf("%s was reported as written and is not listed", d)
		}
	}
	for _, d := range got {
		if err := oci.Check(t.Context(), l, d, true); err != nil {
			t.Errorf("listed, but broken: %v", err)
		}
	}
}

// limited writes a large blob where no file may grow beyond a few KiB, as on a
// disk that is full.
func limited(dir string) {
	l, err := oci.CreateLayout(dir)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8192, Max: 8192})
	}
	if err != nil {
		fmt.Println("setup:", err)
		os.Exit(1)
	}
	if _, err = l.PutBlob(context.Background(), "a/b", make([]byte, 1<<20)); err != nil {
		fmt.Println(err)
	}
}

func TestLayoutWithoutSpace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	out, err := child(t, "limited", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s := string(out); !strings.Contains(s, "fix: free space") || !strings.Contains(s, dir) {
		t.Errorf("error %q says not what to do", s)
	}
	var files []string
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, filepath.Base(p))
		}
		return err
	})
	if diff := cmp.Diff([]string{"index.json", "oci-layout"}, files); diff != "" || err != nil {
		t.Errorf("left behind (-want +got):\n%s %v", diff, err)
	}
}

// The same content gives the same bytes, in whatever order it is written: the
// layout may be an output that is identified by its digest.
func TestLayoutIsDeterministic(t *testing.T) {
	img, other := newImage(t, "amd64"), newImage(t, "arm64")
	var got []string
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2, 0}} {
		dir := filepath.Join(t.TempDir(), "s")
		l, err := oci.CreateLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		subject := put(t, l, img, "v1")
		for _, i := range order {
			if i == 0 {
				put(t, l, other, "")
			}
			attach(t, l, subject, fmt.Sprint(i))
		}
		got = append(got, tree(t, dir))
	}
	if got[0] != got[1] || got[0] != got[2] {
		t.Errorf("three orders of writing gave\n%s\n%s\n%s", got[0], got[1], got[2])
	}
}

// tree lists every file with its digest.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintln(&s, rel, d.Type(), oci.DigestOf(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// What index.json lists is what other tools take for the layout's images.
func TestLayoutIndexEntries(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "s")
	l, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries := func() []v1.Descriptor {
		b, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err != nil {
			t.Fatal(err)
		}
		var m v1.IndexManifest
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		return m.Manifests
	}
	idx := newIndex(t, "amd64", "arm64")
	root, err := oci.PutIndex(ctx, l, idx, "")
	if err != nil {
		t.Fatal(err)
	}
	if e := entries(); len(e) != 1 || e[0].Digest != root.Digest {
		t.Errorf("an index is one entry, got %+v", e)
	}
	if d, err := oci.Resolve(ctx, oci.Locator{Dir: dir}); err != nil || d != oci.Digest(root) {
		t.Errorf("resolved to %s, %v", d, err)
	}
	// Its child again, the tag later, the tag again, another tag.
	child, err := idx.Image(mustManifest(t, idx).Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, child, "")
	for _, tag := range []string{"v1", "v1", "v2", ""} {
		if _, err := oci.PutIndex(ctx, l, idx, tag); err != nil {
			t.Fatal(err)
		}
	}
	attach(t, l, root, "x")
	var got []string
	for _, e := range entries() {
		got = append(got, fmt.Sprint(e.Digest == root.Digest, e.Annotations["org.opencontainers.image.ref.name"], e.ArtifactType))
	}
	want := []string{"truev1", "truev2", "false application/vnd.test+json"}
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], " ", "")
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], " ", "")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	put(t, l, newImage(t, "amd64"), strings.Replace(root.Digest.String(), ":", "-", 1)+".sig")
	// Neither a referrer nor a signature of cosign 2 makes the layout ambiguous.
	if d, err := oci.Resolve(ctx, oci.Locator{Dir: dir}); err != nil || d != oci.Digest(root) {
		t.Errorf("resolved to %s, %v", d, err)
	}
}

func mustManifest(t *testing.T, idx v1.ImageIndex) *v1.IndexManifest {
	t.Helper()
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLayoutRemovesOldTemporaryFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	if _, err := oci.CreateLayout(dir); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{".", "blobs/sha256"} {
		for name, age := range map[string]time.Duration{".tmp-old": 2 * time.Hour, ".tmp-new": 0} {
			p := filepath.Join(dir, sub, name)
			at := time.Now().Add(-age)
			if err := errors.Join(os.WriteFile(p, nil, 0o644), os.Chtimes(p, at, at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := oci.CreateLayout(dir); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); strings.Contains(got, ".tmp-old") || strings.Count(got, ".tmp-new") != 2 {
		t.Errorf("left:\n%s", got)
	}
}

func TestOpenLayoutRefuses(t *testing.T) {
	ok := `{"schemaVersion":2,"manifests":[]}`
	for _, tc := range []struct {
		name, layout, index string
		want                error
	}{
		{"no layout file", "", ok, oci.ErrNotFound},
		{"other version", `{"imageLayoutVersion":"2.0.0"}`, ok, oci.ErrContent},
		{"not JSON", "hello", ok, oci.ErrContent},
		{"endless layout file", strings.Repeat(" ", 5000), ok, oci.ErrContent},
		{"no index", `{"imageLayoutVersion":"1.0.0"}`, "", os.ErrNotExist},
		{"broken index", `{"imageLayoutVersion":"1.0.0"}`, ok[:10], oci.ErrContent},
		{"index of another type", `{"imageLayoutVersion":"1.0.0"}`, `{"schemaVersion":2,"mediaType":"text/html"}`, oci.ErrContent},
		{"traversal", `{"imageLayoutVersion":"1.0.0"}`, `{"schemaVersion":2,"manifests":[{"size":1,"digest":"sha256:../../x"}]}`, oci.ErrContent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range map[string]string{"oci-layout": tc.layout, "index.json": tc.index} {
				if content == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := oci.OpenLayout(dir); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got error %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := oci.OpenLayout(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("absent folder: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := oci.CreateLayout(dir); !errors.Is(err, step.ErrUsage) {
		t.Errorf("a folder of source became a layout: %v", err)
	}
}

// One broken referrer, put there by whoever, must not hide the good ones.
func TestLayoutWithABrokenReferrer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	l, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	subject := put(t, l, newImage(t, "amd64"), "v1")
	good := attach(t, l, subject, "good")
	for _, how := range []string{"flip", "cut", "remove", "pipe"} {
		bad := attach(t, l, subject, how)
		damageFile(t, filepath.Join(dir, "blobs", "sha256", bad.Hex()), how)
	}
	fresh, err := oci.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]step.Digest{good}, referrers(t, fresh, oci.Digest(subject))); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
}

func TestLayoutLockEndsWithItsContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	l, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "oci-layout"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.PutManifest(ctx, "", []byte(plainManifest), "v1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
	f.Close()
	if _, err := l.PutManifest(t.Context(), "", []byte(plainManifest), "v1"); err != nil {
		t.Error(err)
	}
}

func TestLayoutStopsACopy(t *testing.T) {
	l, err := oci.CreateLayout(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = l.PutStream(ctx, v1.Descriptor{Size: 1 << 40, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}},
		func(context.Context) (io.ReadCloser, error) {
			cancel()
			return io.NopCloser(zeroReader{}), nil
		})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }

func FuzzLayoutIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[{"mediaType":"` + manifestType + `","size":2,"digest":"` + zeros + `","annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"` + indexType + `","size":-2,"digest":"` + zeros + `"}]}`))
	dir := f.TempDir()
	if _, err := oci.CreateLayout(dir); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "index.json"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := oci.OpenLayout(dir)
		if err != nil {
			return
		}
		if _, err := l.Referrers(t.Context(), zeros); err != nil {
			t.Error(err) // whatever is listed, none of it is there
		}
		// What was accepted can be added to, and read again.
		if _, err := l.PutManifest(t.Context(), "", []byte(plainManifest), "fuzz"); err != nil {
			t.Fatal(err)
		}
		if d, err := oci.Resolve(t.Context(), oci.Locator{Dir: dir, Tag: "fuzz"}); err != nil || d != oci.DigestOf([]byte(plainManifest)) {
			t.Errorf("resolved to %s, %v", d, err)
		}
	})
}
