//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
)

const vaultKey = "hashivault://orders"

// vault is a real Vault, with a key named orders in its transit engine.
type vault struct {
	addr string
	root string // token of whoever may do all
	cmd  *exec.Cmd
}

func startVault(t *testing.T) *vault {
	t.Helper()
	tool := os.Getenv("PATHS_VAULT_TOOL")
	if tool == "" {
		t.Fatal("there is no Vault for tests\n  fix: make e2e-vault")
	}
	file := filepath.Join(t.TempDir(), "root-token")
	v := &vault{cmd: exec.Command(tool, "-token-file", file)}
	v.cmd.Env = []string{"HOME=" + t.TempDir()}
	v.cmd.Stderr = os.Stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("Vault did not start: %v", err)
	}
	v.addr = strings.TrimSpace(line)
	v.root = readText(t, file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the root token's file: %v, %v", info.Mode(), err)
	}
	return v
}

func (v *vault) stop() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
}

// do asks as root, and returns the answer's data.
func (v *vault) do(t *testing.T, method, path string, body map[string]any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, v.addr+"/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.root)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s, %v\n%s", method, path, resp.Status, err, answer)
	}
	var doc struct {
		Data map[string]any
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &doc); err != nil {
			t.Fatal(err)
		}
	}
	if doc.Auth.Token != "" {
		return map[string]any{"token": doc.Auth.Token}
	}
	return doc.Data
}

func (v *vault) write(t *testing.T, path string, body map[string]any) map[string]any {
	t.Helper()
	return v.do(t, http.MethodPost, path, body)
}

// token is one that may do with a key what rules say.
func (v *vault) token(t *testing.T, name, rules string) string {
	t.Helper()
	v.write(t, "sys/policies/acl/"+name, map[string]any{"policy": rules})
	return v.write(t, "auth/token/create", map[string]any{"policies": []string{name}, "no_default_policy": true})["token"].(string)
}

// What the attester needs, and no more.
const (
	mayRead = "path \"transit/keys/orders\" { capabilities = [\"read\"] }\n"
	maySign = "path \"transit/sign/orders/*\" { capabilities = [\"update\"] }\n"
)

// vaultWorld is a service, and a Vault whose key signs for it.
type vaultWorld struct {
	*vault
	home, src, db string
	tokens        []string // must be nowhere
}

func newVaultWorld(t *testing.T) *vaultWorld {
	t.Helper()
	w := &vaultWorld{vault: startVault(t), home: newHome(t), src: hello(t), db: smallDB(t)}
	w.write(t, "transit/keys/orders", map[string]any{"type": "ecdsa-p256"})
	w.as(t, w.token(t, "attester", mayRead+maySign))
	t.Setenv("VAULT_ADDR", w.addr)
	t.Setenv("PATHS_ATTESTER_KEY", vaultKey)
	runProcess(t, w.home, "key", "init").says(t, "key init", 0)
	return w
}

// as signs with a token from now on.
func (w *vaultWorld) as(t *testing.T, token string) {
	t.Helper()
	w.tokens = append(w.tokens, token)
	t.Setenv("VAULT_TOKEN", token)
}

func (w *vaultWorld) ship(t *testing.T, to string, more ...string) result {
	t.Helper()
	r := runProcess(t, w.home, append([]string{"ship", w.src, "--vuln-db", w.db, "--to", to, "--output", "json"}, more...)...)
	w.keptSecret(t, "output of ship", []byte(r.stdout+r.stderr))
	return r
}

func (w *vaultWorld) keptSecret(t *testing.T, where string, text []byte) {
	t.Helper()
	for _, token := range append(w.tokens, w.root) {
		if bytes.Contains(text, []byte(token)) {
			t.Errorf("a token is in the %s", where)
		}
	}
}

// export writes the key's public half.
func (w *vaultWorld) export(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(w.home, "keys", name)
	runProcess(t, w.home, "key", "export", vaultKey, "--out", file).says(t, "key export", 0)
	return file
}

