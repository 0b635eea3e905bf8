package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/cosign/v2/pkg/cosign"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func secret(s string) attest.Passphrase {
	return func() ([]byte, error) { return []byte(s), nil }
}

func TestCreateKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	// Processes died here: one long ago, one might still be alive.
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{".new-old": 2 * time.Hour, ".new-young": 0} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	made, err := attest.CreateKey(dir, "a", nil)
	if err != nil || !made {
		t.Fatalf("first: %v, %v", made, err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, dir + "/a.key": 0o600, dir + "/a.pub": 0o644} {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	before, _ := os.ReadFile(dir + "/a.key")
	made, err = attest.CreateKey(dir, "a", nil)
	if err != nil || made {
		t.Fatalf("second: %v, %v", made, err)
	}
	after, _ := os.ReadFile(dir + "/a.key")
	if !bytes.Equal(before, after) {
		t.Error("the key was replaced")
	}

	// A process died after it made the key and before the public key.
	pub, _ := os.ReadFile(dir + "/a.pub")
	if err := os.Remove(dir + "/a.pub"); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.CreateKey(dir, "a", nil); err != nil {
		t.Fatal(err)
	}
	again, _ := os.ReadFile(dir + "/a.pub")
	if !bytes.Equal(pub, again) {
		t.Error("another public key")
	}
	left, err := filepath.Glob(dir + "/.new-*")
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != ".new-young" {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, name := range []string{"", "../x", "a/b", ".hidden"} {
		if _, err := attest.CreateKey(dir, name, nil); !errors.Is(err, step.ErrUsage) {
			t.Errorf("name %q: got %v, want a usage error", name, err)
		}
	}
}

// TestInitHomeConcurrently starts processes that all make keys in one home.
func TestInitHomeConcurrently(t *testing.T) {
	home := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	out := make([]string, 6)
	for i := range out {
		wg.Go(func() {
			c := exec.CommandContext(t.Context(), self)
			c.Env = append(os.Environ(), helperHome+"="+home)
			b, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			out[i] = strings.TrimSpace(string(b))
		})
	}
	wg.Wait()
	hints := map[string]bool{}
	for _, o := range out {
		_, hint, _ := strings.Cut(o, " ")
		hints[hint] = true
	}
	if len(hints) != 1 {
		t.Fatalf("processes saw different keys: %q", out)
	}
	trust, err := attest.LoadTrust(filepath.Join(home, attest.TrustFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{attest.AttesterKey, attest.VerifierKey} {
		s := load(t, filepath.Join(home, name))
		b := signed(t, s, statement(t, evidence.Signature, sourceDigest, evidence.Derived))
		if _, err := attest.Verify(trust, b); err != nil {
			t.Errorf("%s: public key does not fit: %v", name, err)
		}
	}
	if made, err := attest.InitHome(home, nil, nil); made || err != nil {
		t.Errorf("a further call: %v, %v", made, err)
	}
}

func TestInitHomeKeepsTrustRoot(t *testing.T) {
	home := t.TempDir()
	if _, err := attest.InitHome(home, nil, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(home, attest.TrustFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edited := append(b, "# edited\n"...)
	if err := os.WriteFile(path, edited, 0o644); err != nil {
		t.Fatal(err)
	}
	if made, err := attest.InitHome(home, nil, nil); made || err != nil {
		t.Fatalf("%v, %v", made, err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, edited) {
		t.Error("an edited trust root was replaced")
	}
	if _, err := attest.InitHome("", nil, nil); !errors.Is(err, step.ErrUsage) {
		t.Errorf("empty home: %v", err)
	}
}

func TestEncryptedKeys(t *testing.T) {
	dir := t.TempDir()
	if _, err := attest.CreateKey(dir, "sealed", secret("open sesame")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sealed.key")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("ENCRYPTED SIGSTORE PRIVATE KEY")) {
		t.Errorf("not encrypted:\n%s", text)
	}
	// cosign reads our key.
	sv, err := cosign.LoadPrivateKey(text, []byte("open sesame"), nil)
	if err != nil {
		t.Fatalf("cosign: %v", err)
	}
	ours, err := attest.LoadSigner(t.Context(), path, secret("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := sv.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if !ours.Public().(*ecdsa.PublicKey).Equal(pub) {
		t.Error("cosign read another key")
	}
	onDisk, err := os.ReadFile(filepath.Join(dir, "sealed.pub"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := cosign.PemToECDSAKey(onDisk)
	if err != nil || !theirs.Equal(pub) {
		t.Errorf("public key on disk is not that of the private key: %v", err)
	}

	// We read cosign's.
	kb, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("pw"), nil })
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "cosign.key")
	if err := os.WriteFile(other, kb.PrivateBytes, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := attest.LoadSigner(t.Context(), other, secret("pw"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(publicPEM(t, s), kb.PublicBytes) {
		t.Error("another public key than cosign's")
	}

	for name, p := range map[string]attest.Passphrase{
		"none": nil, "wrong": secret("close"), "empty": secret(""),
		"broken": func() ([]byte, error) { return nil, errors.New("no passphrase today") },
	} {
		if _, err := attest.LoadSigner(t.Context(), path, p); err == nil {
			t.Errorf("%s passphrase opened the key", name)
		}
	}
	if _, err := attest.CreateKey(dir, "empty", secret("")); !errors.Is(err, step.ErrUsage) {
		t.Errorf("an empty passphrase was taken: %v", err)
	}
}

func TestPassphraseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pass")
	tests := []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{"open sesame\n", 0o600, "open sesame"},
		{"with space \r\nsecond line", 0o600, "with space "},
		{"\n", 0o600, ""},
		{"secret", 0o644, ""},
		{strings.Repeat("x", 1<<20), 0o600, ""},
	}
	for _, tt := range tests {
		os.Remove(path)
		if err := os.WriteFile(path, []byte(tt.content), tt.mode); err != nil {
			t.Fatal(err)
		}
		got, err := attest.PassphraseFile(path)()
		if string(got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%.20q mode %o: got %q, %v", tt.content, tt.mode, got, err)
		}
	}
	if _, err := attest.PassphraseFile(path + ".no")(); err == nil {
		t.Error("a missing file gave a passphrase")
	}
}

func TestLoadSignerRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := attest.CreateKey(dir, "good", nil); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, "good.key"))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(filepath.Join(dir, "good.pub"))
	if err != nil {
		t.Fatal(err)
	}
	const p384 = `-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAnY1F6sNSA9C4Ck3mz
-----END PRIVATE KEY-----
`
	tests := []struct {
		name    string
		content []byte
		mode    os.FileMode
		want    string
	}{
		{"group can read", good, 0o640, "chmod 600"},
		{"others can read", good, 0o604, "chmod 600"},
		{"others can write", good, 0o602, "chmod 600"},
		{"public key", pub, 0o600, "not supported"},
		{"two blocks", append(bytes.Clone(good), good...), 0o600, "not one PEM block"},
		{"text after", append(bytes.Clone(good), "x"...), 0o600, "not one PEM block"},
		{"empty", nil, 0o600, "not one PEM block"},
		{"truncated", good[:len(good)/2], 0o600, "not one PEM block"},
		{"no PKCS #8", []byte(p384), 0o600, "PKCS #8"},
		{"garbage in sealed", []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), 0o600, "passphrase does not fit"},
		{"huge", bytes.Repeat([]byte("x"), 1<<20), 0o600, "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k.key")
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := attest.LoadSigner(t.Context(), path, secret("x"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := attest.LoadSigner(t.Context(), dir, nil); err == nil {
		t.Error("a folder was read as a key")
	}
}
