//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/policy"
)

// jobWorld is a service in a repository, and the platform that runs its jobs: a
// server that gives them the tokens of the Sigstore's issuer, which has GitHub's shape.
type jobWorld struct {
	sigstoreWorld
	reg *regtest.Server
	// flags say what the tokens claim, by audience.
	flags func(audience string) []string
}

func newJobWorld(t *testing.T) *jobWorld {
	w := &jobWorld{sigstoreWorld: newSigstoreWorld(t), reg: regtest.New(t)}
	w.src = hello(t)
	revision := commit(t, w.src)
	git(t, w.src, "remote", "set-url", "origin", "https://github.com/acme/orders.git")
	w.flags = func(string) []string { return []string{"-sha", revision, "-repository", "acme/orders"} }
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		audience := r.URL.Query().Get("audience")
		cmd := exec.Command(w.tool, append([]string{"token", "-audience", audience}, w.flags(audience)...)...)
		cmd.Env = append(os.Environ(), "PATHS_SIGSTORE="+w.dir)
		out, err := cmd.Output()
		if err != nil || r.Header.Get("Authorization") != "Bearer job" {
			http.Error(rw, "no token", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(rw, `{"value":%q}`, strings.TrimSpace(string(out)))
	}))
	t.Cleanup(server.Close)
	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", server.URL+"/token?v=1")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job")
	return w
}

// trustFor writes a trust root that believes an attester up to L3 and takes the word of
// some platforms.
func (w *jobWorld) trustFor(t *testing.T, issuer, subject, runIssuers string) {
	t.Helper()
	w.trust(t, w.home, issuer, subject)
	file := filepath.Join(w.home, "trust.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "  maxBuildLevel: 1\n", "  maxBuildLevel: 3\n"+runIssuers, 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTrustRun: which level a job of GitHub's reaches is what its platform says of it,
// whom the trust root believes, and who signed.
func TestTrustRun(t *testing.T) {
	w := newJobWorld(t)
	whole := w.flags
	believed := fmt.Sprintf("  runIssuers: [%q]\n", w.issuer)
	kubernetes := strings.Replace(w.issuer, "/github", "/kubernetes", 1)
	strict := filepath.Join(t.TempDir(), "excepts.yaml")
	src, err := policy.Source("microservice")
	if err != nil {
		t.Fatal(err)
	}
	exception := "\nseparation: {exceptions: [{name: one-job, producer: '" + trustSubject + "', reason: one small team}]}\n"
	if err := os.WriteFile(strict, append(src, exception...), 0o644); err != nil {
		t.Fatal(err)
	}
	with := func(more ...string) func(string) []string {
		return func(a string) []string { return append(whole(a), more...) }
	}
	for i, c := range []struct {
		name    string
		flags   func(string) []string
		runs    string // whose word counts
		account bool   // a service account signs
		policy  string
		level   int
		says    string
	}{
		{"one job builds and signs", whole, believed, false, "microservice", 1, trustSubject + " built it and signed for itself"},
		{"the policy's exception names it", whole, believed, false, strict, 2, "one-job (one small team)"},
		{"somebody else signs", whole, believed, true, "microservice", 2, trustAccount + " signed it"},
		{"nobody believes the platform", whole, "", true, "microservice", 1, "does not take the word of " + w.issuer},
		{"a machine that is not the platform's", with("-runner", "self-hosted"), believed, true, "microservice", 1, "github-self-hosted"},
		{"the job is for another commit", with("-sha", strings.Repeat("b", 40)), believed, true, "microservice", 1, "vouches for another source"},
		{"the job is for another repository", with("-repository", "acme/other"), believed, true, "microservice", 1, "vouches for another source"},
		{"the certificate is another run's", func(a string) []string {
			if a == "sigstore" {
				return append(whole(a), "-run", "2")
			}
			return append(whole(a), "-run", "3") // no signature of an earlier ship fits
		}, believed, false, strict, 1, "certificate was issued to https://github.com/acme/orders/actions/runs/2/attempts/1"},
	} {
		w.flags = c.flags
		issuer, subject := w.issuer, trustSubject
		t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
		if c.account {
			issuer, subject = kubernetes, trustAccount
			w.token(t, "-shape", "kubernetes")
		}
		w.trustFor(t, issuer, subject, c.runs)
		to := w.reg.Repo(fmt.Sprintf("job%d", i)) + ":v1"
		w.ship(t, to).says(t, c.name, 0)
		v, r := verdictOf(t, w.home, to, "--policy", c.policy)
		if r.code != 0 || v.Level.Build != c.level || !strings.Contains(fmt.Sprint(v.Level.Reasons), c.says) {
			t.Errorf("%s: exit %d, level %d, want %d because %q: %+v", c.name, r.code, v.Level.Build, c.level, c.says, v.Level.Reasons)
		}
	}

	// Two jobs of two workflows, whose builds two identities attest: one image.
	w.trust(t, w.home, kubernetes, trustAccount)
	file := filepath.Join(w.home, "trust.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const second = "https://kubernetes.io/namespaces/rebuilds/serviceaccounts/attester"
	text := strings.Replace(string(raw), "  maxBuildLevel: 1\n", "  maxBuildLevel: 1\n"+believed, 1) + fmt.Sprintf(`- name: rebuilder
  roles: [attester]
  maxTier: observed
  maxBuildLevel: 1
  runIssuers: [%q]
  identity: {trustedRoot: %q, issuer: %q, subject: %q}
`, w.issuer, filepath.Join(w.dir, "trusted_root.json"), kubernetes, second)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	built := func(name, workflow, run string, token ...string) string {
		w.flags = with("-workflow", "acme/orders/.github/workflows/"+workflow+"@refs/heads/main", "-run", run)
		w.token(t, append([]string{"-shape", "kubernetes"}, token...)...)
		to := w.reg.Repo(name) + ":v1"
		w.ship(t, to).says(t, name, 0)
		return to
	}
	one := built("one", "ship.yaml", "11")
	two := built("two", "rebuild.yaml", "12", "-namespace", "rebuilds")
	same := built("same", "ship.yaml", "13", "-namespace", "rebuilds")
	if v, r := verdictOf(t, w.home, one, "--reproduced-by", two); r.code != 0 || !v.Reproduced {
		t.Errorf("two builders: exit %d, reproduced %t: %+v", r.code, v.Reproduced, v.Findings)
	}
	if v, r := verdictOf(t, w.home, one, "--reproduced-by", same); r.code != 3 || v.Reproduced || !strings.Contains(fmt.Sprint(v.Findings), "ship.yaml@refs/heads/main built both") {
		t.Errorf("one builder: exit %d, reproduced %t: %+v", r.code, v.Reproduced, v.Findings)
	}

	// What GitHub's variables say without a platform behind them.
	w.flags = whole
	for name, env := range map[string][2]string{
		"nobody there":  {"http://127.0.0.1:1/token", "job"},
		"another token": {os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), "stolen"},
	} {
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", env[0])
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", env[1])
		w.ship(t, w.reg.Repo("forged")+":v1").says(t, name, 1, "ask GitHub which run this is", "unset ACTIONS_ID_TOKEN_REQUEST_URL")
	}
}
