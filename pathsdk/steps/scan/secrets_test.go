package scan

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/pavedpaths/paths/pathsdk/step"
)

func TestSecrets(t *testing.T) {
	binary := "\x7fELF\x00\x00\x00" + strings.Repeat("\x01\x02", 40) + githubToken + "\x00rest of the program\x00"
	f := newFixture(t, amd64(sbomOf("")), []file{
		{"app/config.yaml", "a: 1\nb: 2\ntoken: " + githubToken + "\n"},
		{"app/server", binary},
		{"app/picture.png", githubToken},
		{"../../escape.txt", "key = " + slackToken},
	},
		file{"deploy/prod.env", "X=1\nAWS_ACCESS_KEY_ID=" + awsKey + "\n"},
		file{"go.sum", githubToken},
		file{".git/config", githubToken},
		file{".paths/store", githubToken},
		file{"tiny", "x"},
	)
	out, report, ev := f.ok(t)
	want := []Secret{
		{Rule: "github-pat", Severity: "critical", Title: "GitHub Personal Access Token", Target: "image", File: "/app/config.yaml", Line: 3},
		{Rule: "github-pat", Severity: "critical", Title: "GitHub Personal Access Token", Target: "image", File: "/app/server"},
		{Rule: "slack-access-token", Severity: "high", Title: "Slack token", Target: "image", File: "/escape.txt", Line: 1},
		{Rule: "aws-access-key-id", Severity: "critical", Title: "AWS Access Key ID", Target: "source", File: "deploy/prod.env", Line: 2},
	}
	if diff := cmp.Diff(want, report.Platforms[0].Secrets); diff != "" {
		t.Error(diff)
	}
	if out.Secrets != len(want) {
		t.Errorf("secrets = %d", out.Secrets)
	}
	scan := report.Platforms[0].SecretScan
	if scan.Image.Files != 4 || scan.Image.Skipped != 1 || scan.Source.Files != 2 || scan.Source.Skipped != 2 || scan.Image.Truncated || scan.Source.Truncated {
		t.Errorf("coverage %+v", scan)
	}

	// Nothing that leaves the step holds a secret, or a part of one.
	var all bytes.Buffer
	b, err := os.ReadFile(string(out.Findings))
	if err != nil {
		t.Fatal(err)
	}
	all.Write(b)
	all.Write(f.log.Bytes())
	for _, e := range ev {
		all.Write(e.Predicate)
	}
	for _, s := range []string{githubToken, awsKey, slackToken} {
		for _, part := range []string{s, s[4:], s[:12]} {
			if strings.Contains(all.String(), part) {
				t.Errorf("output holds %q", part)
			}
		}
	}
}

func TestSecretsInConfigurationAndHiddenLayers(t *testing.T) {
	f := newFixture(t, map[string]string{"linux/amd64": sbomOf(""), "linux/arm64": sbomOf("")}, nil)
	f.in.Layout = step.Dir(t.TempDir())
	f.in.Image = writeImage(t, string(f.in.Layout), []string{"linux/amd64", "linux/arm64"}, [][]byte{
		tarGz(t, file{"root/.netrc", githubToken}),
		tarGz(t, file{"root/.wh..netrc", ""}),
	}, []string{"PATH=/", "SLACK=" + slackToken})
	out, report, _ := f.ok(t)
	want := []Secret{
		{Rule: "slack-access-token", Severity: "high", Title: "Slack token", Target: "image", File: configName},
		{Rule: "github-pat", Severity: "critical", Title: "GitHub Personal Access Token", Target: "image", File: "/root/.netrc", Line: 1},
	}
	for _, p := range report.Platforms {
		if diff := cmp.Diff(want, p.Secrets); diff != "" {
			t.Errorf("%s: %s", p.Platform, diff)
		}
	}
	if out.Secrets != 2 {
		t.Errorf("secrets = %d: shared ones count once", out.Secrets)
	}
}