func readText(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestVaultShip: a key that never leaves Vault signs what every verifier takes, and the
// token that it takes is nowhere.
func TestVaultShip(t *testing.T) {
	w := newVaultWorld(t)
	if _, err := os.Stat(filepath.Join(w.home, "keys", "attester.key")); err == nil {
		t.Error("key init made a private key for the attester, who has one in Vault")
	}
	reg := regtest.New(t)
	r := w.ship(t, reg.Repo("hello")+":v1", "--layout", "both")
	r.says(t, "ship", 0)
	ref := reg.Repo("hello") + "@" + string(shippedDigest(t, r))
	verified := runProcess(t, w.home, "verify", ref)
	verified.says(t, "verify", 0)
	w.keptSecret(t, "output of verify", []byte(verified.stdout+verified.stderr))

	right := w.export(t, "orders.pub")
	if readText(t, right) != readText(t, filepath.Join(w.home, "keys", "attester.pub")) {
		t.Error("key export and key init write another public key")
	}
	stranger := t.TempDir()
	if _, err := attest.CreateKey(stranger, "stranger", nil); err != nil {
		t.Fatal(err)
	}
	verifiers := os.Getenv("PATHS_VERIFIERS")
	for name, args := range map[string][]string{
		"cosign2 provenance": {"verify-attestation", "--type", "slsaprovenance1", "--new-bundle-format"},
		"cosign3 provenance": {"verify-attestation", "--type", "slsaprovenance1"},
		"cosign2 signature":  {"verify", "--new-bundle-format=false"}, // the tag's
		"cosign3 signature":  {"verify"},
	} {
		version, _, _ := strings.Cut(name, " ")
		check := func(key string) ([]byte, error) {
			args := append(slices.Clone(args), "--key", key, "--insecure-ignore-tlog", "--allow-http-registry",
				"--trusted-root", filepath.Join(os.Getenv("PATHS_SIGSTORE"), "trusted_root.json"), ref)
			return exec.Command(filepath.Join(verifiers, version), args...).CombinedOutput()
		}
		if out, err := check(right); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if out, err := check(filepath.Join(stranger, "stranger.pub")); err == nil {
			t.Errorf("%s: accepts another key, so its word means nothing\n%s", name, out)
		}
	}

	// Nothing has changed, so nothing is signed: Vault need not even sign.
	signs := w.before(t, nil)
	w.ship(t, reg.Repo("hello")+":v1").says(t, "ship again", 0)
	if n := signs.begun.Load(); n != 0 {
		t.Errorf("shipped again, %d things were signed", n)
	}

	files, evidence := 0, 0
	for _, dir := range []string{w.home, w.src} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			text := []byte(readText(t, path))
			w.keptSecret(t, "file "+path, text)
			var bundle struct{ DSSEEnvelope struct{ Payload []byte } }
			if json.Unmarshal(text, &bundle) == nil && bundle.DSSEEnvelope.Payload != nil {
				evidence++
				w.keptSecret(t, "evidence in "+path, bundle.DSSEEnvelope.Payload)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 50 || evidence < 7 {
		t.Errorf("only %d files and %d pieces of evidence were looked through", files, evidence)
	}
}

// before puts a proxy before Vault, and counts what is signed; at says what happens
// before one is.
func (w *vaultWorld) before(t *testing.T, at func(n int64)) *signs {
	t.Helper()
	to, err := url.Parse(w.addr)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	n := &signs{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/transit/sign/") {
			if i := n.begun.Add(1); at != nil {
				at(i)
			}
			defer n.ended.Add(1)
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	return n
}

// signs counts requests for signatures.
type signs struct{ begun, ended atomic.Int64 }

// TestVaultProducer: code of the service can't reach the token, which it reaches where
// nothing fences it.
func TestVaultProducer(t *testing.T) {
	w := newVaultWorld(t)
	user := t.TempDir()
	if err := os.WriteFile(filepath.Join(user, ".vault-token"), []byte(w.tokens[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	// Its own copy of the token would be in the test's binary.
	hunt := fmt.Sprintf(`package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestHunt(t *testing.T) {
	places := map[string][]byte{"the environment": []byte(os.Getenv("VAULT_TOKEN"))}
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range append(files, %q) {
		places[f], _ = os.ReadFile(f)
	}
	for place, text := range places {
		if bytes.Contains(text, []byte("hvs"+".")) {
			t.Error("TOKEN FOUND in", place)
		}
	}
}
`, filepath.Join(user, ".vault-token"))
	if err := os.WriteFile(filepath.Join(w.src, "hunt_test.go"), []byte(hunt), 0o644); err != nil {
		t.Fatal(err)
	}
	w.ship(t, regtest.New(t).Repo("hello")+":v1").says(t, "ship", 0)

	cmd := exec.Command("go", "test", "-count=1", "-run", "TestHunt", ".")
	cmd.Dir, cmd.Env = w.src, append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false "+os.Getenv("GOFLAGS"))
	out, err := cmd.CombinedOutput()
	for _, place := range []string{"the environment", "/environ", ".vault-token"} {
		if err == nil || !strings.Contains(string(out), place) {
			t.Errorf("without a fence the token should have been found in %s: %v\n%s", place, err, out)
		}
	}
}

// TestVaultRotated: a new version of a key is another signer, until the trust root says
// otherwise; what the old one signed stays good.
func TestVaultRotated(t *testing.T) {
	w := newVaultWorld(t)
	reg := regtest.New(t)
	w.ship(t, reg.Repo("old")+":v1").says(t, "ship", 0)
	w.write(t, "transit/keys/orders/rotate", nil)
	runProcess(t, w.home, "verify", reg.Repo("old")+":v1").says(t, "verify what the old key signed", 0)
	w.ship(t, reg.Repo("new")+":v1").says(t, "ship with a key that nobody trusts", 3, "no usable signature")
	runProcess(t, w.home, "key", "init").says(t, "key init", 2, "rotated", "pathctl key export")

	w.export(t, "attester-2.pub")
	entry := "  - {name: attester-2, key: keys/attester-2.pub, roles: [attester], maxTier: observed, maxBuildLevel: 1}\n"
	trust := filepath.Join(w.home, "trust.yaml")
	if err := os.WriteFile(trust, []byte(readText(t, trust)+entry), 0o644); err != nil {
		t.Fatal(err)
	}
	w.ship(t, reg.Repo("new")+":v1").says(t, "ship with the new key", 0)
	for _, name := range []string{"old", "new"} {
		runProcess(t, w.home, "verify", reg.Repo(name)+":v1").says(t, "verify "+name, 0)
	}

	// Rotated while it is used: what would not verify is not published.
	if err := os.RemoveAll(filepath.Join(w.home, "cache", "attest", "bundles")); err != nil {
		t.Fatal(err)
	}
	w.before(t, func(n int64) {
		if n == 3 {
			w.write(t, "transit/keys/orders/rotate", nil)
		}
	})
	w.ship(t, reg.Repo("meanwhile")+":v1").says(t, "ship with a key that changes", 1, "rotated", "fix: ")
	if n := regtest.Count(reg.Requests(), http.MethodPut, "/meanwhile/manifests/v1"); n != 0 {
		t.Error("the tag is there, without evidence")
	}
}

// TestVaultRefuses: what is wrong is said with its input, its cause and a fix.
func TestVaultRefuses(t *testing.T) {
	w := newVaultWorld(t)
	for name, body := range map[string]map[string]any{
		"rsa": {"type": "rsa-2048"}, "aes": {"type": "aes256-gcm96"}, "ed": {"type": "ed25519"}, "p384": {"type": "ecdsa-p384"},
	} {
		w.write(t, "transit/keys/"+name, body)
	}
	good, reg := w.tokens[0], regtest.New(t)
	lookOnly := w.token(t, "look", mayRead)
	gone := w.token(t, "gone", mayRead+maySign)
	w.write(t, "auth/token/revoke", map[string]any{"token": gone})
	for name, tt := range map[string]struct {
		token, key, addr string
		code             int
		words            []string
	}{
		"a wrong token":     {"hvs.nobodys", vaultKey, w.addr, 1, []string{"403", "invalid token", "VAULT_TOKEN", "fix: "}},
		"a revoked token":   {gone, vaultKey, w.addr, 1, []string{"403", "invalid token", "VAULT_TOKEN", "fix: "}},
		"may not sign":      {lookOnly, vaultKey, w.addr, 1, []string{"403", "permission denied", "update transit/sign/orders/*", "fix: "}},
		"no such key":       {w.root, "hashivault://order", w.addr, 1, []string{"hashivault://order", "no such key", "vault write transit/keys/order ", "fix: "}},
		"an RSA key":        {w.root, "hashivault://rsa", w.addr, 1, []string{"hashivault://rsa", "no ECDSA P-256 key", "type=ecdsa-p256", "fix: "}},
		"a symmetric key":   {w.root, "hashivault://aes", w.addr, 1, []string{"hashivault://aes", "no ECDSA P-256 key", "type=ecdsa-p256", "fix: "}},
		"an Ed25519 key":    {w.root, "hashivault://ed", w.addr, 1, []string{"hashivault://ed", "no ECDSA P-256 key", "type=ecdsa-p256", "fix: "}},
		"another curve":     {w.root, "hashivault://p384", w.addr, 1, []string{"hashivault://p384", "no ECDSA P-256 key", "type=ecdsa-p256", "fix: "}},
		"nobody there":      {good, vaultKey, "http://127.0.0.1:1", 1, []string{vaultKey, "connection refused", "VAULT_ADDR", "fix: "}},
		"another scheme":    {good, "hashicorp://orders", w.addr, 2, []string{"hashicorp://", "hashivault://NAME", "fix: "}},
		"with a token, too": {good, vaultKey, w.addr, 2, []string{"--identity-token"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VAULT_ADDR", tt.addr)
			t.Setenv("PATHS_ATTESTER_KEY", tt.key)
			if name == "with a token, too" {
				t.Setenv("PATHS_IDENTITY_TOKEN_FILE", filepath.Join(w.home, "token"))
			}
			w.as(t, tt.token)
			w.ship(t, reg.Repo("hello")+":v1").says(t, "ship", tt.code, tt.words...)
		})
	}
	if n := regtest.Count(reg.Requests(), http.MethodPut, "/manifests/v1"); n != 0 {
		t.Error("the tag is there, without evidence")
	}
	t.Setenv("VAULT_TOKEN", good)
	runProcess(t, w.home, "attest", "resume").says(t, "resume with a good token", 0)
	runProcess(t, w.home, "verify", reg.Repo("hello")+":v1", "--policy", "microservice").says(t, "verify", 0)

	// The token may be in the file that vault login writes.
	user := t.TempDir()
	if err := os.WriteFile(filepath.Join(user, ".vault-token"), []byte(good+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VAULT_TOKEN", "")
	t.Setenv("HOME", user)
	r := runProcess(t, w.home, "key", "export", vaultKey)
	if r.code != 0 || r.stdout != readText(t, filepath.Join(w.home, "keys", "attester.pub")) || r.stderr != "" {
		t.Errorf("key export with a token's file: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestVaultStopped: Vault ends in the middle of a run, and comes back with the same key.
func TestVaultStopped(t *testing.T) {
	w := newVaultWorld(t)
	w.write(t, "transit/keys/orders/config", map[string]any{"exportable": true, "allow_plaintext_backup": true})
	backup := w.do(t, http.MethodGet, "transit/backup/orders", nil)["backup"]
	reg := regtest.New(t)
	to := reg.Repo("hello") + ":v1"
	// Three are signed and kept; the others are on their way when Vault ends.
	down := make(chan struct{})
	var first *signs
	first = w.before(t, func(n int64) {
		switch {
		case n == 4:
			for first.ended.Load() < 3 {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(300 * time.Millisecond) // until they are kept
			w.stop()
			close(down)
		case n > 4:
			<-down
		}
	})
	w.ship(t, to).says(t, "ship", 1, vaultKey, "does not answer", "fix: start Vault")
	if n := regtest.Count(reg.Requests(), http.MethodPut, "/manifests/v1"); n != 0 {
		t.Error("the tag is there before the evidence")
	}
	kept := func() int {
		files, err := filepath.Glob(filepath.Join(w.home, "cache", "attest", "bundles", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	before := kept()
	runProcess(t, w.home, "attest", "resume").says(t, "resume while it is down", 1, "does not answer")

	again := startVault(t)
	again.write(t, "transit/restore/orders", map[string]any{"backup": backup})
	t.Setenv("VAULT_ADDR", again.addr)
	w.vault = again
	w.as(t, again.token(t, "attester", mayRead+maySign))
	rest := w.before(t, nil)
	runProcess(t, w.home, "attest", "resume").says(t, "resume", 0)
	if n := int(rest.begun.Load()); before != 3 || n != kept()-before {
		t.Errorf("%d signatures were kept, %d made on the way back, and %d are there", before, n, kept())
	}
	runProcess(t, w.home, "verify", to, "--policy", "microservice").says(t, "verify", 0)
}

// TestVaultServices: the key is in Vault, and a Sigstore gives time and log entries.
func TestVaultServices(t *testing.T) {
	s := newSigstoreWorld(t)
	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
	w := newVaultWorld(t)
	reg := regtest.New(t)
	r := w.ship(t, reg.Repo("hello")+":v1")
	r.says(t, "ship", 0)
	ref := reg.Repo("hello") + "@" + string(shippedDigest(t, r))
	runProcess(t, w.home, "verify", ref).says(t, "verify", 0)
	args := []string{"verify-attestation", "--type", "slsaprovenance1", "--key", filepath.Join(w.home, "keys", "attester.pub"),
		"--trusted-root", filepath.Join(s.dir, "trusted_root.json"), "--use-signed-timestamps", "--allow-http-registry", ref}
	if out, err := exec.Command(filepath.Join(s.verifiers, "cosign3"), args...).CombinedOutput(); err != nil {
		t.Errorf("cosign3, which asks for a log entry and a timestamp: %v\n%s", err, out)
	}
}
