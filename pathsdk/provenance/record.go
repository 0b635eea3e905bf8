// Package provenance turns what a runner saw into a SLSA Provenance v1 predicate, and
// computes the level that its facts support.
package provenance

import (
	"encoding/json"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Record is what the runner itself saw of one run of a path: the system of
// record of a workstation. Provenance is observed in it; no step can write it.
type Record struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	// Invocation identifies the run that made the image: a random id, kept when
	// a later run finds everything cached.
	Invocation string `json:"invocation"`
	// Inputs are the path's inputs after defaults, files and folders by digest.
	Inputs map[string]json.RawMessage `json:"inputs"`
	// Config is the consumer's paths.yaml as it was read, as JSON; nil without.
	Config json.RawMessage `json:"config,omitempty"`
	// Tool describes the runner.
	Tool Tool `json:"tool"`
	// Facts are what the runner established about where it runs.
	Facts []Fact `json:"facts"`
	// Nodes in the order of the path.
	Nodes []NodeRecord `json:"nodes"`
	// Platform is what the platform used for the run besides; only an attester that has
	// asked the platform writes it.
	Platform []Material `json:"platform,omitempty"`
	// Parameters are those that the platform's run was given, by the same token.
	Parameters map[string]json.RawMessage `json:"parameters,omitempty"`
}

// Material is something that a platform used for a run, such as the image of a step.
type Material struct {
	Name   string      `json:"name"`
	URI    string      `json:"uri"`
	Digest step.Digest `json:"digest"`
}

// Tool is the pathctl that ran.
type Tool struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Digest  step.Digest `json:"digest"`
}

// Fact is one verified property of the runtime, and how it was verified. The
// SLSA level is computed from facts, and stands in none of them.
type Fact struct {
	// Name is one of the names in package provenance.
	Name string `json:"name"`
	// Value is text; booleans are "true" and "false".
	Value string `json:"value"`
	// How says how the value was established, such as "the kernel accepted a
	// Landlock ruleset" or "workstation: nothing vouches for it".
	How string `json:"how"`
}

// NodeRecord is one node's run.
type NodeRecord struct {
	ID         string          `json:"id"`
	Step       string          `json:"step"`
	Version    string          `json:"version"`
	Zone       step.Zone       `json:"zone"`
	StartedOn  time.Time       `json:"startedOn"`
	FinishedOn time.Time       `json:"finishedOn"`
	Cached     bool            `json:"cached,omitempty"`
	Key        string          `json:"key,omitempty"`
	Subject    step.Subject    `json:"subject"`
	Output     json.RawMessage `json:"output,omitempty"`
	Evidence   []step.Evidence `json:"evidence,omitempty"`
	// Files are the digests of the output's files and folders, by output name.
	Files map[string]step.Digest `json:"files,omitempty"`
	// Error is empty for a node that passed.
	Error string `json:"error,omitempty"`
}
