package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/attest"
)

// testedTekton is the release of Tekton Pipelines that the Tasks were run with.
const testedTekton = "v1.12."

// clusterDoctor reads, with the user's own kubectl and rights, whether a cluster is set up
// as tekton/README.md wants.
type clusterDoctor struct {
	// get is what kubectl get says of one object or list, as JSON.
	get func(ctx context.Context, args ...string) ([]byte, error)
}

func checkCluster(ctx context.Context, kubeconfig string) []check {
	if _, err := exec.LookPath("kubectl"); err != nil {
		return []check{problem("cluster", errors.New("no kubectl on PATH"), "install kubectl, and log in to the cluster with it")}
	}
	return clusterDoctor{kubectl{kubeconfig}.get}.checks(ctx)
}

func (d clusterDoctor) checks(ctx context.Context) []check {
	var trust configMap
	trustErr := d.read(ctx, &trust, "configmap", "trust", "-n", "paths-signing")
	if trustErr != nil && !answered(trustErr) {
		// What each of the others would say, with the wrong advice.
		return []check{unread("cluster", trustErr, "")}
	}
	// The first answer is there, and with it any login. The others need not wait for each
	// other: some clouds' kubectl takes seconds for each.
	looks := []func(context.Context) check{
		d.version, d.flags, d.namespaces, d.admission, d.tasks, d.controller,
		func(context.Context) check { return checkTrusted(trust, trustErr) },
		func(ctx context.Context) check { return d.template(ctx, trust, trustErr) },
	}
	checks := make([]check, len(looks))
	var all sync.WaitGroup
	for i, look := range looks {
		all.Go(func() { checks[i] = look(ctx) })
	}
	all.Wait()
	return checks
}

type configMap struct{ Data map[string]string }

type deployment struct {
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Args      []string
					Resources struct{ Requests map[string]string }
				}
			}
		}
	}
	Status struct{ AvailableReplicas int }
}

// unread is a check that failed since an object could not be read. The advice is for one
// that is not there: to make it helps nobody who may not read it.
func unread(name string, err error, advice string) check {
	var d *deniedError
	switch {
	case errors.As(err, &d):
		return problem(name, err, "ask the cluster's administrators for the right to "+d.right())
	case errors.Is(err, errNotThere):
		return problem(name, err, advice)
	}
	return problem(name, err, "check that kubectl reaches the cluster that you mean (KUBECONFIG, or --kubeconfig): kubectl get namespaces")
}

