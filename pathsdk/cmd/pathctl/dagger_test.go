//go:build e2e

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/gen"
	"github.com/pavedpaths/paths/pathsdk/internal/hostile"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// These tests use the modules as people do, by the dagger command, on the engine
// that the environment names: scripts/e2e-dagger.sh starts one and runs them.

const microservice = "modules/microservice"

// daggerWorld is what one test ships with: keys, a database, a registry.
type daggerWorld struct {
	home, db string
	registry *regtest.Server
}

func newDaggerWorld(t *testing.T, opts ...regtest.Option) daggerWorld {
	t.Helper()
	w := daggerWorld{home: newHome(t), db: smallDB(t), registry: regtest.New(t, opts...)}
	if r := pathctl(t, w.home, "key", "init"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	return w
}

// daggerCommand is a command line of dagger at the root of this repository.
func daggerCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	for _, name := range []string{"_EXPERIMENTAL_DAGGER_RUNNER_HOST", "PATHS_GO_IMAGE"} {
		if os.Getenv(name) == "" {
			t.Fatalf("%s is not set: run these tests with make e2e-dagger", name)
		}
	}
	cmd := exec.CommandContext(t.Context(), "dagger", args...)
	cmd.Dir = "../../.."
	return cmd
}

// call calls a function of the microservice module, with the pathctl that make
// built.
func call(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return daggerCommand(t, append([]string{"call", "-m", microservice, "--tool", "bin/pathctl", "--go-image", os.Getenv("PATHS_GO_IMAGE")}, args...)...)
}

// ship is the arguments of ship into the world's registry.
func (w daggerWorld) ship(src string, more ...string) []string {
	return append([]string{"ship", "--source", src, "--registry", w.registry.Host, "--tunnel", "tcp://" + w.registry.Host,
		"--attester-key", "file://" + filepath.Join(w.home, "keys/attester.key"), "--verifier-key", "file://" + filepath.Join(w.home, "keys/verifier.key"),
		"--trust", w.home, "--vuln-db", w.db}, more...)
}

