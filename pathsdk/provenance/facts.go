package provenance

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// The names of facts. A runner establishes each one itself and says how; one
// that it could not establish it leaves out, and a missing fact supports no
// level.
const (
	// FactHost is where the path ran: one of the Host constants.
	FactHost = "host"
	// FactSource is who vouches for the record that provenance was read from:
	// SourceRunner or SourceControlPlane.
	FactSource = "provenance.source"
	// FactFence lists what kept user code in, joined by '+' ("landlock",
	// "namespaces"), or is FenceNone.
	FactFence = "build.fence"
	// FactNetwork is NetworkNone if user code could reach no network, else
	// NetworkHost.
	FactNetwork = "build.network"
	// FactKeys is KeysUnreachable if user code could not read signing keys, the
	// step cache or the store, else KeysReachable.
	FactKeys = "build.keys"
	// FactEnvironment is EnvironmentScrubbed if user code saw no variable of
	// whoever started the run, else EnvironmentInherited.
	FactEnvironment = "build.environment"
	// FactCaches is CachesPrivate if no cache that user code can write is read by
	// another build, else CachesShared.
	FactCaches = "build.caches"
	// FactEphemeral is "true" if the build's environment was made for this build
	// alone and destroyed after it.
	FactEphemeral = "build.ephemeral"
	// FactProducer is the identity of the run that built, as its platform says it: on
	// GitHub the URL of job_workflow_ref. The attester's identity must differ from it.
	FactProducer = "producer.identity"
	// FactProducerIssuer is the OIDC issuer that says so.
	FactProducerIssuer = "producer.issuer"
	// FactRun is the URL of the run on its platform.
	FactRun = "run.uri"
	// FactNode is what a build's containers shared with other builds, on a platform
	// where that can differ: one of the Node constants.
	FactNode = "build.node"
)

// The values of facts that decide a level.
const (
	HostWorkstation = "workstation"
	HostDagger      = "dagger"
	HostGitHub      = "github"
	HostTekton      = "tekton"
	// HostGitHubOther is a job of GitHub's on a machine that is not GitHub's.
	HostGitHubOther = "github-self-hosted"

	SourceRunner       = "runner"
	SourceControlPlane = "control-plane"

	FenceNone = "none"

	NetworkNone = "none"
	NetworkHost = "host"

	KeysUnreachable = "unreachable"
	KeysReachable   = "reachable"

	EnvironmentScrubbed  = "scrubbed"
	EnvironmentInherited = "inherited"

	CachesPrivate = "private"
	CachesShared  = "shared"

	// NodeShared is a kernel with other builds on it, NodeSandbox none.
	NodeShared  = "shared"
	NodeSandbox = "sandbox"
)

// Fence is what a runner found out about the fence around user code.
type Fence struct {
	// Landlock is true if the kernel enforced it on the child's access to files.
	Landlock bool
	// Namespaces is true if the child had a root folder, in which only what it
	// may use exists, and processes of its own.
	Namespaces bool
	// NoNetwork is true if the child could not reach the host's network.
	NoNetwork bool
	// Detail says more, such as Landlock's ABI version; may be empty.
	Detail string
}

// Workstation is what holds of a path that ran on a workstation: whoever owns
// the machine could have changed everything, so the runner vouches for itself.
// The build cache of one service is used by the next run, so it is shared.
func Workstation(f Fence) []Fact {
	fence, how := FenceNone, "the kernel offered neither Landlock nor namespaces"
	keys, keysHow := KeysReachable, "nothing kept user code from files of the same user"
	var parts []string
	if f.Landlock {
		parts = append(parts, "landlock")
	}
	if f.Namespaces {
		parts = append(parts, "namespaces")
	}
	if len(parts) > 0 {
		fence = parts[0]
		if len(parts) > 1 {
			fence += "+" + parts[1]
		}
		how = "the kernel applied it to the child before any user code ran"
		keys, keysHow = KeysUnreachable, "keys, step cache and store lie outside of the fence ("+fence+")"
	}
	if f.Detail != "" && len(parts) > 0 {
		how += ": " + f.Detail
	}
	network, networkHow := NetworkHost, "nothing kept user code from the network"
	if f.NoNetwork {
		network, networkHow = NetworkNone, "the kernel gave the child a network of its own, or the runner itself had none"
	}
	return []Fact{
		{FactHost, HostWorkstation, "the runner was started from a command line, without a hosted platform around it"},
		{FactSource, SourceRunner, "the record was written by the runner on the same machine; nothing else vouches for it"},
		{FactFence, fence, how},
		{FactNetwork, network, networkHow},
		{FactKeys, keys, keysHow},
		{FactEnvironment, EnvironmentScrubbed, "the runner gave every child an environment of its own"},
		{FactCaches, CachesShared, "Go's build cache on this machine survives from one build to the next"},
		{FactEphemeral, "false", "the machine outlives the build"},
	}
}

// Dagger is what holds of a path that ran in the containers of a Dagger engine:
// whoever started the engine is root in every one of them, so nothing more is
// vouched for than on a workstation. Only the host has another name.
func Dagger(f Fence) []Fact {
	facts := Workstation(f)
	for i := range facts {
		switch facts[i].Name {
		case FactHost:
			facts[i] = Fact{FactHost, HostDagger, "the runner was started in containers of a Dagger engine, which belongs to whoever started the run"}
		case FactSource:
			facts[i].How = "the records were written by the runners in those containers; nothing else vouches for them"
		case FactEphemeral:
			facts[i].How = "the containers are made for one build, but the engine that holds them outlives it"
		}
	}
	return facts
}

// Facts reads the facts of a provenance that Predicate made. One name with two
// values is an error: nobody can say which one holds.
func Facts(p evidence.ProvenanceV1) ([]Fact, error) {
	raw, ok := p.BuildDefinition.InternalParameters[factsParameter]
	if !ok {
		return nil, nil
	}
	var facts []Fact
	if err := json.Unmarshal(raw, &facts); err != nil {
		return nil, fmt.Errorf("provenance: internalParameters.%s is not a list of facts: %w", factsParameter, err)
	}
	return facts, checkFacts(facts)
}

func checkFacts(facts []Fact) error {
	var seen []string
	for _, f := range facts {
		if f.Name == "" || f.Value == "" || f.How == "" {
			return fmt.Errorf("provenance: fact %q lacks a name, a value or how it was established", f.Name)
		}
		if slices.Contains(seen, f.Name) {
			return fmt.Errorf("provenance: fact %q stands there twice", f.Name)
		}
		seen = append(seen, f.Name)
	}
	return nil
}