func (d clusterDoctor) read(ctx context.Context, to any, args ...string) error {
	raw, err := d.get(ctx, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func fine(name, format string, args ...any) check {
	return check{Name: name, State: "ok", Detail: fmt.Sprintf(format, args...)}
}

func (d clusterDoctor) version(ctx context.Context) check {
	var info configMap
	if err := d.read(ctx, &info, "configmap", "pipelines-info", "-n", "tekton-pipelines"); err != nil {
		return unread("tekton", err, "install Tekton Pipelines v1.12, or let kubectl name its cluster (KUBECONFIG, or --kubeconfig)")
	}
	v := info.Data["version"]
	if !strings.HasPrefix(v, testedTekton) {
		return check{Name: "tekton", State: "warning", Detail: fmt.Sprintf("Tekton Pipelines is %q, and the Tasks were tested with %sx", v, testedTekton), Fix: "use a release that was tested, or try a run first"}
	}
	starved := false
	for _, name := range []string{"tekton-pipelines-controller -n tekton-pipelines", "tekton-pipelines-webhook -n tekton-pipelines", "tekton-pipelines-remote-resolvers -n tekton-pipelines-resolvers"} {
		var deployment deployment
		if err := d.read(ctx, &deployment, append([]string{"deployment"}, strings.Fields(name)...)...); err != nil {
			return unread("tekton", err, "install Tekton Pipelines v1.12, resolvers included")
		}
		if deployment.Status.AvailableReplicas == 0 {
			return problem("tekton", fmt.Errorf("no pod of deployment %s is available", name), "look why: kubectl describe deployment "+name)
		}
		for _, c := range deployment.Spec.Template.Spec.Containers {
			starved = starved || strings.HasPrefix(name, "tekton-pipelines-controller") && c.Resources.Requests["cpu"] == ""
		}
	}
	if starved {
		// As it is released: on a node full of builds it misses its health checks, and dies.
		return check{Name: "tekton", State: "warning", Detail: "Tekton's controller asks for no processor: builds on its node can starve it",
			Fix: "kubectl -n tekton-pipelines set resources deployment/tekton-pipelines-controller --requests=cpu=50m"}
	}
	return fine("tekton", "Tekton Pipelines %s", v)
}

// flags are those of Tekton without which pods don't start, or hold more than they should.
func (d clusterDoctor) flags(ctx context.Context) check {
	var flags configMap
	if err := d.read(ctx, &flags, "configmap", "feature-flags", "-n", "tekton-pipelines"); err != nil {
		return unread("flags", err, "install Tekton Pipelines v1.12")
	}
	var wrong []string
	for _, f := range []struct{ name, why string }{
		{"set-security-context", "pods of a restricted namespace don't start"},
		{"set-security-context-read-only-root-filesystem", "Tekton's own containers can write their image"},
		{"disable-creds-init", "Tekton mounts credentials in every container"},
	} {
		if flags.Data[f.name] != "true" {
			wrong = append(wrong, fmt.Sprintf("%s is %q: %s", f.name, flags.Data[f.name], f.why))
		}
	}
	if wrong != nil {
		return problem("flags", errors.New(strings.Join(wrong, "; ")), `set them to "true" in ConfigMap feature-flags of tekton-pipelines`)
	}
	return fine("flags", "Tekton's feature flags are set")
}

func (d clusterDoctor) namespaces(ctx context.Context) check {
	var list struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
		}
	}
	const fix = "kubectl apply -k the folder that the generator wrote, and tekton/controller/deploy.yaml; a tenant is a copy of tekton/manifest/example-tenant.yaml"
	if err := d.read(ctx, &list, "namespaces", "-l", "pavedpaths.dev/zone"); err != nil {
		return unread("namespaces", err, fix)
	}
	zones, wrong := map[string]string{}, []string{}
	for _, needed := range [][]string{{"namespace", "paths-system"}, {"priorityclass", "paths-signing"}} {
		switch err := d.read(ctx, &struct{}{}, needed...); {
		case errors.Is(err, errNotThere):
			wrong = append(wrong, strings.Join(needed, " ")+" is not there")
		case err != nil:
			return unread("namespaces", err, fix)
		}
	}
	for _, n := range list.Items {
		name, labels := n.Metadata.Name, n.Metadata.Labels
		zone := labels["pavedpaths.dev/zone"]
		if zone != "build" && zone != "signing" && zone != "system" {
			wrong = append(wrong, fmt.Sprintf("%s has label pavedpaths.dev/zone=%s, which is none: no policy is for it", name, zone))
		}
		zones[name] = zone
		if level := labels["pod-security.kubernetes.io/enforce"]; level != "restricted" {
			wrong = append(wrong, fmt.Sprintf("%s enforces %q of Pod Security, not restricted", name, level))
		}
	}
	builds := 0
	for _, zone := range zones {
		if zone == "build" {
			builds++
		}
	}
	if zones["paths-signing"] != "signing" {
		wrong = append(wrong, "paths-signing with label pavedpaths.dev/zone=signing is not there")
	}
	if builds == 0 {
		wrong = append(wrong, "no namespace has label pavedpaths.dev/zone=build: there is no tenant")
	}
	if len(wrong) > 0 {
		return problem("namespaces", errors.New(strings.Join(wrong, "; ")), fix)
	}
	return fine("namespaces", "paths-signing, paths-system and %d of tenants, restricted", builds)
}

