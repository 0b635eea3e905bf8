package tekton

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"github.com/google/go-cmp/cmp"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	"sigs.k8s.io/yaml"
)

// committed decodes the committed manifests as strictly as kubectl does, those of the
// controller too.
func committed(t *testing.T) map[string][]any {
	t.Helper()
	found := map[string][]any{}
	for _, name := range append(slices.Collect(maps.Keys(manifests())), "controller/deploy.yaml") {
		raw, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range bytes.Split(raw, []byte("\n---\n")) {
			var head struct{ APIVersion, Kind string }
			if err := yaml.Unmarshal(doc, &head); err != nil {
				t.Fatal(err)
			}
			types := map[string]any{
				"v1/Namespace": &corev1.Namespace{}, "v1/ServiceAccount": &corev1.ServiceAccount{}, "v1/ResourceQuota": &corev1.ResourceQuota{}, "v1/LimitRange": &corev1.LimitRange{},
				"rbac.authorization.k8s.io/v1/Role": &rbac.Role{}, "rbac.authorization.k8s.io/v1/RoleBinding": &rbac.RoleBinding{},
				"rbac.authorization.k8s.io/v1/ClusterRole": &rbac.ClusterRole{}, "rbac.authorization.k8s.io/v1/ClusterRoleBinding": &rbac.ClusterRoleBinding{},
				"networking.k8s.io/v1/NetworkPolicy":                               &networking.NetworkPolicy{},
				"apps/v1/Deployment":                                               &apps.Deployment{},
				"scheduling.k8s.io/v1/PriorityClass":                               &scheduling.PriorityClass{},
				"admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy":        &admissionregistration.ValidatingAdmissionPolicy{},
				"admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding": &admissionregistration.ValidatingAdmissionPolicyBinding{},
			}
			o := types[head.APIVersion+"/"+head.Kind]
			if o == nil {
				t.Fatalf("%s: %s %s has no rule here", name, head.APIVersion, head.Kind)
			}
			if err := yaml.UnmarshalStrict(doc, o); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			found[name] = append(found[name], o)
		}
	}
	return found
}

