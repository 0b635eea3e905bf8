// Package step is the contract between a unit of work and everything that runs
// it. It imports the standard library only: whoever can compile this package
// can write a step, and every runtime (command line, Dagger, GitHub Actions,
// Tekton) is generated from, or driven by, what it declares here.
package step

import (
	"context"
	"encoding/json"
)

// Step is one unit of work of a paved path. A step is a function: it reads its
// inputs, does its work through the ports in Env, and returns an output and
// unsigned evidence. It never signs, prints, reads the process environment,
// writes result files or calls another step.
//
// Most steps are made by Define, which derives Spec from the types of the
// input and output.
type Step interface {
	// Spec describes the step as data. It must be cheap and constant.
	Spec() Spec
	// Run decodes in (a JSON object with the inputs of Spec), does the work and
	// returns its result. A failing gate is a *GateError, unusable input wraps
	// ErrUsage.
	Run(ctx context.Context, env Env, in json.RawMessage) (Result, error)
}

// Result is what one run of a step gives: the artifact it is about, its
// encoded output, and unsigned evidence.
type Result struct {
	Subject  Subject         `json:"subject"`
	Output   json.RawMessage `json:"output"`
	Evidence []Evidence      `json:"evidence,omitempty"`
}

// Output is implemented by the output type of every step: whatever a step
// makes or examines has a digest.
type Output interface {
	Subject() Subject
}

// Subject names the artifact that an output or a piece of evidence is about.
type Subject struct {
	// Name is a human's name of the artifact, such as "microservice-go" or
	// "source"; it identifies nothing.
	Name string `json:"name"`
	// Digest identifies the artifact.
	Digest Digest `json:"digest"`
}

// Evidence is one unsigned claim: an in-toto predicate and its type. It has no
// trust tier, because a step cannot choose one; the runner assigns it from the
// step's zone, and the verifier recomputes the highest that the signer may
// give.
type Evidence struct {
	// Type is the predicate's type URI.
	Type string `json:"type"`
	// Predicate is the predicate's JSON.
	Predicate json.RawMessage `json:"predicate"`
	// Subject is the artifact that the claim is about; nil means the subject of
	// the step's output.
	Subject *Subject `json:"subject,omitempty"`
}
