package tekton

import (
	"fmt"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rule is one condition of an admission policy, in CEL, and what who breaks it reads.
type rule struct{ expression, message string }

// runRules hold for PipelineRuns of build namespaces: a trusted Pipeline with
// parameters, and nothing else.
func runRules() []rule {
	return []rule{
		{`has(object.spec.pipelineRef) && has(object.spec.pipelineRef.resolver) && object.spec.pipelineRef.resolver == 'bundles' && (!has(object.spec.pipelineRef.name) || object.spec.pipelineRef.name == '')`,
			"take the Pipeline from a bundle: pipelineRef with resolver bundles"},
		{`has(object.spec.pipelineRef) && has(object.spec.pipelineRef.params) && object.spec.pipelineRef.params.all(p, p.name in ['bundle', 'name', 'kind'] && type(p.value) == string) && object.spec.pipelineRef.params.exists_one(p, p.name == 'bundle') && object.spec.pipelineRef.params.exists_one(p, p.name == 'name') && object.spec.pipelineRef.params.exists_one(p, p.name == 'kind' && p.value == 'pipeline')`,
			"pipelineRef.params are bundle, name, and kind: pipeline, once each"},
		{`has(object.spec.pipelineRef) && has(object.spec.pipelineRef.params) && object.spec.pipelineRef.params.all(p, p.name != 'bundle' || (type(p.value) == string && p.value.contains('@sha256:') && has(params.data) && '` + TrustPipelines + `' in params.data && params.data['` + TrustPipelines + `'].split('\n').exists(line, line.trim() == p.value)))`,
			"the bundle is none of those in ConfigMap " + TrustMap + " of " + SigningNamespace + ", key " + TrustPipelines + ", REPOSITORY@DIGEST"},
		{`!has(object.spec.pipelineSpec)`, "leave out pipelineSpec: only Pipelines of trusted bundles run here"},
		{`has(object.spec.taskRunTemplate) && has(object.spec.taskRunTemplate.serviceAccountName) && object.spec.taskRunTemplate.serviceAccountName == '` + ProducerAccount + `'`,
			"set taskRunTemplate.serviceAccountName to " + ProducerAccount},
		{`!has(object.spec.taskRunTemplate) || ` + platformTemplate("object.spec.taskRunTemplate", ""), "leave out taskRunTemplate.podTemplate"},
		{`!has(object.spec.taskRunSpecs) || object.spec.taskRunSpecs.size() == 0`, "leave out taskRunSpecs"},
		{`!has(object.spec.workspaces) || object.spec.workspaces.size() == 0`, "leave out workspaces: another run could have them"},
		{`!has(object.spec.managedBy) || object.spec.managedBy == ''`, "leave out managedBy: runs are Tekton's"},
		{`request.operation != 'CREATE' || !has(object.metadata.annotations) || object.metadata.annotations.all(k, !k.startsWith('pavedpaths.dev/'))`,
			"annotations below pavedpaths.dev/ are the controller's"},
		{`request.operation != 'CREATE' || !has(object.metadata.finalizers) || object.metadata.finalizers.size() == 0`, "leave out finalizers"},
		{`request.operation != 'CREATE' || !has(object.metadata.ownerReferences) || object.metadata.ownerReferences.size() == 0`, "leave out ownerReferences"},
	}
}

// signerRules hold for TaskRuns of the signing namespace: whoever may create one still
// can run nothing but the Tasks there, each as its own ServiceAccount.
func signerRules() []rule {
	accounts := fmt.Sprintf("{'%s': '%s', '%s': '%s', '%s': '%s'}", AttestTask, AttesterAccount, VerifyTask, VerifierAccount, PromoteTask, PromoterAccount)
	return []rule{
		{`!has(object.spec.taskSpec) && has(object.spec.taskRef) && has(object.spec.taskRef.name) && object.spec.taskRef.name in ` + accounts + ` && (!has(object.spec.taskRef.resolver) || object.spec.taskRef.resolver == '') && (!has(object.spec.taskRef.kind) || object.spec.taskRef.kind == 'Task')`,
			"only the Tasks attest, verify and promote of this namespace run here"},
		{`has(object.spec.taskRef) && has(object.spec.taskRef.name) && object.spec.taskRef.name in ` + accounts + ` && has(object.spec.serviceAccountName) && object.spec.serviceAccountName == ` + accounts + `[object.spec.taskRef.name]`,
			"each Task runs as its own ServiceAccount"},
		{platformTemplate("object.spec", SigningPriority), "leave out podTemplate, but for priorityClassName: " + SigningPriority},
		{`!has(object.spec.debug)`, "leave out debug"},
		{`(!has(object.spec.stepSpecs) || object.spec.stepSpecs.size() == 0) && (!has(object.spec.sidecarSpecs) || object.spec.sidecarSpecs.size() == 0) && (!has(object.spec.workspaces) || object.spec.workspaces.size() == 0)`,
			"leave out stepSpecs, sidecarSpecs and workspaces"},
		{`!has(object.spec.managedBy) || object.spec.managedBy == ''`, "leave out managedBy: runs are Tekton's"},
	}
}

// platformTemplate lets in the pod template that Tekton has put there before rules are
// asked, where the platform has a default one: a RuntimeClass, and nothing else but a
// PriorityClass of this name, unless that is empty.
func platformTemplate(of, priority string) string {
	fields := fmt.Sprintf("k == 'runtimeClassName' && has(params.data) && '%[2]s' in params.data && %[1]s.podTemplate[k] == params.data['%[2]s']", of, TrustRuntimeClass)
	if priority != "" {
		fields += fmt.Sprintf(" || k == 'priorityClassName' && %s.podTemplate[k] == '%s'", of, priority)
	}
	return fmt.Sprintf("(!has(%[1]s.podTemplate) || %[1]s.podTemplate.all(k, %[2]s))", of, fields)
}

// claimRules hold for ConfigMaps of the signing namespace: the attester writes down what
// it is about to publish, once, and nothing that others trust.
func claimRules() []rule {
	return []rule{{
		`request.userInfo.username != 'system:serviceaccount:` + SigningNamespace + `:` + AttesterAccount + `' || (object.metadata.name.startsWith('intent-') && has(object.immutable) && object.immutable)`,
		"the attester writes immutable ConfigMaps that are called intent-UID",
	}}
}

// admission are the policies that the API server itself enforces. The list of trusted
// bundles is the one that the attester reads; without it nothing is let in.
func admission() []any {
	var all []any
	for _, p := range []*admissionregistration.ValidatingAdmissionPolicy{
		policy("paths-build-runs", "tekton.dev", "pipelineruns", "build", runRules()),
		policy("paths-signing-runs", "tekton.dev", "taskruns", "signing", signerRules()),
	} {
		// A run may be let go, and a bundle that is trusted no longer must not keep it.
		p.Spec.MatchConditions = []admissionregistration.MatchCondition{{
			Name: "new-or-changed", Expression: "request.operation == 'CREATE' || object.spec != oldObject.spec",
		}}
		p.Spec.ParamKind = &admissionregistration.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
		bound := binding(p)
		bound.Spec.ParamRef = &admissionregistration.ParamRef{
			Name: TrustMap, Namespace: SigningNamespace, ParameterNotFoundAction: new(admissionregistration.DenyAction),
		}
		all = append(all, p, bound)
	}
	claims := policy("paths-signing-claims", "", "configmaps", "signing", claimRules())
	return append(all, claims, binding(claims))
}

func policy(name, group, resource, zone string, rules []rule) *admissionregistration.ValidatingAdmissionPolicy {
	p := &admissionregistration.ValidatingAdmissionPolicy{
		TypeMeta:   kind(admissionregistration.GroupName, "v1", "ValidatingAdmissionPolicy"),
		ObjectMeta: named("", name),
		Spec: admissionregistration.ValidatingAdmissionPolicySpec{
			FailurePolicy: new(admissionregistration.Fail),
			MatchConstraints: &admissionregistration.MatchResources{
				// Other versions of the API are converted before rules are applied.
				MatchPolicy:       new(admissionregistration.Equivalent),
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{ZoneLabel: zone}},
				ResourceRules: []admissionregistration.NamedRuleWithOperations{{RuleWithOperations: admissionregistration.RuleWithOperations{
					Operations: []admissionregistration.OperationType{admissionregistration.Create, admissionregistration.Update},
					Rule:       admissionregistration.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
				}}},
			},
		},
	}
	for _, r := range rules {
		p.Spec.Validations = append(p.Spec.Validations, admissionregistration.Validation{
			Expression: r.expression, Message: r.message, Reason: new(metav1.StatusReasonForbidden),
		})
	}
	return p
}

func binding(p *admissionregistration.ValidatingAdmissionPolicy) *admissionregistration.ValidatingAdmissionPolicyBinding {
	return &admissionregistration.ValidatingAdmissionPolicyBinding{
		TypeMeta: kind(admissionregistration.GroupName, "v1", "ValidatingAdmissionPolicyBinding"), ObjectMeta: named("", p.Name),
		Spec: admissionregistration.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: p.Name, ValidationActions: []admissionregistration.ValidationAction{admissionregistration.Deny},
		},
	}
}

func quantity(s string) resource.Quantity { return resource.MustParse(s) }