// TestRights is the table of all rights that are given: who, where, to do what.
func TestRights(t *testing.T) {
	rules := map[string][]rbac.PolicyRule{}
	var all []any
	for _, list := range committed(t) {
		all = append(all, list...)
	}
	for _, o := range all {
		switch o := o.(type) {
		case *rbac.Role:
			rules["Role "+o.Namespace+"/"+o.Name] = o.Rules
		case *rbac.ClusterRole:
			rules["ClusterRole /"+o.Name] = o.Rules
		}
	}
	var got []string
	given := func(where string, ref rbac.RoleRef, to []rbac.Subject) {
		ns := where
		if ref.Kind == "ClusterRole" {
			ns = ""
		}
		for _, s := range to {
			list, ok := rules[ref.Kind+" "+ns+"/"+ref.Name]
			if !ok {
				t.Errorf("%s binds %s, which there is not", where, ref.Name)
			}
			for _, r := range list {
				at := r.APIGroups[0] + "/" + strings.Join(r.Resources, ",")
				if len(r.ResourceNames) > 0 {
					at += " " + strings.Join(r.ResourceNames, ",")
				}
				got = append(got, fmt.Sprintf("%s in %s: %s %s", s.Name, where, strings.Join(r.Verbs, ","), at))
			}
		}
	}
	for _, o := range all {
		switch o := o.(type) {
		case *rbac.RoleBinding:
			given(o.Namespace, o.RoleRef, o.Subjects)
		case *rbac.ClusterRoleBinding:
			given("the cluster", o.RoleRef, o.Subjects)
		}
	}
	slices.Sort(got)
	want := []string{
		"attester in paths-build-example: get /pods",
		"attester in paths-build-example: get tekton.dev/pipelineruns",
		"attester in paths-build-example: get tekton.dev/taskruns",
		"attester in paths-signing: create,get /configmaps",
		"controller in paths-build-example: create /events",
		"controller in paths-build-example: list,watch,patch tekton.dev/pipelineruns",
		"controller in paths-signing: create,list,watch,delete tekton.dev/taskruns",
		"controller in paths-signing: delete /configmaps",
		"controller in paths-signing: get /configmaps trust",
		"controller in paths-system: create coordination.k8s.io/leases",
		"controller in paths-system: get,update coordination.k8s.io/leases paths-controller",
		"controller in the cluster: list,watch /namespaces",
		"paths:tenant:example in paths-build-example: create,get,list,watch,delete tekton.dev/pipelineruns",
		"paths:tenant:example in paths-build-example: get /pods/log",
		"paths:tenant:example in paths-build-example: get,list,watch /events",
		"paths:tenant:example in paths-build-example: get,list,watch /pods",
		"paths:tenant:example in paths-build-example: get,list,watch tekton.dev/taskruns",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestNamespaces: in those that build and sign, Pod Security is "restricted", nothing
// flows but what a policy names, and pods get no token by themselves.
func TestNamespaces(t *testing.T) {
	zones, denied := map[string]string{}, map[string]bool{}
	for name, list := range committed(t) {
		if name == "controller/deploy.yaml" {
			continue
		}
		for _, o := range list {
			switch o := o.(type) {
			case *corev1.Namespace:
				zones[o.Name] = o.Labels[ZoneLabel]
				for _, mode := range []string{"enforce", "audit", "warn"} {
					if o.Labels["pod-security.kubernetes.io/"+mode] != "restricted" {
						t.Errorf("namespace %s does not %s the profile restricted", o.Name, mode)
					}
				}
			case *corev1.ServiceAccount:
				if *o.AutomountServiceAccountToken {
					t.Errorf("ServiceAccount %s: pods get a token by themselves", o.Name)
				}
			case *networking.NetworkPolicy:
				if len(o.Spec.PodSelector.MatchLabels)+len(o.Spec.PodSelector.MatchExpressions) > 0 {
					t.Errorf("policy %s/%s is about some pods only", o.Namespace, o.Name)
				}
				if len(o.Spec.Ingress) > 0 {
					t.Errorf("policy %s/%s lets something in", o.Namespace, o.Name)
				}
				if len(o.Spec.Egress) == 0 && len(o.Spec.PolicyTypes) == 2 {
					denied[o.Namespace] = true
				}
				for _, e := range o.Spec.Egress {
					if len(e.To) == 0 || len(e.Ports) == 0 {
						t.Errorf("policy %s/%s lets everything out", o.Namespace, o.Name)
					}
					for _, to := range e.To {
						if to.IPBlock != nil && to.IPBlock.CIDR == "0.0.0.0/0" && !slices.Contains(to.IPBlock.Except, "169.254.0.0/16") {
							t.Errorf("policy %s/%s: a cloud's metadata service is in reach", o.Namespace, o.Name)
						}
					}
				}
			}
		}
	}
	want := map[string]string{SigningNamespace: "signing", BuildPrefix + exampleTenant: "build"}
	if d := cmp.Diff(want, zones); d != "" {
		t.Error(d)
	}
	for ns := range zones {
		if !denied[ns] {
			t.Errorf("namespace %s has no policy that denies by default", ns)
		}
	}
}

const bundleRef = "registry.example.com/paths/tekton@" + zeros

const goodRun = `
metadata: {name: orders-1, annotations: {team: orders}}
spec:
  pipelineRef:
    resolver: bundles
    params:
    - {name: bundle, value: "` + bundleRef + `"}
    - {name: name, value: microservice}
    - {name: kind, value: pipeline}
  params: [{name: url, value: "https://git.example.com/orders.git"}]
  taskRunTemplate: {serviceAccountName: producer}
`

const goodSigner = `
metadata: {name: sign-1}
spec:
  serviceAccountName: attester
  timeout: 10m0s
  taskRef: {kind: Task, name: attest}
  params: [{name: run-name, value: orders-1}]
`

const goodClaim = `
metadata: {name: intent-1}
immutable: true
data: {claim: x}
`

// TestAdmission evaluates the rules as the API server does, on what a tenant or a
// controller in somebody else's hands could create.
func TestAdmission(t *testing.T) {
	trusted := map[string]any{"pipelines": "# ours\n" + bundleRef + "\n\n", "runtime-class": "sandbox"}
	for name, c := range map[string]struct {
		policy    string
		old, new  string // replaced in the good object
		operation string
		trust     map[string]any
		want      string // a part of the refusal; empty lets in
	}{
		"run":                             {policy: "paths-build-runs"},
		"run, trust with Windows' ends":   {policy: "paths-build-runs", trust: map[string]any{"pipelines": bundleRef + "\r\n"}},
		"run, platform's RuntimeClass":    {policy: "paths-build-runs", old: "taskRunTemplate: {", new: "taskRunTemplate: {podTemplate: {runtimeClassName: sandbox}, "},
		"run, another RuntimeClass":       {policy: "paths-build-runs", old: "taskRunTemplate: {", new: "taskRunTemplate: {podTemplate: {runtimeClassName: runc}, ", want: "podTemplate"},
		"run, its own RuntimeClass":       {policy: "paths-build-runs", old: "taskRunTemplate: {", new: "taskRunTemplate: {podTemplate: {runtimeClassName: sandbox}, ", trust: map[string]any{"pipelines": bundleRef}, want: "podTemplate"},
		"run, RuntimeClass and more":      {policy: "paths-build-runs", old: "taskRunTemplate: {", new: "taskRunTemplate: {podTemplate: {runtimeClassName: sandbox, hostNetwork: true}, ", want: "podTemplate"},
		"run, a signer's priority":        {policy: "paths-build-runs", old: "taskRunTemplate: {", new: "taskRunTemplate: {podTemplate: {priorityClassName: paths-signing}, ", want: "podTemplate"},
		"run, host network":               {policy: "paths-build-runs", old: "taskRunTemplate: {", new: "taskRunTemplate: {podTemplate: {hostNetwork: true}, ", want: "podTemplate"},
		"run, nothing trusted":            {policy: "paths-build-runs", trust: map[string]any{}, want: "none of those"},
		"run, empty list":                 {policy: "paths-build-runs", trust: map[string]any{"pipelines": ""}, want: "none of those"},
		"run, another bundle":             {policy: "paths-build-runs", old: "paths/tekton@", new: "mine/tekton@", want: "none of those"},
		"run, a part of a trusted bundle": {policy: "paths-build-runs", old: bundleRef, new: "tekton@" + zeros, want: "none of those"},
		"run, by tag":                     {policy: "paths-build-runs", old: bundleRef, new: "registry.example.com/paths/tekton:v1", trust: map[string]any{"pipelines": "registry.example.com/paths/tekton:v1"}, want: "none of those"},
		"run, no bundle":                  {policy: "paths-build-runs", old: `- {name: bundle, value: "` + bundleRef + `"}`, new: "", want: "once each"},
		"run, two bundles":                {policy: "paths-build-runs", old: "- {name: name,", new: "- {name: bundle, value: x}\n    - {name: name,", want: "once each"},
		"run, bundle as a list":           {policy: "paths-build-runs", old: `value: "` + bundleRef + `"`, new: `value: ["` + bundleRef + `"]`, want: "once each"},
		"run, another parameter":          {policy: "paths-build-runs", old: "- {name: kind,", new: "- {name: serviceAccount, value: x}\n    - {name: kind,", want: "once each"},
		"run, a task of the bundle":       {policy: "paths-build-runs", old: "value: pipeline}", new: "value: task}", want: "once each"},
		"run, git":                        {policy: "paths-build-runs", old: "resolver: bundles", new: "resolver: git", want: "from a bundle"},
		"run, by name":                    {policy: "paths-build-runs", old: "resolver: bundles", new: "name: mine", want: "from a bundle"},
		"run, pipelineSpec":               {policy: "paths-build-runs", old: "spec:\n", new: "spec:\n  pipelineSpec: {tasks: []}\n", want: "pipelineSpec"},
		"run, nothing":                    {policy: "paths-build-runs", old: "pipelineRef:", new: "ref:", want: "from a bundle"},
		"run, another account":            {policy: "paths-build-runs", old: "serviceAccountName: producer", new: "serviceAccountName: default", want: "producer"},
		"run, no account":                 {policy: "paths-build-runs", old: "serviceAccountName: producer", new: "", want: "producer"},
		"run, taskRunSpecs":               {policy: "paths-build-runs", old: "spec:\n", new: "spec:\n  taskRunSpecs: [{pipelineTaskName: produce}]\n", want: "taskRunSpecs"},
		"run, workspace":                  {policy: "paths-build-runs", old: "spec:\n", new: "spec:\n  workspaces: [{name: cache}]\n", want: "workspaces"},
		"run, managed by another":         {policy: "paths-build-runs", old: "spec:\n", new: "spec:\n  managedBy: me.example.com\n", want: "managedBy"},
		"run, says it is signed":          {policy: "paths-build-runs", old: "{team: orders}", new: `{pavedpaths.dev/signed: "true"}`, want: "annotations"},
		"run, signed by the controller":   {policy: "paths-build-runs", old: "{team: orders}", new: `{pavedpaths.dev/signed: "true"}`, operation: "UPDATE"},
		"run, finalizer":                  {policy: "paths-build-runs", old: "name: orders-1,", new: "name: orders-1, finalizers: [x],", want: "finalizers"},
		"run, held by the controller":     {policy: "paths-build-runs", old: "name: orders-1,", new: "name: orders-1, finalizers: [pavedpaths.dev/signing],", operation: "UPDATE"},
		"run, owned by another":           {policy: "paths-build-runs", old: "name: orders-1,", new: "name: orders-1, ownerReferences: [{name: x}],", want: "ownerReferences"},
		"run, changed later":              {policy: "paths-build-runs", old: "spec:\n", new: "spec:\n  taskRunSpecs: [{pipelineTaskName: produce}]\n", operation: "UPDATE", want: "taskRunSpecs"},

		"signer":                    {policy: "paths-signing-runs"},
		"verifier as attester":      {policy: "paths-signing-runs", old: "name: attest}", new: "name: verify}", want: "own ServiceAccount"},
		"verifier":                  {policy: "paths-signing-runs", old: "serviceAccountName: attester\n  timeout: 10m0s\n  taskRef: {kind: Task, name: attest}", new: "serviceAccountName: verifier\n  taskRef: {name: verify}"},
		"attester as verifier":      {policy: "paths-signing-runs", old: "serviceAccountName: attester", new: "serviceAccountName: verifier", want: "own ServiceAccount"},
		"signer, inline":            {policy: "paths-signing-runs", old: "taskRef: {kind: Task, name: attest}", new: "taskSpec: {steps: []}", want: "only the Tasks"},
		"signer, another task":      {policy: "paths-signing-runs", old: "name: attest}", new: "name: mine}", want: "only the Tasks"},
		"signer, from elsewhere":    {policy: "paths-signing-runs", old: "name: attest}", new: "name: attest, resolver: git}", want: "only the Tasks"},
		"signer, of a custom kind":  {policy: "paths-signing-runs", old: "kind: Task,", new: "kind: Mine,", want: "only the Tasks"},
		"signer, pod template":      {policy: "paths-signing-runs", old: "spec:\n", new: "spec:\n  podTemplate: {hostNetwork: true}\n", want: "podTemplate"},
		"signer, RuntimeClass":      {policy: "paths-signing-runs", old: "spec:\n", new: "spec:\n  podTemplate: {runtimeClassName: sandbox}\n"},
		"signer, priority":          {policy: "paths-signing-runs", old: "spec:\n", new: "spec:\n  podTemplate: {priorityClassName: paths-signing, runtimeClassName: sandbox}\n"},
		"signer, another priority":  {policy: "paths-signing-runs", old: "spec:\n", new: "spec:\n  podTemplate: {priorityClassName: system-node-critical}\n", want: "podTemplate"},
		"signer, debug":             {policy: "paths-signing-runs", old: "spec:\n", new: "spec:\n  debug: {breakpoints: {onFailure: enabled}}\n", want: "debug"},
		"signer, a step's override": {policy: "paths-signing-runs", old: "spec:\n", new: "spec:\n  stepSpecs: [{name: attest}]\n", want: "stepSpecs"},

		"claim":            {policy: "paths-signing-claims"},
		"claim, changed":   {policy: "paths-signing-claims", old: "immutable: true", new: "immutable: false", want: "immutable"},
		"claim, mutable":   {policy: "paths-signing-claims", old: "immutable: true", new: "", want: "immutable"},
		"claim, the trust": {policy: "paths-signing-claims", old: "name: intent-1", new: "name: trust", want: "intent-UID"},
	} {
		t.Run(name, func(t *testing.T) {
			text := map[string]string{"paths-build-runs": goodRun, "paths-signing-runs": goodSigner, "paths-signing-claims": goodClaim}[c.policy]
			if c.old != "" && !strings.Contains(text, c.old) {
				t.Fatalf("there is no %q to replace", c.old)
			}
			var object map[string]any
			if err := yaml.Unmarshal([]byte(strings.Replace(text, c.old, c.new, 1)), &object); err != nil {
				t.Fatal(err)
			}
			if c.trust == nil {
				c.trust = trusted
			}
			if c.operation == "" {
				c.operation = "CREATE"
			}
			got := refusal(t, c.policy, map[string]any{
				"object": object, "request": map[string]any{"operation": c.operation, "userInfo": map[string]any{"username": "system:serviceaccount:paths-signing:attester"}}, "params": map[string]any{"data": c.trust},
			})
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// refusal is what a committed policy says about an object; empty lets it in.
func refusal(t *testing.T, policy string, vars map[string]any) string {
	t.Helper()
	env, err := cel.NewEnv(ext.Strings(), cel.Variable("object", cel.DynType), cel.Variable("request", cel.DynType), cel.Variable("params", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, o := range committed(t)["manifest/admission.yaml"] {
		p, ok := o.(*admissionregistration.ValidatingAdmissionPolicy)
		if !ok || p.Name != policy {
			continue
		}
		for _, v := range p.Spec.Validations {
			ast, issues := env.Compile(v.Expression)
			if issues.Err() != nil {
				t.Fatalf("%s: %v", v.Expression, issues.Err())
			}
			program, err := env.Program(ast)
			if err != nil {
				t.Fatal(err)
			}
			out, _, err := program.Eval(vars)
			// An error refuses, too: failurePolicy is Fail.
			if err != nil || out.Value() != true {
				said = append(said, v.Message)
			}
		}
	}
	return strings.Join(said, "; ")
}

// TestAdmissionIsBound: a policy without a binding, or one that only warns, is none.
func TestAdmissionIsBound(t *testing.T) {
	bound := map[string]bool{}
	var policies []string
	for _, o := range committed(t)["manifest/admission.yaml"] {
		switch o := o.(type) {
		case *admissionregistration.ValidatingAdmissionPolicy:
			policies = append(policies, o.Name)
			if *o.Spec.FailurePolicy != admissionregistration.Fail {
				t.Errorf("%s lets in what it can't judge", o.Name)
			}
			if zone := o.Spec.MatchConstraints.NamespaceSelector.MatchLabels[ZoneLabel]; zone == "" {
				t.Errorf("%s is about no zone", o.Name)
			}
		case *admissionregistration.ValidatingAdmissionPolicyBinding:
			bound[o.Spec.PolicyName] = slices.Equal(o.Spec.ValidationActions, []admissionregistration.ValidationAction{admissionregistration.Deny})
			if p := o.Spec.ParamRef; p != nil && (*p.ParameterNotFoundAction != admissionregistration.DenyAction || p.Name != TrustMap || p.Namespace != SigningNamespace) {
				t.Errorf("%s: without the list of trusted bundles nothing may be let in", o.Name)
			}
		}
	}
	// The platform team writes what is trusted, by hand or by GitOps.
	if got := refusal(t, "paths-signing-claims", map[string]any{
		"object": map[string]any{"metadata": map[string]any{"name": "trust"}}, "request": map[string]any{"operation": "CREATE", "userInfo": map[string]any{"username": "admin"}}, "params": map[string]any{},
	}); got != "" {
		t.Errorf("the platform team: %s", got)
	}
	for _, p := range policies {
		if !bound[p] {
			t.Errorf("policy %s denies nothing", p)
		}
	}
	if len(policies) != 3 {
		t.Errorf("there are %d policies", len(policies))
	}
}
