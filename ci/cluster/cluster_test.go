package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestLoad(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	dir := t.TempDir()
	c, err := load(env(map[string]string{"PATHS_CLUSTER": dir, "PATHS_KUBECONFIG": filepath.Join(dir, "keys", "admin.kubeconfig")}))
	if err != nil {
		t.Fatal(err)
	}
	if c.given != "" {
		t.Error("our own cluster is taken for another's")
	}
	if err := c.choosePorts(); err != nil {
		t.Fatal(err)
	}
	again, err := load(env(map[string]string{"PATHS_CLUSTER": dir, "PATHS_KUBECONFIG": "/elsewhere"}))
	if err != nil || again.issuer() != c.issuer() || again.given != "/elsewhere" {
		t.Errorf("%+v, %v; before: %+v", again, err, c)
	}
	other := &config{dir: dir + "2"}
	if other.cgroup() == c.cgroup() {
		t.Error("two clusters have one cgroup")
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"/var/lib/cluster", "/run", filepath.Join(dir, "a b"), open} {
		if _, err := load(env(map[string]string{"PATHS_CLUSTER": bad})); err == nil || !strings.Contains(err.Error(), "fix:") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestKeys(t *testing.T) {
	c := &config{dir: t.TempDir(), ports: map[string]int{"api": 12345}}
	for range 2 {
		if err := makeKeys(c); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := os.ReadFile(c.keys("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	raw, err := os.ReadFile(c.keys("api.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", nodeIP, serviceIP, "kubernetes.default.svc"} {
		if _, err := cert.Verify(x509.VerifyOptions{DNSName: host, Roots: pool}); err != nil {
			t.Error(err)
		}
	}
	for user := range users {
		info, err := os.Stat(c.kubeconfig(user))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", user, info, err)
		}
		config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig(user))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: c.issuer(), false: "https://" + apiAddr}[user == "admin"]; config.Host != want {
			t.Errorf("%s goes to %s", user, config.Host)
		}
	}
}

func TestWithFlags(t *testing.T) {
	var all strings.Builder
	for name := range tektonFlags {
		fmt.Fprintf(&all, "  %s: none\n", name)
	}
	out, err := withFlags([]byte("data:\n  other: x\n" + all.String()))
	if err != nil || !strings.Contains(string(out), `set-security-context: "true"`) || !strings.Contains(string(out), "other: x") {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := withFlags([]byte("data: {other: x}")); err == nil {
		t.Error("a flag that Tekton does not know is set")
	}
}

func TestUpstreams(t *testing.T) {
	for list, want := range map[string][]upstream{
		"https://a.example,direct":                  {{"https://a.example", false}},
		"https://a.example/x/|http://b.example,off": {{"https://a.example/x", true}, {"http://b.example", false}},
		"off,https://a.example":                     nil,
		"direct":                                    nil,
		"file:///srv/mod, https://a.example":        {{"file:///srv/mod", false}, {"https://a.example", false}},
	} {
		if got := upstreams(list); !slices.Equal(got, want) {
			t.Errorf("%s: %v", list, got)
		}
	}
}

func TestModuleProxy(t *testing.T) {
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "elsewhere") }))
	defer files.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "secret" {
			http.Error(w, "who is that?", http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/p/m/@v/list":
			_, _ = io.WriteString(w, "v1.0.0")
		case "/p/moved":
			http.Redirect(w, r, files.URL, http.StatusFound)
		case "/p/broken":
			http.Error(w, "broken", http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
	}))
	defer first.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "second"), []byte("from a file"), 0o644); err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(first.URL, "http://", "http://u:secret@", 1) + "/p"
	t.Setenv("GOPROXY", with+",file://"+dir)
	p, err := newModuleProxy()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/m/@v/list": "200 v1.0.0", "/moved": "200 elsewhere", "/second": "200 from a file", "/third": "404", "/broken": "500 broken",
		"/../etc/passwd": "400", "/%2e%2e/%2e%2e/etc/passwd": "400",
	} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := fmt.Sprint(w.Code, " ", w.Body); !strings.HasPrefix(got, want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %s", path, got)
		}
	}
	first.Close()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/second", nil))
	if w.Code != http.StatusBadGateway || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("after a comma no error but 404 goes on: %d %s", w.Code, w.Body)
	}
}

func TestLinkRefuses(t *testing.T) {
	l := &link{open: map[string]string{}}
	for _, what := range []string{"", "0", "65536", "80:", "http", "80:x"} {
		if _, err := l.offer(what); err == nil {
			t.Errorf("offer %q", what)
		}
	}
	for _, what := range []string{"", "10.0.0.1", "example.com:80", "10.0.0.1:"} {
		if _, err := l.reach(what, "127.0.0.1:0"); err == nil {
			t.Errorf("reach %q", what)
		}
	}
}

// TestOnRecord: a process whose parent was killed before it was on record does nothing.
func TestOnRecord(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = stdin }()
	w.Close()
	if err := onRecord(); err == nil {
		t.Error("it goes on")
	}
}

func TestStarted(t *testing.T) {
	if started(os.Getpid()) == "" || started(1<<30) != "" {
		t.Error("which processes run is not known")
	}
	c := &config{dir: t.TempDir()}
	for record, want := range map[string]int{
		fmt.Sprintf("%d %s", os.Getpid(), started(os.Getpid())): os.Getpid(),
		fmt.Sprintf("%d 1", os.Getpid()):                        0, // another had the number
		"1":                                                     0, "": 0, "x y": 0,
	} {
		if err := write(c.run("node.pid"), []byte(record), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := pid(c, verbNode); got != want {
			t.Errorf("%q: %d", record, got)
		}
	}
}