func mustCall(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	r := waitFor(t, cmd)
	if r.code != 0 {
		t.Fatalf("%s: exit %d\n%s%.20000s", strings.Join(cmd.Args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// TestDaggerParity ships the example on the host and on the engine: the image and
// the set of (predicate type, subject) are the same, and everything else is as the
// table of hosts says.
func TestDaggerParity(t *testing.T) {
	w := newDaggerWorld(t)
	src := filepath.Join(t.TempDir(), "microservice-go")
	if err := os.CopyFS(src, os.DirFS("../../../examples/microservice-go")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(src, ".paths")); err != nil {
		t.Fatal(err)
	}
	revision := commit(t, src)
	created := git(t, src, "log", "-1", "--format=%cI")
	// The same name, since where a database lies is recorded by its last element.
	db := filepath.Join(t.TempDir(), "vulndb")
	if err := os.Rename(w.db, db); err != nil {
		t.Fatal(err)
	}
	w.db = db
	host := pathctlProcess(t, w.home, "ship", src, "--vuln-db", db, "--output", "json")
	host.Env = slices.DeleteFunc(host.Env, func(e string) bool { return strings.HasPrefix(e, "SOURCE_DATE_EPOCH=") })
	onHost := mustCall(t, host)
	digest := shippedDigest(t, onHost)

	r := mustCall(t, call(t, w.ship(src, "--revision", revision, "--created", created, "--repository", "https://example.com/team/service.git", "summary")...))
	for _, want := range []string{"digest     " + string(digest), "verdict    PASSED", "level      SLSA Build L1"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("dagger call ship does not say %q:\n%s", want, r.stdout)
		}
	}
	name := w.registry.Repo("orders") + "@" + string(digest)
	// What it published verifies as anything else does, by the host's own pathctl.
	if r := pathctl(t, w.home, "verify", name, "--policy", "microservice"); r.code != 0 {
		t.Errorf("pathctl verify %s: exit %d\n%s%s", name, r.code, r.stdout, r.stderr)
	}

	type row struct{ field, host, dagger, rule string }
	var rows []row
	a, b := factsOf(t, w.home, "oci:"+filepath.Join(src, ".paths", "store")), factsOf(t, w.home, name)
	differs := map[string]string{ // what the table of hosts says
		"builder": "by host", "invocation": "by run", "fact host": "by host",
		// Namespaces are refused in a container; the test's own binary runs on the host,
		// and make's on the engine.
		"fact " + provenance.FactFence: "by host", "dependency " + provenance.DependencyTool: "by binary",
	}
	for _, field := range slices.Sorted(maps.Keys(mergedKeys(a, b))) {
		rule, other := differs[field]
		if !other {
			rule = "same"
			if a[field] != b[field] {
				t.Errorf("%s differs: host %q, dagger %q", field, a[field], b[field])
			}
		} else if a[field] == b[field] {
			t.Errorf("%s is %q on both hosts", field, a[field])
		}
		rows = append(rows, row{field, a[field], b[field], rule})
	}
	if len(rows) < 20 {
		t.Errorf("only %d fields were compared", len(rows))
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-34s %-52s %-52s %s\n", "field", "pathctl ship", "dagger call ship", "rule")
	for _, r := range rows {
		fmt.Fprintf(&table, "%-34s %-52.52s %-52.52s %s\n", r.field, r.host, r.dagger, r.rule)
	}
	t.Logf("parity:\n%s", table.String())
}

func mergedKeys(a, b map[string]string) map[string]bool {
	all := map[string]bool{}
	for _, m := range []map[string]string{a, b} {
		for k := range m {
			all[k] = true
		}
	}
	return all
}

// factsOf is what a verifier learns of an image, field by field.
func factsOf(t *testing.T, home, reference string) map[string]string {
	t.Helper()
	j := newTestJudge(t, home, verifyFlags{})
	e, err := j.examine(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	v, err := j.judge(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	facts := map[string]string{"digest": string(v.Digest), "passed": fmt.Sprint(v.Passed), "level": fmt.Sprint(v.Level.Build)}
	for _, f := range e.found {
		if f.Err != nil {
			t.Fatalf("%s: %v", f.Digest, f.Err)
		}
		s := f.Verified.Statement
		key := shortType(f.PredicateType) + " on " + s.Subject.Digest.Short()
		if s.Subject.Digest == e.digest {
			key = shortType(f.PredicateType) + " on the image"
		}
		facts[key] = string(f.Verified.Tier) + ", signed by " + f.Verified.Signer.Name
		if f.PredicateType != evidence.Provenance.URI {
			continue
		}
		p, err := evidence.ParseProvenance(s.Predicate)
		if err != nil {
			t.Fatal(err)
		}
		facts["builder"], facts["invocation"] = p.RunDetails.Builder.ID, p.RunDetails.Metadata.InvocationID
		facts["build type"] = p.BuildDefinition.BuildType
		for name, raw := range p.BuildDefinition.ExternalParameters {
			var inputs map[string]json.RawMessage
			if name == "inputs" && json.Unmarshal(raw, &inputs) == nil {
				for k, v := range inputs {
					facts["input "+k] = string(v)
				}
				continue
			}
			facts["parameter "+name] = string(raw)
		}
		for _, d := range p.BuildDefinition.ResolvedDependencies {
			facts["dependency "+d.Name] = fmt.Sprint(d.URI, d.Digest)
		}
		found, err := provenance.Facts(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			facts["fact "+f.Name] = f.Value
		}
	}
	return facts
}

// TestDaggerHostile ships a service that attacks, and one that prints all that it
// can see: in the build container there is no network, no secret, no variable of
// the session or of OpenTelemetry, and no way to the engine.
func TestDaggerHostile(t *testing.T) {
	w := newDaggerWorld(t)
	reports := filepath.Join(t.TempDir(), "reports")
	src := hostileService(t, filepath.Join(t.TempDir(), "hostile"))
	cmd := call(t, w.ship(src, "digest")...)
	cmd.Env = append(os.Environ(), "SIGNING_TOKEN="+hostile.Mark, "ACTIONS_ID_TOKEN_REQUEST_TOKEN="+hostile.Mark)
	mustCall(t, cmd)
	mustCall(t, call(t, "test", "--source", src, "files", "export", "--path", reports))
	log, err := os.ReadFile(filepath.Join(reports, "test/log/test.log"))
	if err != nil {
		t.Fatal(err)
	}
	hostile.NothingDone(t, string(log))

	// The fence hides the container from the service. This is what a build would see
	// that broke out of it: a program in the place of pathctl, that looks around.
	probe := filepath.Join(t.TempDir(), "pathctl")
	look := "#!/bin/sh\nmkdir -p /out\necho '{}' >/out/record.json\n{ for f in /proc/[0-9]*/environ; do tr '\\0' '\\n' <$f; done; env; cat /proc/self/mountinfo /proc/net/dev /proc/net/unix; ls -laR /run /secrets /root /paths/keys; wget -O- http://1.1.1.1; wget -O- http://10.89.0.1:5000/v2/; echo looked; } >/out/look.txt 2>&1\n"
	if err := os.WriteFile(probe, []byte(look), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd = daggerCommand(t, "call", "-m", "modules/step", "--tool", probe, "--go-image", os.Getenv("PATHS_GO_IMAGE"), "produce", "--source", hello(t), "tested", "file", "--path", "look.txt", "contents")
	cmd.Env = append(os.Environ(), "ACTIONS_ID_TOKEN_REQUEST_TOKEN="+hostile.Mark)
	seen := mustCall(t, cmd).stdout
	for _, forbidden := range []string{"DAGGER", "OTEL_", "TRACEPARENT", "TOKEN", "secret", hostile.Mark, "attester", "engine.sock", "dagger.sock", "eth", "PATHS_CONNECT"} {
		for line := range strings.Lines(seen) {
			if strings.Contains(line, forbidden) && !strings.Contains(line, "No such file") && !strings.HasPrefix(line, "/proc/") {
				t.Errorf("the build container shows %q: %s", forbidden, line)
			}
		}
	}
	for _, want := range []string{"looked", "lo:", "PATHS_HOST=dagger", "(1.1.1.1): Network is unreachable", "(10.89.0.1): Network is unreachable"} {
		if !strings.Contains(seen, want) {
			t.Errorf("the look did not see %q, so finding nothing means nothing:\n%.6000s", want, seen)
		}
	}
	// The same commands see plenty where a container has what a build may not have.
	control := daggerCommand(t, "core", "container", "from", "--address", os.Getenv("PATHS_GO_IMAGE"), "with-exec", "--args=sh,-c,env; cat /proc/net/dev", "stdout")
	if r := mustCall(t, control); !strings.Contains(r.stdout, "OTEL_") || !strings.Contains(r.stdout, "eth") {
		t.Errorf("the control shows neither variables nor a network:\n%s", r.stdout)
	}
}

// TestDaggerPublishesTwice: a second ship of the same really talks to the registry
// again, which neither of the engine's caches may swallow.
func TestDaggerPublishesTwice(t *testing.T) {
	w := newDaggerWorld(t)
	src := hello(t)
	var digests []string
	for i := range 2 {
		r := mustCall(t, call(t, w.ship(src, "digest")...))
		digests = append(digests, strings.TrimSpace(r.stdout))
		requests := w.registry.Requests()
		if n := regtest.Count(requests, http.MethodPut, "/manifests/latest"); n != 1 {
			t.Errorf("ship %d wrote the tag %d times, want once", i+1, n)
		}
		if i == 1 {
			if n := regtest.Count(requests, http.MethodPut, "/manifests/sha256:"); n > 1 {
				t.Errorf("the second ship wrote %d manifests by digest: signatures were made anew", n)
			}
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("two digests of the same: %v", digests)
	}
}

// TestDaggerResult: what a result can be chained into.
func TestDaggerResult(t *testing.T) {
	w := newDaggerWorld(t)
	src, out := hello(t), t.TempDir()
	mustCall(t, call(t, w.ship(src, "report", "export", "--path", filepath.Join(out, "report.html"))...))
	if raw, err := os.ReadFile(filepath.Join(out, "report.html")); err != nil || !bytes.Contains(raw, []byte("<html")) {
		t.Errorf("report: %v", err)
	}
	digest := strings.TrimSpace(mustCall(t, call(t, "build", "--source", src, "digest")).stdout)
	if _, err := step.ParseDigest(digest); err != nil {
		t.Errorf("build: %v", err)
	}
	if r := mustCall(t, call(t, "build", "--source", src, "container", "entrypoint")); !strings.Contains(r.stdout, "/ko-app/hello") {
		t.Errorf("build … container entrypoint: %s", r.stdout)
	}
	r := mustCall(t, call(t, "verify", "--reference", w.registry.Repo("hello:latest"), "--tunnel", "tcp://"+w.registry.Host, "--trust", w.home, "evidence", "entries"))
	for _, want := range []string{"provenance-", "spdx-", "cyclonedx-", "vulns-", "test-result-"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("verify … evidence entries lacks %s:\n%s", want, r.stdout)
		}
	}
	if r := mustCall(t, call(t, "explain")); !strings.Contains(r.stdout, "provenance") {
		t.Errorf("explain: %s", r.stdout)
	}
	// A step by itself.
	r = mustCall(t, daggerCommand(t, "call", "-m", "modules/step", "--tool", "bin/pathctl", "--go-image", os.Getenv("PATHS_GO_IMAGE"), "fetch", "--source", src, "digest"))
	if _, err := step.ParseDigest(strings.TrimSpace(r.stdout)); err != nil {
		t.Errorf("step fetch: %v", err)
	}
}

// TestDaggerTrust verifies by a trust root that also names an identity: the modules take
// the files that it names along, and no other of the folder.
func TestDaggerTrust(t *testing.T) {
	w := newDaggerWorld(t)
	r := mustCall(t, call(t, w.ship(hello(t), "digest")...))
	name := w.registry.Repo("hello") + "@" + strings.TrimSpace(r.stdout)
	root, err := os.ReadFile("../../policy/export/testdata/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.home, "trust.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw) + `  - name: ci
    roles: [attester]
    maxTier: observed
    maxBuildLevel: 1
    identity: {trustedRoot: trusted_root.json, issuer: https://token.actions.githubusercontent.com, subject: https://github.com/acme/orders/.github/workflows/attest.yaml@refs/heads/main}
`
	for path, content := range map[string]string{file: text, filepath.Join(w.home, "trusted_root.json"): string(root)} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	verify := call(t, "verify", "--reference", name, "--tunnel", "tcp://"+w.registry.Host, "--trust", w.home, "summary")
	if r := mustCall(t, verify); !strings.Contains(r.stdout, "verdict    PASSED") {
		t.Errorf("verify: %s", r.stdout)
	}
}

// TestDaggerTerminal opens terminals as a person does: in the image, which has no
// shell but its own program, and in a container that has a shell beside its files.
func TestDaggerTerminal(t *testing.T) {
	src := hello(t)
	for _, c := range []struct{ what, line, want string }{
		{"container terminal --cmd=/ko-app/hello", "", "hello, world"},
		{"debug terminal", "pwd; ls ko-app; echo answer=$((6*7)); exit\r", "answer=42"},
	} {
		cmd := call(t, append([]string{"build", "--source", src}, strings.Fields(c.what)...)...)
		cmd.Args = append(cmd.Args, "--progress=tty")
		tty, err := pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		said := converse(tty, c.line)
		if err := cmd.Wait(); err != nil || !strings.Contains(string(said), c.want) {
			t.Errorf("%s: %v\n%.8000s", c.what, err, said)
		}
		_ = tty.Close()
	}
}

// converse types a line, if there is one, once a shell is there, again until it is
// heard, and returns all that was said. The terminal echoes the line, so an answer must differ from it.
func converse(tty *os.File, line string) []byte {
	var said []byte
	var typing sync.Once
	done := make(chan bool)
	defer close(done)
	buf := make([]byte, 4096)
	for {
		n, err := tty.Read(buf)
		said = append(said, buf[:n]...)
		if err != nil { // the other side is closed
			return said
		}
		if line == "" || !bytes.Contains(said, []byte("Attaching terminal")) {
			continue
		}
		typing.Do(func() {
			go func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(5 * time.Second):
						_, _ = tty.WriteString(line)
					}
				}
			}()
		})
	}
}

// TestDaggerRefuses: what is wrong is said, with another exit code than 0.
func TestDaggerRefuses(t *testing.T) {
	w := newDaggerWorld(t)
	src := hello(t)
	refused := func(what string, r result, words ...string) {
		t.Helper()
		if r.code == 0 {
			t.Errorf("%s: exit 0\n%s", what, r.stdout)
		}
		for _, word := range words {
			if !strings.Contains(r.stderr+r.stdout, word) {
				t.Errorf("%s: nothing says %q:\n%.8000s", what, word, r.stderr)
			}
		}
	}
	empty := t.TempDir()
	refused("no go.mod", waitFor(t, call(t, w.ship(empty)...)), "neither a paths.yaml nor a go.mod")
	refused("no key", waitFor(t, call(t, "ship", "--source", src, "--trust", w.home)), `required flag`, "attester-key")
	missing := w.ship(src)
	missing[slices.Index(missing, "--attester-key")+1] = "file://" + filepath.Join(empty, "no.key")
	refused("a key that is not there", waitFor(t, call(t, missing...)), "no.key")
	refused("loopback without a tunnel", waitFor(t, call(t, "ship", "--source", src, "--registry", w.registry.Host,
		"--attester-key", "file://"+filepath.Join(w.home, "keys/attester.key"), "--verifier-key", "file://"+filepath.Join(w.home, "keys/verifier.key"),
		"--trust", w.home, "--vuln-db", w.db)), "add --tunnel tcp://"+w.registry.Host)

	w.registry.Inject(regtest.Fault{Match: regtest.On(http.MethodPut, "/manifests/"), Times: regtest.Always, Do: regtest.Status(http.StatusForbidden)})
	refused("a registry that refuses", waitFor(t, call(t, w.ship(src)...)), "403", w.registry.Host)
	w.registry.Heal()

	r := waitFor(t, call(t, w.ship(src, "--param", "minLevel=2")...))
	refused("a policy that refuses", r, "the policy refuses", "level", "evidence is kept")
	if v, got := verdictOf(t, w.home, w.registry.Repo("hello:latest")); got.code != 0 || !v.Passed {
		t.Errorf("the evidence of a refused image was not kept: exit %d\n%s", got.code, got.stderr)
	}
	// A module with a known hole: the findings are in the output, and the evidence is
	// kept, in a registry and in a store.
	bad := vulnerable(t)
	r = waitFor(t, call(t, w.ship(bad)...))
	refused("a scan that finds", r, "the policy refuses", "vulnerabilities", "CVE-2022-28948", "evidence is kept")
	if v, got := verdictOf(t, w.home, w.registry.Repo("hello:latest")); got.code != 3 || !hasFinding(v, "vulnerabilities") {
		t.Errorf("the evidence of a vulnerable image was not kept: exit %d\n%s", got.code, got.stderr)
	}
	store := filepath.Join(t.TempDir(), "store")
	local := w.ship(bad)
	i := slices.Index(local, "--registry")
	local = slices.Delete(local, i, i+4) // --registry and --tunnel
	refused("a scan that finds, without a registry", waitFor(t, call(t, local...)), "CVE-2022-28948", "not kept", "store export")
	mustCall(t, call(t, append(slices.Clone(local), "--allow-refused", "store", "export", "--path", store)...))
	if v, got := verdictOf(t, w.home, "oci:"+store); got.code != 3 || !hasFinding(v, "vulnerabilities") {
		t.Errorf("the store does not hold the evidence: exit %d\n%s", got.code, got.stderr)
	}

	if err := os.WriteFile(filepath.Join(src, "fail_test.go"), []byte("package main\n\nimport \"testing\"\n\nfunc TestBroken(t *testing.T) { t.Error(\"broken on purpose\") }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused("a failing test", waitFor(t, call(t, w.ship(src)...)), "TestBroken", "broken on purpose")
}

// vulnerable is the small service with a module that has a known hole.
func vulnerable(t *testing.T) string {
	t.Helper()
	src := hello(t)
	for name, text := range map[string]string{
		"yaml.go": "package main\n\nimport _ \"gopkg.in/yaml.v3\"\n",
		"go.mod": `module example.com/hello

go 1.26.0

require gopkg.in/yaml.v3 v3.0.0-20210107192922-496545a6307b
`,
		"go.sum": `gopkg.in/check.v1 v0.0.0-20161208181325-20d25e280405 h1:yhCVgyC4o1eVCa2tZl7eS0r+SDo693bJlVdllGtEeKM=
gopkg.in/check.v1 v0.0.0-20161208181325-20d25e280405/go.mod h1:Co6ibVJAznAaIkqp8huTwlJQCZ016jof/cbN4VW5Yz0=
gopkg.in/yaml.v3 v3.0.0-20210107192922-496545a6307b h1:h8qDotaEPuJATrMmW04NCwg7v22aHH28wwpauUhK9Oo=
gopkg.in/yaml.v3 v3.0.0-20210107192922-496545a6307b/go.mod h1:K4uyk7z7BCEPqu6E+C64Yfv1cQ7kz7rIZviUmN+EgEM=
`,
	} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return src
}

// TestDaggerCancel interrupts a ship while the attester writes: no tag is there,
// so nobody gets an image without its evidence; the next run ends the work.
func TestDaggerCancel(t *testing.T) {
	w := newDaggerWorld(t)
	src := hello(t)
	reached := make(chan bool, 100)
	release := make(chan bool)
	var once sync.Once
	free := func() { once.Do(func() { close(release) }) }
	defer free()
	w.registry.Inject(regtest.Fault{Match: func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:")
	}, Times: regtest.Always, Do: func(rw http.ResponseWriter, r *http.Request, inner http.Handler) {
		reached <- true
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		inner.ServeHTTP(rw, r)
	}})
	cmd := call(t, w.ship(src)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
	case <-time.After(5 * time.Minute):
		_ = cmd.Process.Kill()
		t.Fatalf("ship wrote nothing\n%s", out.String())
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("an interrupted ship exits with 0")
		}
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Error("an interrupted ship does not end")
	}
	free()
	w.registry.Heal()
	resp, err := http.Get("http://" + w.registry.Host + "/v2/hello/manifests/latest")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("after the interruption the tag answers %s, want 404", resp.Status)
	}
	mustCall(t, call(t, w.ship(src, "digest")...))
	if _, r := verdictOf(t, w.home, w.registry.Repo("hello:latest")); r.code != 0 {
		t.Errorf("the next ship did not end the work: exit %d\n%s", r.code, r.stderr)
	}
}

// TestDaggerTrace: what pathctl does in containers is part of Dagger's trace.
func TestDaggerTrace(t *testing.T) {
	var mu sync.Mutex
	spans := map[string]*tracepb.Span{}
	pathctls := map[string]*tracepb.Span{} // by name
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.HasSuffix(r.URL.Path, "/v1/traces") {
			return
		}
		var req collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range req.GetResourceSpans() {
			ours := slices.ContainsFunc(rs.GetScopeSpans(), func(s *tracepb.ScopeSpans) bool {
				return strings.HasPrefix(s.GetScope().GetName(), "github.com/pavedpaths/paths")
			})
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					spans[hex.EncodeToString(s.GetSpanId())] = s
					if ours {
						pathctls[s.GetName()] = s
					}
				}
			}
		}
	}))
	defer receiver.Close()
	w := newDaggerWorld(t)
	src := hello(t)
	// A source that no engine has seen: what is cached does not run.
	if err := os.WriteFile(filepath.Join(src, "fresh.txt"), []byte(time.Now().String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := call(t, w.ship(src, "digest")...)
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	mustCall(t, cmd)
	mu.Lock()
	defer mu.Unlock()
	for _, name := range []string{"fetch", "test", "build", "publish", "sbom", "scan", "provenance", "sign", "verify"} {
		s := pathctls[name]
		if s == nil {
			t.Errorf("no span %q of pathctl among %d; there are %v", name, len(spans), slices.Sorted(maps.Keys(pathctls)))
			continue
		}
		// Up to the root: the same trace, and a span of Dagger's on the way.
		daggers := 0
		for at := s; ; {
			parent := spans[hex.EncodeToString(at.GetParentSpanId())]
			if parent == nil {
				break
			}
			if !bytes.Equal(parent.GetTraceId(), s.GetTraceId()) {
				t.Errorf("%q: a parent in another trace", name)
			}
			if strings.Contains(parent.GetName(), "ship") {
				daggers++
			}
			at = parent
		}
		if daggers == 0 {
			t.Errorf("span %q does not lie below Dagger's span of ship", name)
		}
	}
}

// TestDaggerConsumer uses the module as a consumer does: by a git reference, from
// an empty repository with the example in it, with a pathctl that the module builds
// from its own repository.
func TestDaggerConsumer(t *testing.T) {
	remote := serveRepository(t)
	src := filepath.Join(t.TempDir(), "orders")
	if err := os.CopyFS(src, os.DirFS("../../../examples/microservice-go")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(src, ".paths")); err != nil {
		t.Fatal(err)
	}
	image := os.Getenv("PATHS_GO_IMAGE")
	// What a platform team sets for its machines, in a file that git ignores.
	if err := os.WriteFile(filepath.Join(src, ".env"), []byte("MICROSERVICE_GOIMAGE="+image+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, ".gitignore"), []byte(".env\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	commit(t, src)
	run := func(args ...string) result {
		t.Helper()
		cmd := daggerCommand(t, args...)
		cmd.Dir = src
		return mustCall(t, cmd)
	}
	for _, module := range []string{"step", "microservice"} {
		if r := run("functions", "-m", remote+"/modules/"+module); !strings.Contains(r.stdout, "explain") {
			t.Errorf("%s by git reference: %s", module, r.stdout)
		}
	}
	run("init")
	run("toolchain", "install", remote+"/modules/microservice", "--name", "microservice")
	if r := run("check", "-l"); !strings.Contains(r.stdout, "builds") || !strings.Contains(r.stdout, "tests-pass") {
		t.Errorf("checks in the consumer's repository: %s", r.stdout)
	}
	run("check")
	// A workflow that is not this version's fails a check, and generate mends it.
	flow := filepath.Join(src, ".github/workflows/path.yaml")
	fresh, err := os.ReadFile(flow)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(flow, append([]byte("# stale\n"), fresh...), 0o644); err != nil {
		t.Fatal(err)
	}
	stale := daggerCommand(t, "check", "--generate")
	stale.Dir = src
	if r := waitFor(t, stale); r.code == 0 {
		t.Errorf("a stale workflow passes the check:\n%s", r.stderr)
	}
	run("generate", "--auto-apply")
	if now, err := os.ReadFile(flow); err != nil || !bytes.Equal(now, fresh) {
		t.Errorf("generate did not restore the workflow: %v\n%s", err, now)
	}

	w := newDaggerWorld(t)
	// With keys, no folder may choose arguments: dagger takes those from a .env.
	args := append([]string{"call", "-m", remote + "/modules/microservice", "--go-image", image}, w.ship(src, "summary")...)
	within := daggerCommand(t, args...)
	within.Dir = src
	if r := waitFor(t, within); r.code == 0 || !strings.Contains(r.stderr, "its .env sets") {
		t.Errorf("ship of a source that sets arguments: exit %d\n%s", r.code, r.stderr)
	}
	if err := os.Remove(filepath.Join(src, ".env")); err != nil {
		t.Fatal(err)
	}
	elsewhere := daggerCommand(t, args...)
	elsewhere.Dir = t.TempDir()
	if r := mustCall(t, elsewhere); !strings.Contains(r.stdout, "PASSED") {
		t.Errorf("ship by git reference: %s", r.stdout)
	}
	// The tool that the module built is the one that make built.
	made := filepath.Join(t.TempDir(), "pathctl")
	run("call", "-m", remote+"/modules/step", "--go-image", image, "tool", "export", "--path", made)
	if hostile.Digest(t, made) != hostile.Digest(t, "../../../bin/pathctl") {
		t.Error("the module's pathctl is not the one of make build: is bin/pathctl of this source?")
	}
}

// serveRepository serves a bare clone of this repository's working tree over HTTP,
// and returns its address as a module's reference.
func serveRepository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	work := filepath.Join(root, "work")
	git := func(dir string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@localhost", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@localhost")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	// What is tracked or new here, committed or not.
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = "../../.."
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(names), "\x00"), "\x00") {
		raw, err := os.ReadFile(filepath.Join("../../..", name))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git(work, "init", "-q", "-b", "main")
	git(work, "add", "-A", ".")
	git(work, "commit", "-q", "-m", "x")
	git(root, "clone", "-q", "--bare", "work", "paths.git")
	git(filepath.Join(root, "paths.git"), "config", "uploadpack.allowAnySHA1InWant", "true")
	exe, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Dagger drops the port of a module's address: a loopback address of its own has
	// the usual one free.
	const address = "127.0.0.77"
	listener, err := net.Listen("tcp", address+":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(exe)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + address + "/paths.git"
}

// TestDaggerVersions: one place says the version, and every module is held to it.
func TestDaggerVersions(t *testing.T) {
	want, err := gen.DaggerVersion("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if r := mustCall(t, daggerCommand(t, "version")); !strings.HasPrefix(r.stdout, "dagger "+want+" ") {
		t.Errorf("the command is %s, want %s", r.stdout, want)
	}
	if r := mustCall(t, daggerCommand(t, "core", "version")); strings.TrimSpace(r.stdout) != want {
		t.Errorf("the engine is %s, want %s", r.stdout, want)
	}
}
