//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
)

const person = "dev@example.com"

var (
	asked = regexp.MustCompile(`open (http://\S+)\?user_code=\S+ and approve the code (\S{4}-\S{4})`)
	// tokenForm is the form of identity tokens.
	tokenForm = regexp.MustCompile(`eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}`)
)

// login runs a command line, and does on the page that it names what a person would.
// It returns when the login was polled, too.
func (w sigstoreWorld) login(t *testing.T, do []string, args ...string) (result, []time.Time) {
	t.Helper()
	cmd := pathctlProcess(t, w.home, args...)
	var stdout, all bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var page, code string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		m := asked.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		page, code = m[1], m[2]
		for _, action := range do {
			if action == "interrupt" {
				_ = cmd.Process.Signal(syscall.SIGINT)
				continue
			}
			resp, err := http.PostForm(page, url.Values{"user_code": {code}, "do": {action}, "email": {person}})
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v", action, err)
			}
			resp.Body.Close()
		}
	}
	_ = cmd.Wait() // the exit code says it
	r := result{stdout.String(), all.String(), cmd.ProcessState.ExitCode()}
	if code == "" {
		t.Fatalf("nobody was asked to log in: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if tokenForm.MatchString(r.stdout + r.stderr) {
		t.Error("a token is in the output")
	}
	resp, err := http.Get(page + "/polls?user_code=" + code)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var polls []time.Time
	if err := json.NewDecoder(resp.Body).Decode(&polls); err != nil {
		t.Fatal(err)
	}
	return r, polls
}

// TestTrustLogin: a person logs in on a page, and what is signed names the person.
func TestTrustLogin(t *testing.T) {
	w := newSigstoreWorld(t)
	if token := w.run(t, "token", "-shape", "email"); !tokenForm.MatchString(token) {
		t.Fatal("a token would not be found")
	}
	issuer := strings.Replace(w.issuer, "/github", "/people", 1)
	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
	t.Setenv("PATHS_LOGIN", "device")
	w.trust(t, w.home, issuer, person)
	reg := regtest.New(t)
	ship := func(name string) []string {
		return []string{"ship", w.src, "--vuln-db", w.db, "--to", reg.Repo(name) + ":v1", "--output", "json"}
	}
	afresh := func() {
		for _, dir := range []string{"bundles", "pending"} {
			if err := os.RemoveAll(filepath.Join(w.home, "cache", "attest", dir)); err != nil {
				t.Fatal(err)
			}
		}
	}

	r, _ := w.login(t, []string{"approve"}, ship("approved")...)
	r.says(t, "ship", 0)
	ref := reg.Repo("approved") + "@" + string(shippedDigest(t, r))
	verified := runProcess(t, w.home, "verify", ref)
	verified.says(t, "verify", 0)
	if !strings.Contains(verified.stdout, "attester is "+person+", by issuer "+issuer) {
		t.Errorf("verify does not say who signed:\n%s", verified.stdout)
	}
	for _, version := range []string{"cosign2", "cosign3"} {
		if out, err := w.cosign(version, ref, person, issuer); err != nil {
			t.Errorf("%s: %v\n%s", version, err, out)
		}
		if out, err := w.cosign(version, ref, "x"+person, issuer); err == nil {
			t.Errorf("%s accepts another person, so its word means nothing\n%s", version, out)
		}
	}
	for _, dir := range []string{w.home, w.src} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			if tokenForm.MatchString(readText(t, path)) {
				t.Errorf("a token is in %s", path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	afresh()
	r, _ = w.login(t, []string{"expire"}, ship("expired")...)
	r.says(t, "ship with a code that ran out", 1, "in time", "fix: ")
	r, _ = w.login(t, []string{"interrupt"}, ship("interrupted")...)
	r.says(t, "ship, interrupted", 1, "interrupted")

	// The issuer wants longer pauses: asked again too soon it says so, and then not
	// before the longer pause is over.
	r, polls := w.login(t, []string{"slow", "approve"}, ship("slow")...)
	r.says(t, "ship with a slow issuer", 0)
	if len(polls) < 2 || len(polls) > 4 || polls[len(polls)-1].Sub(polls[len(polls)-2]) < 5500*time.Millisecond {
		t.Errorf("it was polled at %v", polls)
	}

	afresh()
	r, _ = w.login(t, []string{"deny"}, ship("denied")...)
	r.says(t, "ship, denied", 1, "denied", "fix: ")
	for _, name := range []string{"expired", "interrupted", "denied"} {
		if n := regtest.Count(reg.Requests(), http.MethodPut, "/"+name+"/manifests/v1"); n != 0 {
			t.Errorf("%s: the tag is there, without evidence", name)
		}
	}

	// What a log left pending is ended by whoever logs in, here by a flag.
	w.run(t, "stop", "rekor")
	t.Cleanup(func() { w.run(t, "start", "rekor") })
	r, _ = w.login(t, []string{"approve"}, ship("pending")...)
	r.says(t, "ship without a log", 1, "transparency log", "attest resume")
	w.run(t, "start", "rekor")
	t.Setenv("PATHS_LOGIN", "")
	r, _ = w.login(t, []string{"approve"}, "attest", "resume", "--login")
	r.says(t, "resume", 0)
	runProcess(t, w.home, "verify", reg.Repo("pending")+":v1").says(t, "verify what was resumed", 0)
}

// TestTrustLoginRefused: a login is for people, and for nobody else's token or key.
func TestTrustLoginRefused(t *testing.T) {
	w := newSigstoreWorld(t)
	to := regtest.New(t).Repo("hello") + ":v1"
	t.Setenv("PATHS_LOGIN", "device")
	w.ship(t, to).says(t, "a token and a login", 2, "--identity-token and --login")
	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
	t.Setenv("PATHS_ATTESTER_KEY", filepath.Join(w.home, "keys", "attester.key"))
	w.ship(t, to).says(t, "a key and a login", 2, "--key, --identity-token and --login")
	t.Setenv("PATHS_ATTESTER_KEY", "")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x")
	w.ship(t, to).says(t, "a job of GitHub", 2, "a token of its own", "PATHS_LOGIN")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")

	config := os.Getenv("PATHS_SIGNING_CONFIG")
	var doc map[string]any
	if err := json.Unmarshal([]byte(readText(t, config)), &doc); err != nil {
		t.Fatal(err)
	}
	with := func(urls any) {
		doc["oidcUrls"] = urls
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "signing_config.json")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATHS_SIGNING_CONFIG", file)
	}
	service := func(url string) any {
		return []any{map[string]any{"url": url, "majorApiVersion": 1, "operator": "x", "validFor": map[string]any{"start": "2020-01-01T00:00:00Z"}}}
	}
	with([]any{})
	w.ship(t, to).says(t, "no provider", 2, "no OIDC provider", "oidcUrls")
	with(service(w.issuer))
	w.ship(t, to).says(t, "a provider without the grant", 1, w.issuer, "no device authorization grant", "fix: ")
	with(service("http://127.0.0.1:1/x"))
	w.ship(t, to).says(t, "a provider that is not there", 1, "http://127.0.0.1:1/x", "connection refused", "fix: ")

	t.Setenv("PATHS_SIGNING_CONFIG", "")
	t.Setenv("PATHS_TRUSTED_ROOT", "")
	w.ship(t, to).says(t, "no Sigstore", 2, "--login needs a certificate authority")
	t.Setenv("PATHS_LOGIN", "browser")
	w.ship(t, to).says(t, "another way", 1, "PATHS_LOGIN", "device")
}
