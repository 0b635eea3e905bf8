package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// serviceAccount is where Kubernetes puts a pod's token, and the authority of the API
// server (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod).
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// maxObject bounds what the API server answers: etcd keeps no object of more than 1.5 MiB.
const maxObject = 4 << 20

// Kubernetes is the API server of the cluster that a pod runs in. Who sets the
// environment can name another one, but not one that the pod's authority vouches for.
type Kubernetes struct {
	// Address is HOST:PORT: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
	Address string
	// Folder holds token and ca.crt.
	Folder string
}

func inCluster() Kubernetes {
	if os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return Kubernetes{}
	}
	return Kubernetes{Address: net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")), Folder: serviceAccount}
}

// TektonRun reads a PipelineRun, its TaskRuns and their pods, those that are still there,
// with the pod's own identity, which needs the verb get on them, and nothing else.
func (k Kubernetes) TektonRun(ctx context.Context, namespace, name string) (provenance.TektonRun, error) {
	var run provenance.TektonRun
	if k.Address == "" {
		return run, errors.New("there is no Kubernetes API server to ask: this is not a pod\n  fix: run it as a Task of the signing namespace")
	}
	client, token, err := k.client()
	if err != nil {
		return run, err
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := unverified(token, &claims); err != nil {
		return run, fmt.Errorf("the pod's token: %w", err)
	}
	// The API server takes this very token below, and so is of this issuer.
	run.Issuer = claims.Issuer
	get := func(to any, path ...string) error { return k.get(ctx, client, token, to, path...) }
	const tekton = "apis/tekton.dev/v1/namespaces"
	if err := get(&run.Pipeline, tekton, namespace, "pipelineruns", name); err != nil {
		return run, err
	}
	run.Tasks, run.Pods = map[string]provenance.TaskRun{}, map[string]provenance.Pod{}
	for _, child := range run.Pipeline.Status.ChildReferences {
		if child.Kind != "TaskRun" {
			return run, fmt.Errorf("the run has a child of kind %.100q: want TaskRuns alone", child.Kind)
		}
		var task provenance.TaskRun
		switch err := get(&task, tekton, namespace, "taskruns", child.Name); {
		case errors.Is(err, errGone): // which is for who judges the run to say
			continue
		case err != nil:
			return run, err
		}
		if _, twice := run.Tasks[child.PipelineTaskName]; twice {
			return run, fmt.Errorf("task %.100q ran twice", child.PipelineTaskName)
		}
		run.Tasks[child.PipelineTaskName] = task
		var pod provenance.Pod
		switch err := get(&pod, "api/v1/namespaces", namespace, "pods", task.Status.PodName); {
		case errors.Is(err, errGone):
		case err != nil:
			return run, err
		default:
			run.Pods[task.Status.PodName] = pod
		}
	}
	return run, nil
}

// Claim writes a text under a name that nobody has written one under, in the pod's own
// namespace, and returns it; if somebody has, it returns theirs. The API server lets one
// of all who try go first. It needs the verbs create and get on ConfigMaps.
func (k Kubernetes) Claim(ctx context.Context, name, value string) (string, error) {
	client, token, err := k.client()
	if err != nil {
		return "", err
	}
	namespace, err := k.namespace()
	if err != nil {
		return "", err
	}
	var claim configMap
	claim.APIVersion, claim.Kind, claim.Immutable = "v1", "ConfigMap", true
	claim.Metadata.Name, claim.Metadata.Labels = name, map[string]string{"app.kubernetes.io/managed-by": "pathctl"}
	claim.Data = map[string]string{claimed: value}
	raw, err := json.Marshal(claim)
	if err != nil {
		return "", err
	}
	var written configMap
	switch err := k.retry(ctx, func() (bool, error) {
		return k.ask(ctx, client, token, http.MethodPost, raw, &written, k.url("api/v1/namespaces", namespace, "configmaps"))
	}); {
	case err == nil:
		return value, nil
	case !errors.Is(err, errThere):
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	text, ok, err := k.Claimed(ctx, name)
	if err == nil && !ok {
		err = fmt.Errorf("ConfigMap %s/%s is there, and is gone", namespace, name)
	}
	return text, err
}

// Claimed returns what somebody has claimed under a name.
func (k Kubernetes) Claimed(ctx context.Context, name string) (string, bool, error) {
	client, token, err := k.client()
	if err != nil {
		return "", false, err
	}
	namespace, err := k.namespace()
	if err != nil {
		return "", false, err
	}
	var claim configMap
	switch err := k.get(ctx, client, token, &claim, "api/v1/namespaces", namespace, "configmaps", name); {
	case errors.Is(err, errGone):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return claim.Data[claimed], true, nil
}

// claimed is the key of a claim's text.
const claimed = "claim"

type configMap struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Immutable bool              `json:"immutable"`
	Data      map[string]string `json:"data"`
}

// namespace is the pod's own.
func (k Kubernetes) namespace() (string, error) {
	raw, err := bounded.ReadFile(filepath.Join(k.Folder, "namespace"), 1<<10)
	if err != nil {
		return "", fmt.Errorf("the pod's ServiceAccount: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// client trusts the cluster's own authority alone.
func (k Kubernetes) client() (*http.Client, string, error) {
	ca, err := bounded.ReadFile(filepath.Join(k.Folder, "ca.crt"), 1<<20)
	if err != nil {
		return nil, "", fmt.Errorf("the pod's ServiceAccount: %w", err)
	}
	token, err := bounded.ReadFile(filepath.Join(k.Folder, "token"), maxAnswer)
	if err != nil {
		return nil, "", fmt.Errorf("the pod's ServiceAccount: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, "", fmt.Errorf("%s holds no certificate", filepath.Join(k.Folder, "ca.crt"))
	}
	return &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, strings.TrimSpace(string(token)), nil
}

var (
	errGone  = errors.New("there is none")
	errThere = errors.New("there is one already")
)

// objectName is a DNS subdomain (RFC 1123), as names of objects are.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

func (k Kubernetes) url(path ...string) string {
	u := url.URL{Scheme: "https", Host: k.Address}
	return u.JoinPath(path...).String()
}

// get reads one object.
func (k Kubernetes) get(ctx context.Context, client *http.Client, token string, to any, path ...string) error {
	for _, p := range path[1:] {
		if !objectName.MatchString(p) {
			return fmt.Errorf("%.100q is no name of an object", p)
		}
	}
	err := k.retry(ctx, func() (bool, error) {
		return k.ask(ctx, client, token, http.MethodGet, nil, to, k.url(path...))
	})
	if err != nil {
		return fmt.Errorf("ask the API server for %s: %w", strings.Join(path[1:], "/"), err)
	}
	return nil
}

// retry tries again for about a minute, if the API server is away.
func (k Kubernetes) retry(ctx context.Context, ask func() (again bool, err error)) error {
	for wait := time.Second; ; wait *= 2 {
		again, err := ask()
		if err == nil || !again || wait > 32*time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (k Kubernetes) ask(ctx context.Context, client *http.Client, token, method string, body []byte, to any, at string) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		var stranger *tls.CertificateVerificationError
		return !errors.As(err, &stranger), err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		// Of an object that is gone the server says its name (Status.details). Without one it
		// doesn't serve such objects, or not yet: nothing is known of any of them.
		var status struct{ Details struct{ Name string } }
		raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if json.Unmarshal(raw, &status) != nil || status.Details.Name == "" {
			return false, fmt.Errorf("it answers %s, and names no object", resp.Status)
		}
		return false, errGone
	case resp.StatusCode == http.StatusConflict:
		return false, errThere
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated:
		return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("it answers %s", resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxObject+1))
	if err != nil {
		return true, err
	}
	if len(raw) > maxObject {
		return false, fmt.Errorf("more than %d bytes", maxObject)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return false, fmt.Errorf("unreadable: %w", err)
	}
	return false, nil
}
