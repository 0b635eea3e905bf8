package provenance

import (
	"cmp"
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

// Trusted is what a verifier knows of a provenance's signer, none of which the
// provenance says.
type Trusted struct {
	// Level is the highest level for which the verifier trusts the signer.
	Level int
	// Issuers are those whose word on runs counts, when the signer passes it on.
	Issuers []string
	// Signer is whom the signer's certificate names; the zero Identity for a key.
	Signer Identity
	// Separation says from which level on the signer may not be the producer.
	Separation Separation
	// Platform says that the signer is the build platform's control plane itself, with
	// provenance in its own form; what stands there as facts is not read then.
	Platform bool
}

// Identity is whom a certificate names.
type Identity struct {
	Issuer, Subject string
	// Run is the URL of the run that it was issued to; empty if it names none.
	Run string
}

// Separation is the demand that evidence is signed by somebody else than the one who
// built.
type Separation struct {
	// From is the lowest level that demands it; 0 is DefaultSeparation.
	From int
	// Excepted says by which named exception a producer may sign for itself.
	Excepted func(producer string) (name string, ok bool)
}

// DefaultSeparation is the level from which an attester must not be the producer.
const DefaultSeparation = 2

// need is one requirement. It returns whether it is met, and why (not).
type need struct {
	level int
	text  string
	meet  func(evidence.ProvenanceV1, known) (bool, string)
}

// Level computes the SLSA Build level (https://slsa.dev/spec/v1.2/build-track-basics)
// that a verified provenance supports: the highest level of which, as of all
// below it, every requirement is met, but never more than the one up to which the
// verifier trusts the provenance's signer. Nothing in the provenance states a level,
// and nothing can raise it but facts. The reasons cover every level, so that they also
// say what is missing for the next.
func Level(p evidence.ProvenanceV1, t Trusted) (int, []Reason) {
	facts, err := Facts(p)
	k := known{}
	if t.Platform {
		err = nil
	} else if err == nil {
		for _, f := range facts {
			k[f.Name] = f
		}
	}
	level, open := 0, true
	var reasons []Reason
	needs := t.needs()
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
		trusted := t.Level >= l
		why := fmt.Sprintf("the trust root trusts the signer up to Build L%d", max(t.Level, 0))
		reasons = append(reasons, Reason{Level: l, Need: fmt.Sprintf("the verifier trusts the signer for L%d", l), Holds: trusted, Why: why})
		if open = open && trusted; open {
			level = l
		}
	}
	return level, reasons
}

// needs lists the requirements in the order of the specification.
func (t Trusted) needs() []need {
	from := cmp.Or(t.Separation.From, DefaultSeparation)
	if t.Platform {
		return platformNeeds(from)
	}
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
			return t.vouched(k)
		}},
		{from, "somebody else than the producer signed it", func(_ evidence.ProvenanceV1, k known) (bool, string) {
			return t.separate(k)
		}},
		{3, "builds can't influence each other", func(_ evidence.ProvenanceV1, k known) (bool, string) {
			if k[FactHost].Value == HostTekton {
				// Pods are ephemeral, but those of other builds may share their kernel.
				if holds, why := k.is(FactNode, "builds need a sandbox (a RuntimeClass) of their own", NodeSandbox); !holds {
					return false, why
				}
			}
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

// vouched is met if the provenance comes from a platform's control plane, and the
// verifier takes that platform's word when this signer passes it on.
func (t Trusted) vouched(k known) (bool, string) {
	holds, why := k.is(FactSource, "the one who builds could have written it", SourceControlPlane)
	issuer := k[FactProducerIssuer].Value
	run := k[FactRun].Value
	switch {
	case !holds:
		return false, why
	case !slices.Contains(t.Issuers, issuer):
		return false, fmt.Sprintf("the trust root does not take the word of %s from this signer: its runIssuers lists those that it takes", cmp.Or(issuer, "a platform without a name"))
	case t.Signer.Issuer == issuer && t.Signer.Run != "" && t.Signer.Run != run:
		return false, fmt.Sprintf("it speaks of run %s, and its signer's certificate was issued to %s", cmp.Or(run, "none"), t.Signer.Run)
	}
	return true, why
}

// separate is met if the signer is not the producer, or may be it by an exception.
func (t Trusted) separate(k known) (bool, string) {
	producer, issuer := k[FactProducer].Value, k[FactProducerIssuer].Value
	switch {
	case producer == "" || issuer == "":
		return false, "nobody vouches for who the producer was"
	case t.Signer.Subject != "" && (t.Signer.Subject != producer || t.Signer.Issuer != issuer):
		return true, fmt.Sprintf("%s signed it, the producer was %s", t.Signer.Subject, producer)
	}
	if t.Separation.Excepted != nil {
		if name, ok := t.Separation.Excepted(producer); ok {
			return true, fmt.Sprintf("%s may sign for itself by the policy's exception %s", producer, name)
		}
	}
	if t.Signer.Subject == "" {
		return false, fmt.Sprintf("a key signed it, which %s may have had: sign as an identity, or name an exception in the policy (separation.exceptions)", producer)
	}
	return false, fmt.Sprintf("%s built it and signed for itself: sign as another identity, or name an exception in the policy (separation.exceptions)", producer)
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
