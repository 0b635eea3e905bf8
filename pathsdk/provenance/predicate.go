package provenance

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// BuildType says how to read the parameters: externalParameters are path (its
// name), version, inputs (every input after defaults; files and folders by
// digest), config (the service's paths.yaml) and, where a platform vouches for the run,
// parameters (those that the run was given); internalParameters are facts
// (a list of Fact) and nodes (what ran, in which zone).
const BuildType = "https://github.com/pavedpaths/paths/buildtypes/path/v1"

// The builder.id of a run, by where it ran.
const (
	BuilderWorkstation = "https://github.com/pavedpaths/paths/builders/workstation/v1"
	BuilderDagger      = "https://github.com/pavedpaths/paths/builders/dagger/v1"
	BuilderGitHub      = "https://github.com/pavedpaths/paths/builders/github/v1"
	BuilderTekton      = "https://github.com/pavedpaths/paths/builders/tekton/v1"
)

// The names of resolved dependencies.
const (
	// DependencySource is the snapshot of the source that was built: the sha256
	// of its tarball. There is exactly one.
	DependencySource = "source"
	// DependencyRevision is the commit that the source was taken from.
	DependencyRevision = "revision"
	// DependencyBase is the base image.
	DependencyBase = "base image"
	// DependencyToolchain is the Go toolchain.
	DependencyToolchain = "toolchain"
	// DependencyVulnDB is the vulnerability database of the scan.
	DependencyVulnDB = "vulnerability database"
	// DependencyTool is the pathctl that ran.
	DependencyTool = "pathctl"
)

const factsParameter = "facts"

// Build is what a record is turned into provenance with: what the attester
// itself received, so that the record can be checked against it.
type Build struct {
	Record Record
	// Image and Source are the digests of what was received.
	Image  step.Digest
	Source step.Digest
	// Modules is the build list that was received, and ModulesDigest the digest
	// of the file that it stood in.
	Modules       []gomod.Module
	ModulesDigest step.Digest
	// DBDigest and DBSource name the vulnerability database; empty if none was
	// used.
	DBDigest step.Digest
	DBSource string
}

// Predicate makes the SLSA Provenance v1 predicate of a build. It refuses a
// record that does not fit what was received: its build node must have made
// exactly this image from exactly this source.
func Predicate(b Build) (evidence.ProvenanceV1, error) {
	n, err := b.nodes()
	if err != nil {
		return evidence.ProvenanceV1{}, err
	}
	external, err := external(b.Record)
	if err != nil {
		return evidence.ProvenanceV1{}, err
	}
	internal, err := internal(b.Record)
	if err != nil {
		return evidence.ProvenanceV1{}, err
	}
	deps, err := dependencies(b, n)
	if err != nil {
		return evidence.ProvenanceV1{}, err
	}
	started, finished := span(b.Record.Nodes)
	return evidence.ProvenanceV1{
		BuildDefinition: evidence.BuildDefinition{
			BuildType:            BuildType,
			ExternalParameters:   external,
			InternalParameters:   internal,
			ResolvedDependencies: deps,
		},
		RunDetails: evidence.RunDetails{
			Builder: evidence.Builder{
				ID:      builder(b.Record.Facts),
				Version: map[string]string{b.Record.Tool.Name: b.Record.Tool.Version},
			},
			Metadata: &evidence.BuildMetadata{
				InvocationID: b.Record.Invocation,
				StartedOn:    &started,
				FinishedOn:   &finished,
			},
			Byproducts: byproducts(b.Record.Nodes),
		},
	}, nil
}

// builder names the builder by the host that the facts speak of.
func builder(facts []Fact) string {
	for _, f := range facts {
		switch {
		case f.Name != FactHost:
		case f.Value == HostDagger:
			return BuilderDagger
		case f.Value == HostGitHub || f.Value == HostGitHubOther:
			return BuilderGitHub
		case f.Value == HostTekton:
			return BuilderTekton
		}
	}
	return BuilderWorkstation
}

// nodes are the producer's nodes that provenance speaks of, by step.
type nodes struct{ fetch, build NodeRecord }

