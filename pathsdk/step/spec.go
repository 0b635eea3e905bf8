package step

// Spec describes a step as data. Documentation, JSON Schemas, Dagger
// signatures, Tekton Tasks and command-line flags are generated from it.
type Spec struct {
	Meta
	// Inputs and Outputs in the order in which their structs declare them.
	Inputs  []Field `json:"inputs"`
	Outputs []Field `json:"outputs"`
}

// Meta is the part of a Spec that its author writes by hand.
type Meta struct {
	// Name is unique in the catalog, lower case, words joined by '-'.
	Name string `json:"name"`
	// Version changes whenever the same inputs may give another output. It is
	// part of the cache key.
	Version string `json:"version"`
	// Summary is one sentence for a reader who has never seen the step.
	Summary string `json:"summary"`
	// Proves says in one sentence what the step's evidence proves; empty when it
	// emits none.
	Proves string `json:"proves,omitempty"`
	// Zone is where the step runs, and so what it may hold.
	Zone Zone `json:"zone"`
	// Needs lists what the step requires of its host.
	Needs Needs `json:"needs"`
	// Evidence lists the predicate types that the step may emit.
	Evidence []string `json:"evidence,omitempty"`
}

// Needs lists what a step requires of the host that runs it.
type Needs struct {
	// Network is true if the step talks to a network. No step in the build zone
	// may.
	Network bool `json:"network,omitempty"`
	// UserCode is true if the step runs code of the service's authors.
	UserCode bool `json:"userCode,omitempty"`
	// Fresh is true if the step must run every time, because what it reads
	// (a registry, a system of record, the clock) is not among its inputs.
	Fresh bool `json:"fresh,omitempty"`
}

// Zone is a security zone: it decides what a process may hold and see, and
// which trust tier its evidence can have.
type Zone string

// The zones, in the order in which a path passes through them.
const (
	// ZoneFetch may read sources and modules over the network; it runs no user
	// code.
	ZoneFetch Zone = "fetch"
	// ZoneBuild runs user code, without network, credential, identity or key.
	ZoneBuild Zone = "build"
	// ZonePublish hands the producer's outputs over by digest; it runs no user
	// code and knows no key.
	ZonePublish Zone = "publish"
	// ZoneAttest re-derives and observes; its evidence is signed by the
	// attester. It never runs user code.
	ZoneAttest Zone = "attest"
	// ZoneVerify judges evidence against a local trust root and policy.
	ZoneVerify Zone = "verify"
	// ZoneDeploy writes a verified digest to a GitOps repository.
	ZoneDeploy Zone = "deploy"
)

// Zones lists every zone in order.
func Zones() []Zone {
	return []Zone{ZoneFetch, ZoneBuild, ZonePublish, ZoneAttest, ZoneVerify, ZoneDeploy}
}

// Producer reports whether the zone belongs to the producer: what it says of
// an artifact is reported, never derived or observed.
func (z Zone) Producer() bool {
	return z == ZoneFetch || z == ZoneBuild || z == ZonePublish
}

// Kind is the kind of a field. The set is closed: each kind maps once to every
// host.
type Kind string

// The kinds of fields.
const (
	KindString   Kind = "string"
	KindBool     Kind = "bool"
	KindInt      Kind = "int"
	KindDuration Kind = "duration"
	KindStrings  Kind = "strings"
	KindDigest   Kind = "digest"
	KindFile     Kind = "file"
	KindDir      Kind = "dir"
	KindSecret   Kind = "secret"
)

// Field describes one input or output.
type Field struct {
	// Name is the JSON name.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Help is one sentence that starts in lower case and has no full stop.
	Help string `json:"help"`
	// Default is the default in its text form; lists are joined by commas.
	Default string `json:"default,omitempty"`
	// Enum lists the allowed values; empty allows any.
	Enum []string `json:"enum,omitempty"`
	// Required is true for an input that has no default and may not be empty.
	Required bool `json:"required,omitempty"`
	// Keyless is true for a field whose content another field fixes (a module
	// cache, fixed by the module sums): it is left out of cache keys and of
	// provenance.
	Keyless bool `json:"keyless,omitempty"`
	// Local is true for text that may name a place on the host's disk. The place
	// is nobody's business: records keep only the last element of its path.
	Local bool `json:"local,omitempty"`
	// Since is the version of the step that introduced the field.
	Since string `json:"since,omitempty"`
	// Deprecated says what to use instead.
	Deprecated string `json:"deprecated,omitempty"`
}

// Input returns the input field of that name.
func (s Spec) Input(name string) (Field, bool) { return find(s.Inputs, name) }

// Output returns the output field of that name.
func (s Spec) Output(name string) (Field, bool) { return find(s.Outputs, name) }

// Caches names the outputs that are folders of keyless content, such as a module cache:
// they stay on the machine that has them, and go to another one only when asked for.
func (s Spec) Caches() []string {
	var names []string
	for _, f := range s.Outputs {
		if f.Keyless && f.Kind == KindDir {
			names = append(names, f.Name)
		}
	}
	return names
}

func find(fields []Field, name string) (Field, bool) {
	for _, f := range fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}
