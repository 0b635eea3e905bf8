//go:build e2e

package tekton_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestTektonRights is what a tenant tries with rights that it should not have. The API
// server says no to each.
func TestTektonRights(t *testing.T) {
	w := cluster(t)
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil","namespace":%q},"spec":{"serviceAccountName":%q,"containers":[{"name":"a","image":"x@sha256:` + strings.Repeat("0", 64) + `"}]}}`
	sign := `{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"evil","namespace":%q},"spec":{"serviceAccountName":"attester","taskRef":{"name":"attest"}}}`
	for name, c := range map[string]struct {
		stdin string
		args  []string
	}{
		"a pod in its build namespace":       {fmt.Sprintf(pod, tenantNamespace, "producer"), []string{"create", "-f", "-"}},
		"a pod as the attester":              {fmt.Sprintf(pod, "paths-signing", "attester"), []string{"create", "-f", "-"}},
		"a TaskRun in its build namespace":   {fmt.Sprintf(sign, tenantNamespace), []string{"create", "-f", "-"}},
		"a TaskRun in paths-signing":         {fmt.Sprintf(sign, "paths-signing"), []string{"create", "-f", "-"}},
		"another Task attest":                {"", []string{"-n", "paths-signing", "patch", "task", "attest", "--type=merge", "-p", `{"spec":{"steps":[]}}`}},
		"the list of trusted bundles":        {"", []string{"-n", "paths-signing", "patch", "configmap", "trust", "--type=merge", "-p", `{"data":{"pipelines":"x"}}`}},
		"secrets of its build namespace":     {"", []string{"-n", tenantNamespace, "get", "secrets"}},
		"secrets of paths-signing":           {"", []string{"-n", "paths-signing", "get", "secrets"}},
		"pods of paths-signing":              {"", []string{"-n", "paths-signing", "get", "pods"}},
		"a token of the attester":            {"", []string{"-n", "paths-signing", "create", "token", "attester", "--audience=sigstore"}},
		"a token of the producer":            {"", []string{"-n", tenantNamespace, "create", "token", "producer"}},
		"a role of its own":                  {"", []string{"-n", tenantNamespace, "create", "rolebinding", "evil", "--clusterrole=cluster-admin", "--user=dana"}},
		"the policy of what runs":            {"", []string{"delete", "validatingadmissionpolicybinding", "paths-build-runs"}},
		"to put its namespace out of a zone": {"", []string{"label", "namespace", tenantNamespace, "pavedpaths.dev/zone-"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := w.Kubectl(c.stdin, append(tenant(), c.args...)...)
			if err == nil || !strings.Contains(out, "orbidden") && !strings.Contains(out, "cannot") {
				t.Errorf("it went through, or failed otherwise: %v\n%s", err, out)
			}
		})
	}
}

// TestTektonController is what somebody tries who has the controller's account. What it may
// not touch is refused by a policy, since it has a right to others of that kind.
func TestTektonController(t *testing.T) {
	w := cluster(t)
	as := []string{"--as=system:serviceaccount:paths-system:controller", "--dry-run=server"}
	w.kubectl(t, "", "-n", "paths-signing", "create", "configmap", "intent-of-nobody")
	t.Cleanup(func() { w.kubectl(t, "", "-n", "paths-signing", "delete", "configmap", "intent-of-nobody") })
	sign := `{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"sign-nobody","namespace":"paths-signing"},"spec":{"serviceAccountName":%q,"taskRef":{"name":%q,"kind":"Task"},"params":[` +
		`{"name":"run-namespace","value":"x"},{"name":"run-name","value":"x"},{"name":"run-uid","value":"x"},{"name":"destination","value":"x"}]}}`
	for name, c := range map[string]struct {
		stdin string
		args  []string
		by    string // the policy that refuses it, or its beginning; empty: nothing does
	}{
		"an intent":            {"", []string{"-n", "paths-signing", "delete", "configmap", "intent-of-nobody"}, ""},
		"the trust":            {"", []string{"-n", "paths-signing", "delete", "configmap", "trust"}, "paths-controller-claims'"},
		"a signer":             {fmt.Sprintf(sign, "attester", "attest"), []string{"create", "-f", "-"}, ""},
		"a promotion":          {fmt.Sprintf(sign, "promoter", "promote"), []string{"create", "-f", "-"}, "paths-controller-taskruns'"},
		"a signer by another":  {fmt.Sprintf(sign, "verifier", "attest"), []string{"create", "-f", "-"}, "paths-"},
		"a signer's own steps": {strings.Replace(fmt.Sprintf(sign, "attester", "attest"), `"params":[`, `"stepSpecs":[{"name":"attest","computeResources":{}}],"params":[`, 1), []string{"create", "-f", "-"}, "paths-"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := w.Kubectl(c.stdin, append(slices.Clone(as), c.args...)...)
			switch {
			case c.by == "" && err != nil:
				t.Error(err)
			case c.by != "" && (err == nil || !strings.Contains(out, "ValidatingAdmissionPolicy '"+c.by)):
				t.Errorf("it went through, or was refused otherwise than by %s: %v\n%s", c.by, err, out)
			}
		})
	}
}

