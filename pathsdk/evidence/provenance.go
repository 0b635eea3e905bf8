package evidence

import (
	"encoding/json"
	"fmt"
	"time"
)

// ProvenanceV1 is the predicate SLSA Provenance v1
// (https://slsa.dev/spec/v1.0/provenance). It states no level.
type ProvenanceV1 struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition describes the inputs of a build.
type BuildDefinition struct {
	// BuildType says how to read the parameters.
	BuildType string `json:"buildType"`
	// ExternalParameters are under the control of whoever asked for the build;
	// complete at Build L3.
	ExternalParameters map[string]json.RawMessage `json:"externalParameters"`
	// InternalParameters are under the control of the builder.
	InternalParameters   map[string]json.RawMessage `json:"internalParameters,omitempty"`
	ResolvedDependencies []ResourceDescriptor       `json:"resolvedDependencies,omitempty"`
}

// RunDetails describe one run of the build.
type RunDetails struct {
	Builder    Builder              `json:"builder"`
	Metadata   *BuildMetadata       `json:"metadata,omitempty"`
	Byproducts []ResourceDescriptor `json:"byproducts,omitempty"`
}

// Builder is the build platform.
type Builder struct {
	ID                  string               `json:"id"`
	Version             map[string]string    `json:"version,omitempty"`
	BuilderDependencies []ResourceDescriptor `json:"builderDependencies,omitempty"`
}

// BuildMetadata identifies the run.
type BuildMetadata struct {
	InvocationID string     `json:"invocationId,omitempty"`
	StartedOn    *time.Time `json:"startedOn,omitempty"`
	FinishedOn   *time.Time `json:"finishedOn,omitempty"`
}

var _ Predicate = ProvenanceV1{}

// Type is Provenance.
func (ProvenanceV1) Type() Type { return Provenance }

// Encode validates p and encodes it. The order of dependencies is the
// producer's; parameters are sorted by name.
func (p ProvenanceV1) Encode() (json.RawMessage, error) {
	if m := p.RunDetails.Metadata; m != nil {
		c := *m
		for _, t := range []**time.Time{&c.StartedOn, &c.FinishedOn} {
			if *t != nil {
				u := utc(**t)
				*t = &u
			}
		}
		p.RunDetails.Metadata = &c
	}
	return encode(Provenance, p)
}

// ParseProvenance reads a SLSA Provenance v1 predicate.
func ParseProvenance(raw json.RawMessage) (ProvenanceV1, error) {
	return parse[ProvenanceV1](Provenance, raw)
}

// Validate checks the fields that Build L1 requires, and every descriptor.
func (p ProvenanceV1) Validate() error {
	err := missing(
		"buildDefinition.buildType", p.BuildDefinition.BuildType,
		"buildDefinition.externalParameters", len(p.BuildDefinition.ExternalParameters) > 0,
		"runDetails.builder.id", p.RunDetails.Builder.ID)
	if err != nil {
		return err
	}
	for where, m := range map[string]map[string]json.RawMessage{
		"externalParameters": p.BuildDefinition.ExternalParameters,
		"internalParameters": p.BuildDefinition.InternalParameters,
	} {
		for name, raw := range m {
			// A parameter is kept as it was written; decoding it refuses names
			// that stand in it twice.
			if err := decode(raw, MaxPredicate, new(any)); err != nil {
				return fmt.Errorf("buildDefinition.%s.%.80s: %w", where, name, err)
			}
		}
	}
	if err := validateAll("buildDefinition.resolvedDependencies", p.BuildDefinition.ResolvedDependencies); err != nil {
		return err
	}
	if err := validateAll("runDetails.byproducts", p.RunDetails.Byproducts); err != nil {
		return err
	}
	if err := validateAll("runDetails.builder.builderDependencies", p.RunDetails.Builder.BuilderDependencies); err != nil {
		return err
	}
	if m := p.RunDetails.Metadata; m != nil && m.StartedOn != nil && m.FinishedOn != nil && m.FinishedOn.Before(*m.StartedOn) {
		return fmt.Errorf("runDetails.metadata.finishedOn is before startedOn")
	}
	return nil
}