func TestSourceSymlinks(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "key"), []byte(githubToken), 0o644); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, amd64(sbomOf("")), nil, file{"sub/plain.txt", "nothing to see here"})
	err := errors.Join(
		os.Symlink(filepath.Join(outside, "key"), filepath.Join(string(f.in.Source), "link")),
		os.Symlink(outside, filepath.Join(string(f.in.Source), "folder")),
		os.Symlink(".", filepath.Join(string(f.in.Source), "sub", "loop")))
	if err != nil {
		t.Fatal(err)
	}
	if _, report, _ := f.ok(t); len(report.Platforms[0].Secrets) != 0 {
		t.Errorf("followed a symbolic link: %+v", report.Platforms[0].Secrets)
	}
}

func TestLimitsTruncate(t *testing.T) {
	text := strings.Repeat("plain text. ", 10_000)
	files := []file{{"a.txt", text}, {"b.txt", text}, {"c.txt", text}}
	tests := map[string]func(*limits){
		"files":   func(l *limits) { l.files = 2 },
		"content": func(l *limits) { l.content = 150_000 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, amd64(sbomOf("")), files, files...)
			change(&f.lim)
			_, report, ev := f.ok(t)
			scan := report.Platforms[0].SecretScan
			if !scan.Image.Truncated || !scan.Source.Truncated {
				t.Errorf("not marked as truncated: %+v", scan)
			}
			if !strings.Contains(string(ev[1].Predicate), `"truncated":true`) {
				t.Errorf("the evidence does not say so: %s", ev[1].Predicate)
			}
		})
	}
}

func TestScanTar(t *testing.T) {
	content := []file{{"etc/token", "token = " + githubToken + "\n"}, {"etc/large", strings.Repeat("text ", 400_000)}, {"bin/large", strings.Repeat("\x00bin", 400_000)}}
	var plain bytes.Buffer
	if err := writeTar(&plain, content...); err != nil {
		t.Fatal(err)
	}
	var zst bytes.Buffer
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, layer := range map[string][]byte{"gzip": tarGz(t, content...), "zstd": zst.Bytes(), "plain": plain.Bytes()} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			r, err := scanTar(bufio.NewReader(bytes.NewReader(layer)), defaults(), &n)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.secrets) != 1 || r.coverage.Files != 2 || r.coverage.Skipped != 1 {
				t.Errorf("%+v", r)
			}
			// Cut anywhere it is an error, not a shorter layer.
			if _, err := scanTar(bufio.NewReader(bytes.NewReader(layer[:len(layer)/2])), defaults(), &n); err == nil {
				t.Error("half a layer passed")
			}
		})
	}
}

func TestBomb(t *testing.T) {
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	if err := tw.WriteHeader(&tar.Header{Name: "bomb.txt", Typeflag: tar.TypeReg, Size: 1 << 40, Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(tw, zeros{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	gz.Close()
	l := defaults()
	l.content = 32 << 20
	var n atomic.Int64
	r, err := scanTar(bufio.NewReader(&buf), l, &n)
	if err != nil || !r.coverage.Truncated {
		t.Errorf("%+v, %v", r, err)
	}
	if n.Load() > 40<<20 {
		t.Errorf("unpacked %d bytes", n.Load())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzScanTar(f *testing.F) {
	var plain bytes.Buffer
	if err := writeTar(&plain, file{"a", "token = " + githubToken}); err != nil {
		f.Fatal(err)
	}
	f.Add(plain.Bytes())
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := limits{text: 1 << 16, binary: 1 << 12, files: 100, content: 1 << 20}
		var n atomic.Int64
		r, err := scanTar(bufio.NewReader(bytes.NewReader(b)), l, &n)
		if err == nil && r.coverage.Files == 0 && len(r.secrets) > 0 {
			t.Errorf("%+v", r)
		}
		if n.Load() > l.content+1<<20 {
			t.Errorf("unpacked %d bytes", n.Load())
		}
		for _, s := range r.secrets {
			if !strings.HasPrefix(s.File, "/") || strings.Contains(s.File, "/../") {
				t.Errorf("file %q", s.File)
			}
		}
	})
}
