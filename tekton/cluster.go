package tekton

import (
	corev1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// exampleTenant has its build namespace in manifest/example-tenant.yaml, to be copied.
const exampleTenant = "example"

// ControllerAccount is the controller's ServiceAccount, and controllerRole what it may do
// in a build namespace: controller/deploy.yaml has both.
const (
	ControllerAccount = "controller"
	controllerRole    = "paths-controller-runs"
)

// manifests are the objects of Kubernetes around the Tasks: who may do what, and what
// may talk to what. By file. What is the controller's own is in controller/deploy.yaml.
func manifests() map[string][]any {
	return map[string][]any{
		"manifest/signing.yaml":        signingObjects(),
		"manifest/roles.yaml":          clusterRoles(),
		"manifest/admission.yaml":      admission(),
		"manifest/example-tenant.yaml": tenantObjects(exampleTenant),
	}
}

func kind(group, version, kind string) metav1.TypeMeta {
	if group != "" {
		version = group + "/" + version
	}
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "paved-paths"}}
}

// namespace is one in which Pod Security's profile "restricted" holds.
func namespace(name, zone string) *corev1.Namespace {
	n := &corev1.Namespace{TypeMeta: kind("", "v1", "Namespace"), ObjectMeta: named("", name)}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		n.Labels["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	if zone != "" {
		n.Labels[ZoneLabel] = zone
	}
	return n
}

// account is a ServiceAccount whose pods get no token by themselves: a container that
// needs one mounts it.
func account(namespace, name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{TypeMeta: kind("", "v1", "ServiceAccount"), ObjectMeta: named(namespace, name), AutomountServiceAccountToken: new(false)}
}

func signingObjects() []any {
	ns := SigningNamespace
	return []any{
		namespace(ns, "signing"),
		// Signers wait for a node as builds do, but before them: what is built is signed
		// soon, and not once all that waits is built. None is stopped for them.
		&scheduling.PriorityClass{
			TypeMeta: kind(scheduling.GroupName, "v1", "PriorityClass"), ObjectMeta: named("", SigningPriority),
			Value: 1_000_000, PreemptionPolicy: new(corev1.PreemptNever), Description: "Signers of Paved Paths: before builds, and instead of none.",
		},
		account(ns, AttesterAccount), account(ns, VerifierAccount), account(ns, PromoterAccount),
		// What it is about to publish, written down so that only one attempt does; which
		// names it may use is a policy's to say.
		&rbac.Role{TypeMeta: kind(rbac.GroupName, "v1", "Role"), ObjectMeta: named(ns, "claim"), Rules: []rbac.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create", "get"}},
		}},
		bind(ns, "claim", "Role", "claim", serviceAccount(ns, AttesterAccount)),
		deny(ns),
		// The API server has no label that a policy could select, and Sigstore none.
		egress(ns, "signing", nil, dns(), anywhere(443, 6443)),
	}
}

// clusterRoles are bound namespace by namespace.
func clusterRoles() []any {
	role := func(name string, rules ...rbac.PolicyRule) *rbac.ClusterRole {
		return &rbac.ClusterRole{TypeMeta: kind(rbac.GroupName, "v1", "ClusterRole"), ObjectMeta: named("", name), Rules: rules}
	}
	tekton := func(resource string, verbs ...string) rbac.PolicyRule {
		return rbac.PolicyRule{APIGroups: []string{"tekton.dev"}, Resources: []string{resource}, Verbs: verbs}
	}
	core := func(resource string, verbs ...string) rbac.PolicyRule {
		return rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: verbs}
	}
	return []any{
		// A tenant starts runs and reads what became of them. Whoever could create pods,
		// exec into them, or write a status, could make a run that never was.
		role("paths-tenant",
			tekton("pipelineruns", "create", "get", "list", "watch", "delete"),
			tekton("taskruns", "get", "list", "watch"),
			core("pods", "get", "list", "watch"), core("pods/log", "get"), core("events", "get", "list", "watch")),
		// The attester looks at runs, at their TaskRuns and pods, by name.
		role("paths-attester", tekton("pipelineruns", "get"), tekton("taskruns", "get"), core("pods", "get")),
	}
}

