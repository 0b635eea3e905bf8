package provenance

import (
	"fmt"
	"slices"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// MaxLevel is the highest level of the SLSA Build track.
const MaxLevel = 3

// Reason is one requirement of the SLSA Build track, and whether it is met.
type Reason struct {
	// Level is the level that requires it, 1 to 3.
	Level int
	// Need is the requirement, in a few words.
	Need string
	// Holds is true if the provenance or its facts meet it.
	Holds bool
	// Why says what was found, or what is missing.
	Why string
}

// need is one requirement. It returns whether it is met, and why (not).
type need struct {
	level int
	text  string
	meet  func(evidence.ProvenanceV1, known) (bool, string)
}

// Level computes the SLSA Build level (https://slsa.dev/spec/v1.2/build-track-basics)
// that a verified provenance supports: the highest level of which, as of all
// below it, every requirement is met, but never more than maxTrusted, the level
// up to which the verifier trusts the provenance's signer. Nothing in the
// provenance states a level, and nothing can raise it but facts. The reasons
// cover every level, so that they also say what is missing for the next.
func Level(p evidence.ProvenanceV1, maxTrusted int) (int, []Reason) {
	facts, err := Facts(p)
	k := known{}
	if err == nil {
		for _, f := range facts {
			k[f.Name] = f
		}
	}
	level, open := 0, true
	var reasons []Reason
	needs := needs()
	for l := 1; l <= MaxLevel; l++ {
		for _, n := range needs {
			if n.level != l {
				continue
			}
			holds, why := n.meet(p, k)
			if err != nil && l > 1 {
				holds, why = false, err.Error()
			}
			reasons = append(reasons, Reason{Level: l, Need: n.text, Holds: holds, Why: why})
			open = open && holds
		}
		trusted := maxTrusted >= l
		why := fmt.Sprintf("the trust root trusts the signer up to Build L%d", max(maxTrusted, 0))
		reasons = append(reasons, Reason{Level: l, Need: fmt.Sprintf("the verifier trusts the signer for L%d", l), Holds: trusted, Why: why})
		if open = open && trusted; open {
			level = l
		}
	}
	return level, reasons
}

// needs lists the requirements in the order of the specification.
func needs() []need {
	return []need{
		{1, "provenance names the builder", func(p evidence.ProvenanceV1, _ known) (bool, string) {
			id := p.RunDetails.Builder.ID
			return id != "", orMissing("builder.id", id)
		}},
		{1, "provenance names how it was built", func(p evidence.ProvenanceV1, _ known) (bool, string) {
			return p.BuildDefinition.BuildType != "", orMissing("buildType", p.BuildDefinition.BuildType)
		}},
		{1, "provenance names the inputs by digest", inputs},
		{2, "the build ran on a hosted platform", func(_ evidence.ProvenanceV1, k known) (bool, string) {
			return k.is(FactHost, "a path on a workstation is at most L1: run it in CI or on Tekton", HostGitHub, HostTekton)
		}},
		{2, "the platform's control plane generated the provenance", func(_ evidence.ProvenanceV1, k known) (bool, string) {
			return k.is(FactSource, "the one who builds could have written it", SourceControlPlane)
		}},
		{3, "builds can't influence each other", func(_ evidence.ProvenanceV1, k known) (bool, string) {
			return k.is(FactEphemeral, "the environment must be made for one build and destroyed after it", "true")
		}},
		{3, "no cache is shared between builds", func(_ evidence.ProvenanceV1, k known) (bool, string) {
			return k.is(FactCaches, "what one build leaves there the next one uses", CachesPrivate)
		}},
		{3, "user code can't reach the signing keys", func(_ evidence.ProvenanceV1, k known) (bool, string) {
			return k.is(FactKeys, "user code could sign whatever it likes", KeysUnreachable)
		}},
		{3, "external parameters are complete", complete},
	}
}

// inputs is met if the source and every other dependency has a digest.
func inputs(p evidence.ProvenanceV1, _ known) (bool, string) {
	deps := p.BuildDefinition.ResolvedDependencies
	source := 0
	for _, d := range deps {
		if len(d.Digest) == 0 {
			return false, fmt.Sprintf("dependency %s has no digest", d.Name)
		}
		if d.Name == DependencySource && d.Digest["sha256"] != "" {
			source++
		}
	}
	if source != 1 {
		return false, fmt.Sprintf("%d dependencies are the source, want one", source)
	}
	return true, fmt.Sprintf("source and %d other dependencies by digest", len(deps)-1)
}

// complete is met if the parameters are those of a path, inputs and all: a path
// takes nothing else from whoever asked for the build.
func complete(p evidence.ProvenanceV1, _ known) (bool, string) {
	if p.BuildDefinition.BuildType != BuildType {
		return false, fmt.Sprintf("nothing is known about build type %s", p.BuildDefinition.BuildType)
	}
	for _, name := range []string{"path", "version", "inputs"} {
		if _, ok := p.BuildDefinition.ExternalParameters[name]; !ok {
			return false, "externalParameters." + name + " is missing"
		}
	}
	return true, "path, version, every input and the service's configuration are recorded"
}

type known map[string]Fact

func (k known) is(name, otherwise string, values ...string) (bool, string) {
	f, ok := k[name]
	if !ok {
		return false, fmt.Sprintf("fact %s is not known: %s", name, otherwise)
	}
	if slices.Contains(values, f.Value) {
		return true, fmt.Sprintf("%s is %s: %s", name, f.Value, f.How)
	}
	return false, fmt.Sprintf("%s is %s (%s): %s", name, f.Value, f.How, otherwise)
}

func orMissing(name, value string) string {
	if value == "" {
		return name + " is missing"
	}
	return value
}
