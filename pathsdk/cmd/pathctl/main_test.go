package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/run/host"
)

// asMain makes this test binary behave as pathctl: ship starts itself again as
// attester and verifier.
const asMain = "PATHCTL_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if code, ok := run.Reexec(os.Args, stepNamed); ok {
		os.Exit(code)
	}
	if os.Getenv(asMain) != "" && !strings.Contains(strings.Join(os.Args[1:], " "), "-test.") {
		os.Exit(Main(os.Args[1:]))
	}
	testscript.Main(cleaned{m}, map[string]func(){"pathctl": func() {
		os.Setenv(asMain, "1")
		os.Exit(Main(os.Args[1:]))
	}})
}

// cleaned runs the tests without settings of whoever runs them, and removes
// afterwards what shipOnce left for them.
type cleaned struct{ *testing.M }

func (c cleaned) Run() int {
	// Who runs the tests may have settings of their own, such as those of make sigstore.
	for _, name := range []string{
		"PATHS_HOME", "PATHS_HOST", "PATHS_CONNECT", "PATHS_PASSPHRASE_FILE", "PATHS_ATTESTER_KEY", "PATHS_VERIFIER_KEY", "PATHS_SIGNING_CONFIG", "PATHS_TRUSTED_ROOT",
		"PATHS_IDENTITY_TOKEN_FILE", "PATHS_LOGIN", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "VAULT_ADDR", "VAULT_TOKEN",
	} {
		os.Unsetenv(name)
	}
	code := c.M.Run()
	if shipped.home != "" {
		_ = os.RemoveAll(filepath.Dir(shipped.home))
	}
	return code
}

// newHome makes a home for one test. Compiled packages are shared with other
// runs of the tests: they are what a cold build takes a minute for.
func newHome(t testing.TB) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	shareTools(t, home)
	return home
}

func shareTools(t testing.TB, home string) {
	t.Helper()
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"build", "fetch"} {
		shared := filepath.Join(user, "paths-test", zone)
		link := filepath.Join(home, "cache", zone, "tools")
		if err := os.MkdirAll(shared, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(shared, link); err != nil {
			t.Fatal(err)
		}
	}
}

// result is what a command line printed, and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// pathctl runs one command line in this process.
func pathctl(t testing.TB, home string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := &app{host: host.Host{Home: home, Self: self}, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
	cmd := newRoot(a)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	if err != nil {
		a.fail(err)
	}
	return result{stdout.String(), stderr.String(), exitCode(err)}
}

// pathctlProcess runs one command line as a process of its own.
func pathctlProcess(t testing.TB, home string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asMain+"=1", "PATHS_HOME="+home, "CI=true", "SOURCE_DATE_EPOCH=1760000000")
	return cmd
}

// smallDB makes a vulnerability database of this moment.
func smallDB(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := trivydb.Make("../../../examples/vulndb", dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hello copies the small service of the tests.
func hello(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hello")
	if err := os.CopyFS(dir, os.DirFS("testdata/hello")); err != nil {
		t.Fatal(err)
	}
	// A go.mod in testdata would cut the folder out of our module's zip.
	if err := os.Rename(filepath.Join(dir, "go.mod.txt"), filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shipped is a service that was shipped once for all tests of this process.
var shipped = struct {
	once  sync.Once
	home  string
	src   string
	store string
	db    string
	err   error
	out   string
}{}

// shipOnce ships the small service, and gives each test a copy of the store.
func shipOnce(t testing.TB) (home, store string) {
	t.Helper()
	s := &shipped
	s.once.Do(func() {
		dir, err := os.MkdirTemp("", "pathctl-shipped-")
		if err != nil {
			s.err = err
			return
		}
		s.home, s.src = filepath.Join(dir, "home"), filepath.Join(dir, "hello")
		s.store = filepath.Join(s.src, ".paths", "store")
		shareTools(t, s.home)
		if s.err = os.Rename(hello(t), s.src); s.err != nil {
			return
		}
		s.db = filepath.Join(dir, "vulndb")
		if s.err = os.Rename(smallDB(t), s.db); s.err != nil {
			return
		}
		out, err := pathctlProcess(t, s.home, "ship", s.src, "--vuln-db", s.db).CombinedOutput()
		s.out, s.err = string(out), err
	})
	if s.err != nil {
		t.Fatalf("ship: %v\n%s", s.err, s.out)
	}
	store = filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(store, os.DirFS(s.store)); err != nil {
		t.Fatal(err)
	}
	return s.home, store
}
