package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// suite makes a suite of two cases, with other files on request.
func suite(t *testing.T, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append([]string{"a.txt", "good/bundle.sigstore.json", "bad_fail/bundle.sigstore.json"}, more...) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(filepath.Base(name)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRun: a runner that can't fail would say nothing.
func TestRun(t *testing.T) {
	honest := func(args ...string) (int, string, error) {
		if strings.Contains(args[2], "_fail") {
			return 1, "refused", nil
		}
		return 0, "", nil
	}
	tests := map[string]struct {
		ask  client
		want string // of the total
	}{
		"honest":         {honest, "1 must pass, 1 must fail; 2 as they should be, 0 not, 0 skipped"},
		"accepts all":    {func(...string) (int, string, error) { return 0, "", nil }, "1 as they should be, 1 not"},
		"refuses all":    {func(...string) (int, string, error) { return 1, "", nil }, "1 as they should be, 1 not"},
		"can't be asked": {func(...string) (int, string, error) { return 2, "", nil }, "0 as they should be, 2 not"},
		"crashes":        {func(...string) (int, string, error) { return -1, "", nil }, "0 as they should be, 2 not"},
		"does not start": {func(...string) (int, string, error) { return 0, "", errors.New("no such program") }, "0 as they should be, 2 not"},
		"digests only": {func(args ...string) (int, string, error) {
			if strings.HasPrefix(args[len(args)-1], "sha256:") {
				return honest(args...)
			}
			return 1, "", nil
		}, "1 as they should be, 1 not"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := run(suite(t), "root.json", &out, tt.ask)
			if (err == nil) != (name == "honest") || !strings.Contains(out.String(), tt.want) || strings.Count(out.String(), "\n") != 3 {
				t.Errorf("got %v\n%s", err, out.String())
			}
		})
	}
	if err := run(t.TempDir(), "root.json", &strings.Builder{}, honest); !errors.Is(err, errUsage) {
		t.Errorf("an empty folder: got %v", err)
	}
}

// TestArguments: the optional files of a case become arguments.
func TestArguments(t *testing.T) {
	var got [][]string
	ask := func(args ...string) (int, string, error) {
		got = append(got, slices.Clone(args))
		return 0, "", nil
	}
	dir := suite(t, "good/identity", "good/issuer", "good/trusted_root.json", "good/artifact", "key/key.pub")
	for _, name := range []string{"good", "bad_fail", "key"} {
		if _, err := runCase(filepath.Join(dir, name), "public.json", false, ask); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{
		"--certificate-identity identity --certificate-oidc-issuer issuer --trusted-root DIR/good/trusted_root.json DIR/good/artifact",
		"--trusted-root DIR/good/trusted_root.json sha256:",
		"--certificate-identity " + beacon + " --certificate-oidc-issuer " + issuer + " --trusted-root public.json DIR/a.txt",
		"--trusted-root public.json sha256:",
		"--key DIR/key/key.pub --trusted-root public.json DIR/a.txt",
		"--trusted-root public.json sha256:",
	} {
		if line := strings.ReplaceAll(strings.Join(got[i], " "), dir, "DIR"); !strings.Contains(line, want) {
			t.Errorf("got %s\nwant %s", line, want)
		}
	}
}

// TestUsage: what says nothing of a bundle is no refusal.
func TestUsage(t *testing.T) {
	dir := suite(t)
	file := filepath.Join(dir, "a.txt")
	absent := filepath.Join(dir, "absent")
	for _, line := range [][]string{
		{},
		{"verify"},
		{"verify-bundle", "--bundle", file, file},
		{"verify-bundle", "--bundle", file, "--key", file, "--certificate-identity", "x", "--certificate-oidc-issuer", "y", file},
		{"verify-bundle", "--bundle", file, "--certificate-identity", "x", "--certificate-oidc-issuer", "y", file},
		{"verify-bundle", "--bundle", file, "--key", absent, file},
		{"verify-bundle", "--bundle", file, "--key", file, file},
		{"verify-bundle", "--bundle", file, "--certificate-identity", "x", "--certificate-oidc-issuer", "y", "--trusted-root", file, file},
		{"verify-bundle", "--bundle", file, "--key", file},
		{"sign-bundle", "--identity-token", "x", "--bundle", absent, file},
		{"sign-bundle", "--identity-token", "x", "--bundle", absent, "--trusted-root", file, "--signing-config", file, file},
		{"run", dir},
	} {
		if err := dispatch(line, &strings.Builder{}); !errors.Is(err, errUsage) {
			t.Errorf("%v: got %v, want a usage error", line, err)
		}
	}
}

func TestIsDigest(t *testing.T) {
	t.Chdir(t.TempDir())
	long := strings.Repeat("a", 64)
	for arg, want := range map[string]bool{
		"sha256:" + long: true, "sha256:" + long[1:]: false, long: false, "sha256:" + long[1:] + "z": false, "sha512:" + long: false,
	} {
		if _, ok := isDigest(arg); ok != want {
			t.Errorf("%s: got %v", arg, ok)
		}
	}
	if err := os.WriteFile("sha256:"+long, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, ok := isDigest("sha256:" + long); ok {
		t.Error("a file on disk is taken for a digest")
	}
}