// nodes finds the nodes and checks them against what was received.
func (b Build) nodes() (nodes, error) {
	var n nodes
	if b.Record.Path == "" || b.Record.Version == "" || b.Record.Invocation == "" {
		return n, errors.New("run record: path, version or invocation is missing")
	}
	if _, err := step.ParseDigest(string(b.Record.Tool.Digest)); err != nil || b.Record.Tool.Name == "" {
		return n, errors.New("run record: the tool has no name or no digest")
	}
	for _, want := range []struct {
		step string
		to   *NodeRecord
	}{{"fetch", &n.fetch}, {"build", &n.build}} {
		found := 0
		for _, r := range b.Record.Nodes {
			if r.Step == want.step {
				*want.to = r
				found++
			}
		}
		if found != 1 {
			return n, fmt.Errorf("run record: %d nodes ran step %s, want one", found, want.step)
		}
	}
	for _, r := range b.Record.Nodes {
		if !r.Zone.Producer() {
			return n, fmt.Errorf("run record: node %s ran in zone %s, which is not the producer's", r.ID, r.Zone)
		}
		if r.Error != "" {
			return n, fmt.Errorf("run record: node %s failed (%.200s); nothing that it made may be attested", r.ID, r.Error)
		}
		if r.StartedOn.IsZero() || r.FinishedOn.Before(r.StartedOn) {
			return n, fmt.Errorf("run record: node %s has no sensible times", r.ID)
		}
	}
	if d := n.build.Subject.Digest; d != b.Image {
		return n, fmt.Errorf("run record: the build made %s, but the image received is %s: provenance refuses to speak for it", orNone(d), b.Image)
	}
	if d := n.fetch.Subject.Digest; d != b.Source {
		return n, fmt.Errorf("run record: %s was fetched, but the source received is %s: provenance refuses to speak for it", orNone(d), b.Source)
	}
	if d := n.fetch.Files["modules"]; d != b.ModulesDigest {
		return n, fmt.Errorf("run record: the build list %s was fetched, but %s was received: provenance refuses to speak for it", orNone(d), orNone(b.ModulesDigest))
	}
	return n, nil
}

func external(r Record) (map[string]json.RawMessage, error) {
	inputs := map[string]json.RawMessage{}
	for name, v := range r.Inputs {
		inputs[name] = v
	}
	// The source is an input too, by the digest that it was found to have.
	for _, n := range r.Nodes {
		if n.Step == "fetch" {
			raw, err := json.Marshal(n.Subject.Digest)
			if err != nil {
				return nil, err
			}
			inputs["source"] = raw
		}
	}
	out := map[string]json.RawMessage{}
	for name, v := range map[string]any{"path": r.Path, "version": r.Version, "inputs": inputs} {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("run record: %s: %w", name, err)
		}
		out[name] = raw
	}
	if len(r.Config) > 0 && string(r.Config) != "null" {
		out["config"] = r.Config
	}
	if len(r.Parameters) > 0 {
		raw, err := json.Marshal(r.Parameters)
		if err != nil {
			return nil, fmt.Errorf("run record: parameters: %w", err)
		}
		out["parameters"] = raw
	}
	return out, nil
}

// ran is what internalParameters.nodes says of a node.
type ran struct {
	ID      string    `json:"id"`
	Step    string    `json:"step"`
	Version string    `json:"version"`
	Zone    step.Zone `json:"zone"`
}

func internal(r Record) (map[string]json.RawMessage, error) {
	if err := checkFacts(r.Facts); err != nil {
		return nil, err
	}
	facts := slices.SortedFunc(slices.Values(r.Facts), func(a, b Fact) int { return cmp.Compare(a.Name, b.Name) })
	list := []ran{}
	for _, n := range r.Nodes {
		list = append(list, ran{n.ID, n.Step, n.Version, n.Zone})
	}
	out := map[string]json.RawMessage{}
	for name, v := range map[string]any{factsParameter: nonNil(facts), "nodes": list} {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("run record: %s: %w", name, err)
		}
		out[name] = raw
	}
	return out, nil
}

// byproducts are the files that nodes handed on, by digest: logs, JUnit,
// coverage.
func byproducts(ns []NodeRecord) []evidence.ResourceDescriptor {
	var out []evidence.ResourceDescriptor
	for _, n := range ns {
		if n.Step != "test" && n.Step != "custom" {
			continue
		}
		for name, d := range n.Files {
			out = append(out, evidence.ResourceDescriptor{Name: n.ID + "/" + name, Digest: evidence.SHA256(d)})
		}
	}
	slices.SortFunc(out, func(a, b evidence.ResourceDescriptor) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// span is from the first start to the last end of the nodes.
func span(ns []NodeRecord) (started, finished time.Time) {
	for _, n := range ns {
		if started.IsZero() || n.StartedOn.Before(started) {
			started = n.StartedOn
		}
		if n.FinishedOn.After(finished) {
			finished = n.FinishedOn
		}
	}
	return started, finished
}

// output reads a text output of a node; empty if there is none.
func output(n NodeRecord, name string) string {
	var m map[string]json.RawMessage
	if json.Unmarshal(n.Output, &m) != nil {
		return ""
	}
	return text(m[name])
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func orNone(d step.Digest) string {
	if d == "" {
		return "nothing"
	}
	return string(d)
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