// admission is what keeps tenants to trusted Pipelines, and each account to its own.
func (d clusterDoctor) admission(ctx context.Context) check {
	type binding struct {
		Metadata struct{ Name string }
		Spec     struct {
			PolicyName        string
			ValidationActions []string
			MatchResources    any
			FailurePolicy     string
			Validations       []any
		}
	}
	var bindings, policies struct{ Items []binding }
	for _, list := range []struct {
		kind string
		to   any
	}{{"validatingadmissionpolicies", &policies}, {"validatingadmissionpolicybindings", &bindings}} {
		if err := d.read(ctx, list.to, list.kind); err != nil {
			return unread("admission", err, "use Kubernetes 1.30 or newer, which has them")
		}
	}
	var missing []string
	for _, name := range []string{"paths-build-runs", "paths-signing-runs", "paths-signing-claims", "paths-controller-taskruns", "paths-controller-runs", "paths-controller-claims"} {
		there := slices.ContainsFunc(policies.Items, func(p binding) bool {
			return p.Metadata.Name == name && p.Spec.FailurePolicy != "Ignore" && len(p.Spec.Validations) > 0
		})
		bound := slices.ContainsFunc(bindings.Items, func(b binding) bool {
			return b.Spec.PolicyName == name && slices.Contains(b.Spec.ValidationActions, "Deny") && b.Spec.MatchResources == nil
		})
		if !there || !bound {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return problem("admission", fmt.Errorf("not there, empty, or not bound to deny: %s", strings.Join(missing, ", ")), "kubectl apply -k the folder that the generator wrote, and tekton/controller/deploy.yaml")
	}
	return fine("admission", "policies are there, and deny")
}

var byDigest = regexp.MustCompile(`^[^\s@]+@sha256:[0-9a-f]{64}$`)

func (d clusterDoctor) tasks(ctx context.Context) check {
	const fix = "run the generator with --tool and --go, and kubectl apply -k what it wrote"
	for _, name := range []string{"attest", "verify"} {
		var task struct {
			Spec struct{ Steps []struct{ Image string } }
		}
		if err := d.read(ctx, &task, "tasks.tekton.dev", name, "-n", "paths-signing"); err != nil {
			return unread("tasks", err, fix)
		}
		if len(task.Spec.Steps) == 0 {
			return problem("tasks", fmt.Errorf("Task %s has no step", name), fix)
		}
		for _, s := range task.Spec.Steps {
			host, _, _ := strings.Cut(s.Image, "/")
			host, _, _ = strings.Cut(host, ":")
			if !byDigest.MatchString(s.Image) || strings.HasSuffix(host, ".invalid") {
				return problem("tasks", fmt.Errorf("Task %s runs %.200q, which is no image by digest that can be pulled", name, s.Image), fix)
			}
		}
	}
	return fine("tasks", "attest and verify, with images by digest")
}

func (d clusterDoctor) controller(ctx context.Context) check {
	var deployment deployment
	if err := d.read(ctx, &deployment, "deployment", "paths-controller", "-n", "paths-system"); err != nil {
		return unread("controller", err, "install tekton/controller/deploy.yaml")
	}
	if deployment.Status.AvailableReplicas == 0 {
		return problem("controller", errors.New("no pod of it is available: nothing is signed"), "kubectl -n paths-system describe pods, and its log")
	}
	for _, c := range deployment.Spec.Template.Spec.Containers {
		for _, arg := range c.Args {
			// What deploy.yaml has where yours belongs.
			if strings.HasPrefix(arg, "--destination=registry.example/") {
				return problem("controller", fmt.Errorf("it runs with %s, which is the example's", arg), "set --destination to the prefix of your images' repositories")
			}
		}
	}
	return fine("controller", "available")
}

// checkTrusted reads ConfigMap trust as attester and verifier do.
func checkTrusted(m configMap, err error) check {
	const fix = "make it as tekton/README.md says: kubectl -n paths-signing create configmap trust --from-file=…"
	if err != nil {
		return unread("trust", err, fix)
	}
	for _, name := range []string{"pipelines", "trust.yaml", "trusted_root.json", "signing_config.json"} {
		if strings.TrimSpace(m.Data[name]) == "" {
			return problem("trust", fmt.Errorf("ConfigMap trust has no %s", name), fix)
		}
	}
	bundles := trustedBundles(m.Data["pipelines"])
	for _, b := range bundles {
		if !byDigest.MatchString(b) {
			return problem("trust", fmt.Errorf("pipelines: %.200q is no REPOSITORY@DIGEST", b), "put the line there that the generator printed")
		}
	}
	if len(bundles) == 0 {
		return problem("trust", errors.New("pipelines names no bundle: no run is let in"), "put the line there that the generator printed")
	}
	if _, err := attest.ParseTrust([]byte(m.Data["trust.yaml"]), func(name string) ([]byte, error) {
		text, ok := m.Data[name]
		if !ok {
			return nil, fmt.Errorf("ConfigMap trust has no %s, only %s", name, strings.Join(slices.Sorted(maps.Keys(m.Data)), ", "))
		}
		return []byte(text), nil
	}); err != nil {
		return problem("trust", fmt.Errorf("trust.yaml: %w", err), "mend trust.yaml in ConfigMap trust")
	}
	for _, name := range []string{"trusted_root.json", "signing_config.json"} {
		if !json.Valid([]byte(m.Data[name])) {
			return problem("trust", fmt.Errorf("%s is no JSON", name), fix)
		}
	}
	return fine("trust", "%d trusted bundle(s), trust root and signing configuration", len(bundles))
}

// template is what Tekton puts around every pod: the sandbox, if there is one, and nothing
// that the attester would refuse each run for.
func (d clusterDoctor) template(ctx context.Context, trust configMap, trustErr error) check {
	var defaults configMap
	if err := d.read(ctx, &defaults, "configmap", "config-defaults", "-n", "tekton-pipelines"); err != nil {
		return unread("sandbox", err, "install Tekton Pipelines v1.12")
	}
	if trustErr != nil {
		return unread("sandbox", trustErr, "see trust")
	}
	named := trust.Data["runtime-class"]
	class := strings.TrimSpace(named)
	var template map[string]any
	if err := yaml.Unmarshal([]byte(defaults.Data["default-pod-template"]), &template); err != nil {
		return problem("sandbox", fmt.Errorf("default-pod-template: %w", err), "mend it in ConfigMap config-defaults of tekton-pipelines")
	}
	switch {
	case class != "" && class != named:
		// The attester reads it without them; the policies, in CEL, take it as it stands.
		return problem("sandbox", fmt.Errorf("runtime-class in ConfigMap trust is %q: with the spaces or the line's end the admission policies let no run in", named), "write the bare name: --from-literal=runtime-class="+class)
	case class == "" && len(template) > 0:
		return problem("sandbox", errors.New("Tekton has a default-pod-template, and ConfigMap trust names no runtime-class: no run is let in"), "name its runtimeClassName there, or take the template away")
	case class == "":
		return check{Name: "sandbox", State: "warning", Detail: "builds share the node's kernel: SLSA Build L2 at most", Fix: "see Sandbox in tekton/README.md"}
	case len(template) != 1 || template["runtimeClassName"] != any(class):
		return problem("sandbox", fmt.Errorf("ConfigMap trust names runtime-class %s, and Tekton's default-pod-template is %v", class, template), "let the template have that runtimeClassName, and nothing else")
	}
	if err := d.read(ctx, &struct{}{}, "runtimeclass", class); err != nil {
		return unread("sandbox", err, "install the sandbox on the nodes, with its RuntimeClass")
	}
	return fine("sandbox", "builds run in RuntimeClass %s", class)
}