// tenantObjects are the build namespace of a tenant, whose people are the group
// paths:tenant:NAME.
func tenantObjects(tenant string) []any {
	ns := BuildPrefix + tenant
	return []any{
		namespace(ns, "build"),
		account(ns, ProducerAccount),
		bind(ns, "tenant", "ClusterRole", "paths-tenant", rbac.Subject{APIGroup: rbac.GroupName, Kind: "Group", Name: "paths:tenant:" + tenant}),
		bind(ns, "attester", "ClusterRole", "paths-attester", serviceAccount(SigningNamespace, AttesterAccount)),
		bind(ns, "controller", "ClusterRole", controllerRole, serviceAccount(SystemNamespace, ControllerAccount)),
		&corev1.ResourceQuota{TypeMeta: kind("", "v1", "ResourceQuota"), ObjectMeta: named(ns, "runs"), Spec: corev1.ResourceQuotaSpec{
			Hard: corev1.ResourceList{"count/pipelineruns.tekton.dev": quantity("200"), "pods": quantity("20")},
		}},
		limits(ns),
		deny(ns),
		// Git, modules and the registry, on the internet. What is inside of a cluster or
		// a cloud, the metadata service with its credentials first of all, is out of
		// reach until a policy of yours names it.
		egress(ns, "build", outside(), dns(), anywhere(443)),
	}
}

// limits are what one container may take, where no Task says less: a build that eats
// memory or disk ends itself, and not its neighbours. They are the tenant's, not the
// Tasks', so that a platform team can give one tenant more without another bundle.
func limits(namespace string) *corev1.LimitRange {
	return &corev1.LimitRange{TypeMeta: kind("", "v1", "LimitRange"), ObjectMeta: named(namespace, "containers"), Spec: corev1.LimitRangeSpec{
		Limits: []corev1.LimitRangeItem{{
			Type:    corev1.LimitTypeContainer,
			Default: corev1.ResourceList{corev1.ResourceMemory: quantity("4Gi"), corev1.ResourceEphemeralStorage: quantity("10Gi")},
			// Else a container would ask for as much as it may take.
			DefaultRequest: corev1.ResourceList{corev1.ResourceMemory: quantity("64Mi"), corev1.ResourceEphemeralStorage: quantity("64Mi")},
		}},
	}}
}

func serviceAccount(namespace, name string) rbac.Subject {
	return rbac.Subject{Kind: rbac.ServiceAccountKind, Namespace: namespace, Name: name}
}

func bind(namespace, name, roleKind, role string, to rbac.Subject) *rbac.RoleBinding {
	return &rbac.RoleBinding{TypeMeta: kind(rbac.GroupName, "v1", "RoleBinding"), ObjectMeta: named(namespace, name),
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: roleKind, Name: role}, Subjects: []rbac.Subject{to}}
}

// deny is the policy that lets nothing in or out, which others add to.
func deny(namespace string) *networking.NetworkPolicy {
	return &networking.NetworkPolicy{TypeMeta: kind(networking.GroupName, "v1", "NetworkPolicy"), ObjectMeta: named(namespace, "deny"),
		Spec: networking.NetworkPolicySpec{PolicyTypes: []networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress}}}
}

func egress(namespace, name string, to []networking.NetworkPolicyPeer, resolve networking.NetworkPolicyEgressRule, ports []networking.NetworkPolicyPort) *networking.NetworkPolicy {
	if to == nil {
		to = []networking.NetworkPolicyPeer{
			{IPBlock: &networking.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"169.254.0.0/16"}}},
			{IPBlock: &networking.IPBlock{CIDR: "::/0", Except: []string{"fe80::/10", "fd00:ec2::254/128"}}},
		}
	}
	return &networking.NetworkPolicy{TypeMeta: kind(networking.GroupName, "v1", "NetworkPolicy"), ObjectMeta: named(namespace, name),
		Spec: networking.NetworkPolicySpec{
			PolicyTypes: []networking.PolicyType{networking.PolicyTypeEgress},
			Egress:      []networking.NetworkPolicyEgressRule{resolve, {To: to, Ports: ports}},
		}}
}

// outside are all addresses but those of private networks, of links, and of carriers.
func outside() []networking.NetworkPolicyPeer {
	return []networking.NetworkPolicyPeer{
		{IPBlock: &networking.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}}},
		{IPBlock: &networking.IPBlock{CIDR: "::/0", Except: []string{"::1/128", "fc00::/7", "fe80::/10"}}},
	}
}

func dns() networking.NetworkPolicyEgressRule {
	return networking.NetworkPolicyEgressRule{
		To: []networking.NetworkPolicyPeer{{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "kube-system"}},
			PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
		}},
		Ports: []networking.NetworkPolicyPort{port(corev1.ProtocolUDP, 53), port(corev1.ProtocolTCP, 53)},
	}
}

func anywhere(ports ...int32) []networking.NetworkPolicyPort {
	var all []networking.NetworkPolicyPort
	for _, p := range ports {
		all = append(all, port(corev1.ProtocolTCP, p))
	}
	return all
}

func port(p corev1.Protocol, n int32) networking.NetworkPolicyPort {
	return networking.NetworkPolicyPort{Protocol: &p, Port: new(intstr.FromInt32(n))}
}
