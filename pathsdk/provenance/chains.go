package provenance

import (
	"fmt"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// The build types of Tekton Chains (its docs/slsa-provenance.md): the second one also
// records labels, annotations and the tasks of a pipeline.
const (
	ChainsBuildType       = "https://tekton.dev/chains/v2/slsa"
	ChainsTektonBuildType = "https://tekton.dev/chains/v2/slsa-tekton"
)

// platformNeeds lists the requirements for provenance that Tekton Chains made, by who the
// trust root says its signer is: no fact in it says how it came to be. It meets none of
// L3's that are about what user code can do, whatever it holds.
func platformNeeds(separate int) []need {
	const role = "the trust root says that this signer is the platform's control plane (role platform)"
	always := func(holds bool, why string) func(evidence.ProvenanceV1, known) (bool, string) {
		return func(evidence.ProvenanceV1, known) (bool, string) { return holds, why }
	}
	return []need{
		{1, "provenance names the builder", func(p evidence.ProvenanceV1, _ known) (bool, string) {
			id := p.RunDetails.Builder.ID
			return id != "", orMissing("builder.id", id)
		}},
		{1, "provenance names how it was built", func(p evidence.ProvenanceV1, _ known) (bool, string) {
			switch t := p.BuildDefinition.BuildType; t {
			case ChainsBuildType, ChainsTektonBuildType:
				return true, t
			default:
				return false, fmt.Sprintf("build type %.200s is none of Tekton Chains, and nothing is known about it", orMissing("buildType", t))
			}
		}},
		{1, "provenance names the inputs by digest", chainsInputs},
		{2, "the build ran on a hosted platform", always(true, role)},
		{2, "the platform's control plane generated the provenance", always(true, role)},
		{separate, "somebody else than the producer signed it", always(true, role)},
		{3, "the platform knows the image's digest itself", always(false, "Tekton Chains takes it from the run's results, which user code in a container of the run can write")},
		{3, "builds can't influence each other", always(false, "Tekton Chains does not say what a run's pods shared with others")},
		{3, "no cache is shared between builds", always(false, "Tekton Chains does not say which volumes outlive a run")},
	}
}

// chainsInputs is met if something stands there, and all of it by digest. The source is
// there only if the run has Chains' type hints for it.
func chainsInputs(p evidence.ProvenanceV1, _ known) (bool, string) {
	deps := p.BuildDefinition.ResolvedDependencies
	if len(deps) == 0 {
		return false, "it names no dependency"
	}
	source := ""
	for _, d := range deps {
		if len(d.Digest) == 0 {
			return false, fmt.Sprintf("dependency %.200s has no digest", d.URI)
		}
		if d.Digest["sha1"] != "" || d.Digest["gitCommit"] != "" {
			source = ", a commit among them"
		}
	}
	if source == "" {
		source = ", no commit among them: what the source was stands in the run's parameters at best"
	}
	return true, fmt.Sprintf("%d dependencies by digest%s", len(deps), source)
}
