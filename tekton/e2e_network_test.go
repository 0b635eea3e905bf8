//go:build e2e

package tekton_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// TestTektonNetwork tries what pods of each zone reach, on a node that enforces network
// policies. A pod of no zone reaches everything but the zones' pods, so that what others don't
// reach is there.
func TestTektonNetwork(t *testing.T) {
	w := cluster(t)
	shell := env(t, "PATHS_CLUSTER_SHELL")
	// In each zone, and in none, a pod that asks and one that answers.
	zones := map[string]string{"nobody": "default", "build": tenantNamespace, "signing": "paths-signing"}
	address := map[string]string{}
	pod := func(namespace, name, port, hostNetwork string) {
		t.Helper()
		w.kubectl(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  hostNetwork: %s
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: shell
    image: %s
    command: [/bin/nc, -ll, -p, "%s", -e, /bin/true]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    readinessProbe: {tcpSocket: {port: %[5]s}, periodSeconds: 1}
`, name, namespace, hostNetwork, shell, port), "apply", "-f", "-")
		t.Cleanup(func() { w.kubectl(t, "", "-n", namespace, "delete", "pod", name, "--wait=false") })
		// The kubelet, which no policy stops, finds that it answers.
		w.kubectl(t, "", "-n", namespace, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=120s")
	}
	for zone, namespace := range zones {
		pod(namespace, "asks", "8080", "false")
		pod(namespace, "answers", "8080", "false")
		address[zone] = w.kubectl(t, "", "-n", namespace, "get", "pod", "answers", "-o", "jsonpath={.status.podIP}") + " 8080"
	}
	// Addresses of the world outside, at the node, where the API server and a pod of nobody's answer
	// at all that it has.
	pod("default", "outside", "8090", "true")
	inside := func(args ...string) ([]byte, error) {
		return exec.Command(env(t, "PATHS_CLUSTER_TOOL"), append([]string{"in", "ip", "address"}, args...)...).CombinedOutput()
	}
	for name, at := range map[string]string{"the internet": "203.0.113.7", "cloud metadata": "169.254.169.254"} {
		_, _ = inside("delete", at+"/32", "dev", "lo") // an earlier test's that was killed
		if out, err := inside("add", at+"/32", "dev", "lo"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := inside("delete", at+"/32", "dev", "lo"); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		address[name+", port 443"], address[name+", port 8090"] = at+" 443", at+" 8090"
	}
	address["the API server"] = w.kubectl(t, "", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}") + " 443"
	address["the API server, by the node"] = w.Node + " 443"
	address["the kubelet"] = w.Node + " 10250"
	address["Fulcio"] = w.Node + " " + w.Fulcio
	address["the registry"] = strings.Replace(w.Registry, ":", " ", 1)
	address["the controller"] = w.kubectl(t, "", "-n", "paths-system", "get", "pod", "-l", "app.kubernetes.io/name=paths-controller", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].status.podIP}") + " 8080"

	reached := map[string][]string{
		"nobody": {"nobody", "the API server", "the API server, by the node", "the kubelet", "Fulcio", "the registry", "the controller",
			"the internet, port 443", "the internet, port 8090", "cloud metadata, port 443", "cloud metadata, port 8090"},
		"build":   {"the registry", "the internet, port 443"},
		"signing": {"the registry", "the internet, port 443", "Fulcio", "the API server", "the API server, by the node"},
	}
	for zone, namespace := range zones {
		t.Run("from "+zone, func(t *testing.T) {
			t.Parallel()
			var script strings.Builder
			for name, at := range address {
				fmt.Fprintf(&script, "if nc -w 3 %s -e /bin/true; then echo '%s'; fi &\n", at, name)
			}
			script.WriteString("wait\n")
			got := map[string]bool{}
			for _, name := range strings.Split(strings.TrimSpace(w.kubectl(t, "", "-n", namespace, "exec", "asks", "--", "/bin/sh", "-c", "PATH=/bin\n"+script.String())), "\n") {
				got[name] = true
			}
			for _, name := range reached[zone] {
				if !got[name] {
					t.Errorf("it does not reach %s", name)
				}
				delete(got, name)
			}
			for name := range got {
				t.Errorf("it reaches %s", name)
			}
		})
	}
}
