package host

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// unserved is an object of a kind that the API server does not serve, or not yet.
const unserved = "unserved"

// apiServer answers for objects by path, and takes one token.
func apiServer(t *testing.T, objects map[string]string, failures *atomic.Int32) Kubernetes {
	t.Helper()
	token := "x." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://cluster.example.com"}`)) + ".y"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch object, ok := objects[r.URL.Path]; {
		case failures.Add(-1) >= 0:
			http.Error(w, "away", http.StatusServiceUnavailable)
		case r.Header.Get("Authorization") != "Bearer "+token:
			http.Error(w, "no", http.StatusForbidden)
		case r.Method == http.MethodPost:
			raw, _ := io.ReadAll(r.Body)
			var m configMap
			if r.URL.Path != "/api/v1/namespaces/signing/configmaps" || json.Unmarshal(raw, &m) != nil || !m.Immutable || m.Kind != "ConfigMap" {
				http.Error(w, "bad", http.StatusBadRequest)
				return
			}
			if _, there := objects[r.URL.Path+"/"+m.Metadata.Name]; there {
				http.Error(w, "there", http.StatusConflict)
				return
			}
			objects[r.URL.Path+"/"+m.Metadata.Name] = string(raw)
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(raw)
		case object == unserved:
			http.NotFound(w, r)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"kind":"Status","reason":"NotFound","details":{"name":%q}}`, path.Base(r.URL.Path))
		default:
			_, _ = w.Write([]byte(object))
		}
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, content := range map[string][]byte{"token": []byte(token + "\n"), "ca.crt": ca, "namespace": []byte("signing")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Kubernetes{Address: strings.TrimPrefix(server.URL, "https://"), Folder: dir}
}

func TestTektonRun(t *testing.T) {
	run := `{"metadata":{"name":"r","uid":"u"},"status":{"childReferences":[{"kind":"TaskRun","name":"r-a","pipelineTaskName":"a"},{"kind":"TaskRun","name":"r-b","pipelineTaskName":"b"}]}}`
	objects := map[string]string{
		"/apis/tekton.dev/v1/namespaces/n/pipelineruns/r": run,
		"/apis/tekton.dev/v1/namespaces/n/taskruns/r-a":   `{"status":{"podName":"p-a"}}`,
		"/apis/tekton.dev/v1/namespaces/n/taskruns/r-b":   `{"status":{"podName":"p-b"}}`,
		"/api/v1/namespaces/n/pods/p-a":                   `{"spec":{"nodeName":"one"}}`,
	}
	var failures atomic.Int32
	k := apiServer(t, objects, &failures)
	failures.Store(1) // it is away for a moment
	got, err := k.TektonRun(t.Context(), "n", "r")
	if err != nil {
		t.Fatal(err)
	}
	if got.Issuer != "https://cluster.example.com" || got.Pipeline.Metadata.UID != "u" || len(got.Tasks) != 2 || len(got.Pods) != 1 || got.Pods["p-a"].Spec.NodeName != "one" {
		t.Errorf("%+v", got)
	}
	failures.Store(0)

	gone := objects["/apis/tekton.dev/v1/namespaces/n/taskruns/r-b"]
	delete(objects, "/apis/tekton.dev/v1/namespaces/n/taskruns/r-b")
	if got, err := k.TektonRun(t.Context(), "n", "r"); err != nil || len(got.Tasks) != 1 || len(got.Pipeline.Status.ChildReferences) != 2 {
		t.Errorf("a TaskRun that was deleted: %+v %v", got, err)
	}
	objects["/apis/tekton.dev/v1/namespaces/n/taskruns/r-b"] = unserved
	if _, err := k.TektonRun(t.Context(), "n", "r"); err == nil || !strings.Contains(err.Error(), "names no object") {
		t.Errorf("TaskRuns that are not served: %v", err)
	}
	objects["/apis/tekton.dev/v1/namespaces/n/taskruns/r-b"] = gone

	refused := func(name, want string, k Kubernetes, run string) {
		t.Helper()
		if _, err := k.TektonRun(t.Context(), "n", run); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	refused("no run", "there is none", k, "another")
	refused("a path for a name", "no name of an object", k, "../../pods/p-a")
	refused("no pod", "this is not a pod", Kubernetes{}, "r")
	refused("no token", "ServiceAccount", Kubernetes{Address: k.Address, Folder: t.TempDir()}, "r")
	refused("the token of another cluster", "403", Kubernetes{Address: k.Address, Folder: apiServerFolder(t, k, "x.e30.y")}, "r")
	objects["/apis/tekton.dev/v1/namespaces/n/pipelineruns/twice"] = strings.Replace(run, `"pipelineTaskName":"b"`, `"pipelineTaskName":"a"`, 1)
	refused("a task that ran twice", "ran twice", k, "twice")
	objects["/apis/tekton.dev/v1/namespaces/n/pipelineruns/custom"] = strings.Replace(run, `"kind":"TaskRun"`, `"kind":"CustomRun"`, 1)
	refused("a child of another kind", "TaskRuns alone", k, "custom")
	objects["/apis/tekton.dev/v1/namespaces/n/pipelineruns/broken"] = "{"
	refused("no JSON", "unreadable", k, "broken")
	objects["/apis/tekton.dev/v1/namespaces/n/pipelineruns/large"] = `{"a":"` + strings.Repeat("x", maxObject) + `"}`
	refused("too much", "more than", k, "large")

	bad := filepath.Join(t.TempDir(), "sa")
	if err := os.MkdirAll(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"token": "x.e30.y", "ca.crt": "no certificate"} {
		if err := os.WriteFile(filepath.Join(bad, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused("another authority", "unknown authority", Kubernetes{Address: k.Address, Folder: foreignFolder(t)}, "r")
	refused("no authority", "holds no certificate", Kubernetes{Address: k.Address, Folder: bad}, "r")
}

// apiServerFolder is the folder of a pod with another token.
func apiServerFolder(t *testing.T, k Kubernetes, token string) string {
	t.Helper()
	dir := t.TempDir()
	ca, err := os.ReadFile(filepath.Join(k.Folder, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"token": []byte(token), "ca.crt": ca} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// foreignFolder is the folder of a pod in another cluster.
func foreignFolder(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"token": []byte("x.e30.y"), "ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestClaim: whoever claims a name first is answered with their own text, and all others
// with theirs.
func TestClaim(t *testing.T) {
	var failures atomic.Int32
	k := apiServer(t, map[string]string{}, &failures)
	if _, ok, err := k.Claimed(t.Context(), "intent-1"); ok || err != nil {
		t.Errorf("before anybody claims it: %t, %v", ok, err)
	}
	failures.Store(1)
	for _, text := range []string{"first", "second"} {
		got, err := k.Claim(t.Context(), "intent-1", text)
		if err != nil || got != "first" {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}
	if got, ok, err := k.Claimed(t.Context(), "intent-1"); got != "first" || !ok || err != nil {
		t.Errorf("got %q, %t, %v", got, ok, err)
	}
	bad := k
	bad.Folder = apiServerFolder(t, k, "x.e30.y")
	if _, err := bad.Claim(t.Context(), "intent-2", "x"); err == nil {
		t.Error("a pod without a namespace claims")
	}
}
