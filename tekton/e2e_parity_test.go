//go:build e2e

package tekton_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// host is what a verifier learns of the image that one host made.
type host struct {
	name   string
	digest string
	level  string
	set    map[string]string // tier and signer, by predicate type and subject
}

// same holds the image and its evidence against those that pathctl and dagger call make
// of the same commit, on this machine and on an engine, with keys of their own. What may
// differ is in the table, and nothing else does.
func (w *world) same(t *testing.T, commit, ref string) {
	dir := filepath.Join(t.TempDir(), "orders")
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	url, db := w.Git+"/orders.git", filepath.Join(w.Dir, "db")
	git("clone", "-q", filepath.Join(w.Repos, "orders.git"), dir)
	// The remote of a clone is the folder that it came from; the run's was a URL.
	git("-C", dir, "remote", "set-url", "origin", url)
	home := filepath.Join(w.Dir, "local")
	run := func(in, program string, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir = in
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "PATHS_SIGNING_CONFIG=") && !strings.HasPrefix(v, "PATHS_TRUSTED_ROOT=") {
				cmd.Env = append(cmd.Env, v)
			}
		}
		cmd.Env = append(cmd.Env, "PATHS_HOME="+home)
		var out, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %q: %v\n%s%s", filepath.Base(program), args, err, out.String(), stderr.String())
		}
		return out.String()
	}
	// Compiled packages are those that pathctl's own tests share: what they were compiled
	// to earlier on this host is as good for the comparison with other hosts.
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"build", "fetch"} {
		shared, link := filepath.Join(user, "paths-test", zone), filepath.Join(home, "cache", zone, "tools")
		for _, folder := range []string{shared, filepath.Dir(link)} {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(shared, link); err != nil {
			t.Fatal(err)
		}
	}
	pathctl := func(args ...string) string { return run(dir, env(t, "PATHS_TOOL"), args...) }
	pathctl("key", "init")
	pathctl("ship", ".", "--vuln-db", db)

	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	defer reg.Close()
	at := strings.TrimPrefix(reg.URL, "http://")
	run("..", "dagger", "call", "-m", "modules/microservice", "--tool", env(t, "PATHS_TOOL"), "--go-image", env(t, "PATHS_GO_IMAGE"),
		"ship", "--source", dir, "--registry", at, "--tunnel", "tcp://"+at,
		"--attester-key", "file://"+filepath.Join(home, "keys/attester.key"), "--verifier-key", "file://"+filepath.Join(home, "keys/verifier.key"),
		"--trust", home, "--vuln-db", db, "--revision", commit, "--created", git("-C", dir, "log", "-1", "--format=%cI"), "--repository", url, "summary")

	where, err := name.NewRegistry(at)
	if err != nil {
		t.Fatal(err)
	}
	repositories, err := remote.Catalog(t.Context(), where)
	if err != nil || len(repositories) != 1 {
		t.Fatalf("dagger call ship published to %q: %v", repositories, err)
	}
	_, digest, _ := strings.Cut(ref, "@")
	hosts := []host{
		learn(t, "pathctl ship", pathctl, "oci:.paths/store"),
		learn(t, "dagger call ship", pathctl, at+"/"+repositories[0]+"@"+digest),
		learn(t, "Tekton", func(args ...string) string { return w.pathctl(t, args...).ok(t) }, ref),
	}
	var table strings.Builder
	line := func(what string, of func(host) string) {
		fmt.Fprintf(&table, "%-76s", what)
		for _, h := range hosts {
			fmt.Fprintf(&table, " %-32s", of(h))
		}
		table.WriteByte('\n')
	}
	line("", func(h host) string { return h.name })
	line("digest", func(h host) string { return h.digest[:19] })
	line("SLSA Build level", func(h host) string { return h.level })
	for _, what := range slices.Sorted(maps.Keys(hosts[0].set)) {
		line(strings.ReplaceAll(what, hosts[0].digest, "the image"), func(h host) string { return h.set[what] })
	}
	t.Logf("parity:\n%s", table.String())
	for _, h := range hosts[1:] {
		if h.digest != hosts[0].digest {
			t.Errorf("%s made %s, and %s %s", hosts[0].name, hosts[0].digest, h.name, h.digest)
		}
		for what, of := range h.set {
			if hosts[0].set[what] == "" {
				t.Errorf("%s: %s (%s) has no like in %s", h.name, what, of, hosts[0].name)
			}
		}
		for what, of := range hosts[0].set {
			if h.set[what] != of {
				t.Errorf("%s: %s is %q, and %q in %s", h.name, what, h.set[what], of, hosts[0].name)
			}
		}
	}
	if got := []string{hosts[0].level, hosts[1].level, hosts[2].level}; !slices.Equal(got, []string{"1", "1", "2"}) {
		t.Errorf("the levels are %v", got)
	}
}

// learn asks pathctl.
func learn(t *testing.T, called string, pathctl func(...string) string, ref string) host {
	t.Helper()
	var verdict struct {
		Digest string
		Level  struct{ Build int }
	}
	var list []struct{ Image, Type, Tier, Signer string }
	for raw, to := range map[string]any{pathctl("verify", ref, "-o", "json"): &verdict, pathctl("evidence", "ls", ref, "-o", "json"): &list} {
		if err := json.Unmarshal([]byte(raw), to); err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
	}
	h := host{name: called, digest: verdict.Digest, level: fmt.Sprint(verdict.Level.Build), set: map[string]string{}}
	for _, e := range list {
		if !strings.Contains(e.Type, "/svr/") { // the verifier's Task makes one as well
			h.set[e.Type+" on "+e.Image] = e.Tier + ", by " + e.Signer
		}
	}
	return h
}