// TestTektonMay asks the API server what a tenant may do: what needs an object that is
// there, too.
func TestTektonMay(t *testing.T) {
	w := cluster(t)
	for what, want := range map[string]string{
		"create pipelineruns.tekton.dev -n " + tenantNamespace:                     "yes",
		"get pipelineruns.tekton.dev -n " + tenantNamespace:                        "yes",
		"update pipelineruns.tekton.dev -n " + tenantNamespace:                     "no",
		"patch pipelineruns.tekton.dev -n " + tenantNamespace:                      "no",
		"patch pipelineruns.tekton.dev --subresource=status -n " + tenantNamespace: "no",
		"patch taskruns.tekton.dev --subresource=status -n " + tenantNamespace:     "no",
		"create pods --subresource=exec -n " + tenantNamespace:                     "no",
		"create pods --subresource=attach -n " + tenantNamespace:                   "no",
		"create pods --subresource=portforward -n " + tenantNamespace:              "no",
		"patch pods --subresource=ephemeralcontainers -n " + tenantNamespace:       "no",
		"create serviceaccounts --subresource=token -n " + tenantNamespace:         "no",
		"create serviceaccounts --subresource=token -n paths-signing":              "no",
		"impersonate serviceaccounts -n paths-signing":                             "no",
		"create pipelineruns.tekton.dev -n paths-signing":                          "no",
		"create taskruns.tekton.dev -n paths-signing":                              "no",
		"get taskruns.tekton.dev -n paths-signing":                                 "no",
		"create configmaps -n paths-signing":                                       "no",
		"create pipelineruns.tekton.dev -n default":                                "no",
		"create rolebindings.rbac.authorization.k8s.io -n " + tenantNamespace:      "no",
		"update validatingadmissionpolicies.admissionregistration.k8s.io":          "no",
	} {
		out, _ := w.Kubectl("", append(append(tenant(), "auth", "can-i"), strings.Fields(what)...)...)
		if got, _, _ := strings.Cut(strings.TrimSpace(out), "\n"); !strings.HasPrefix(got, want) {
			t.Errorf("may a tenant %s: %q, want %s", what, out, want)
		}
	}
}

// TestTektonAdmission is what a tenant tries in a PipelineRun.
func TestTektonAdmission(t *testing.T) {
	w := cluster(t)
	good := w.pipelineRun(t, "https://git.example.com/x.git", strings.Repeat("a", 40), local+"/"+apps+"/example/x")
	if out, err := w.Kubectl(good, append(tenant(), "create", "--dry-run=server", "-f", "-")...); err != nil {
		t.Fatalf("an honest run is not let in: %v\n%s", err, out)
	}
	ref := good[strings.Index(good, "  pipelineRef:"):]
	ref = ref[:strings.Index(ref, "\n  params:")]
	for name, swap := range map[string][2]string{
		"another bundle":          {w.Bundle, strings.Split(w.Bundle, "@")[0] + "@sha256:" + strings.Repeat("9", 64)},
		"a bundle by tag":         {w.Bundle, strings.Split(w.Bundle, "@")[0] + ":latest"},
		"another resolver":        {"resolver: bundles", "resolver: git"},
		"a pipeline of its own":   {ref, "  pipelineSpec: {tasks: [{name: a, taskSpec: {steps: [{name: a, image: x}]}}]}"},
		"another ServiceAccount":  {"serviceAccountName: producer", "serviceAccountName: default"},
		"a pod template":          {"{serviceAccountName: producer}", "{serviceAccountName: producer, podTemplate: {hostNetwork: true}}"},
		"steps with more":         {"  taskRunTemplate:", "  taskRunSpecs: [{pipelineTaskName: produce, stepSpecs: [{name: build, computeResources: {}}]}]\n  taskRunTemplate:"},
		"a workspace":             {"  taskRunTemplate:", "  workspaces: [{name: a, emptyDir: {}}]\n  taskRunTemplate:"},
		"somebody else to run it": {"  taskRunTemplate:", "  managedBy: evil\n  taskRunTemplate:"},
		"an annotation of ours":   {"  generateName: orders-", "  annotations: {pavedpaths.dev/signed: \"true\"}\n  generateName: orders-"},
		"a finalizer":             {"  generateName: orders-", "  finalizers: [example.com/x]\n  generateName: orders-"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(good, swap[0]) {
				t.Fatalf("%q is not in the run", swap[0])
			}
			out, err := w.Kubectl(strings.Replace(good, swap[0], swap[1], 1), append(tenant(), "create", "--dry-run=server", "-f", "-")...)
			if err == nil || !strings.Contains(out, "'paths-build-runs'") {
				t.Errorf("it is let in, or refused by something else: %v\n%s", err, out)
			}
		})
	}
}
