package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// The parts of AMPEL's carabiner.policy.v1 that are written, as protojson names them.
type (
	ampelSet struct {
		ID       string            `json:"id"`
		Meta     ampelSetMeta      `json:"meta"`
		Policies []ampelPolicySpec `json:"policies"`
	}
	ampelSetMeta struct {
		Runtime     string `json:"runtime"`
		Description string `json:"description"`
		Enforce     string `json:"enforce"`
	}
	ampelPolicySpec struct {
		ID         string          `json:"id"`
		Meta       ampelMeta       `json:"meta"`
		Identities []ampelIdentity `json:"identities"`
		Predicates ampelPredicates `json:"predicates"`
		Tenets     []ampelTenet    `json:"tenets"`
	}
	ampelMeta struct {
		Runtime     string `json:"runtime"`
		Description string `json:"description"`
		AssertMode  string `json:"assertMode"`
		Enforce     string `json:"enforce"`
	}
	ampelIdentity struct {
		ID       string            `json:"id"`
		Sigstore *ampelSigstore    `json:"sigstore,omitempty"`
		Key      map[string]string `json:"key,omitempty"`
	}
	ampelSigstore struct {
		Mode     string `json:"mode"`
		Issuer   string `json:"issuer"`
		Identity string `json:"identity"`
	}
	ampelPredicates struct {
		Types []string `json:"types"`
	}
	ampelTenet struct {
		ID         string            `json:"id"`
		Title      string            `json:"title"`
		Code       string            `json:"code"`
		Predicates ampelPredicates   `json:"predicates"`
		Error      map[string]string `json:"error"`
	}
)

const (
	ampelRuntime = "cel@v0"
	// ampelExists is true of at least one predicate. AMPEL gives a tenet those of its
	// types, whose signers are among the policy's identities.
	ampelExists = "predicates.size() > 0"
)

// ampel writes a PolicySet with a policy for each requirement. Each names its signers
// itself: what a set has in common is let in by all its policies, and a policy without
// identities takes those of the command line.
func ampel(p *plan) error {
	if p.Images != "" {
		return step.Usagef("--images: AMPEL is given its subject when it runs; leave it out")
	}
	required := p.onImage("AMPEL")
	if len(required) == 0 {
		return nothing(p, "AMPEL")
	}
	set := ampelSet{ID: p.Policy.Name, Meta: ampelSetMeta{ampelRuntime, p.Policy.Summary, "ON"}}
	keys, identities := false, false
	for _, r := range required {
		signers := p.signers(r)
		set.Policies = append(set.Policies, ampelPolicy(p.Policy.Name, r, signers))
		for _, s := range signers {
			keys, identities = keys || s.Identity == nil, identities || s.Identity != nil
		}
		p.does("%s, signed by %s", r.Type().Name, by(signers))
	}
	if identities {
		p.lacks("the trusted roots of identities, and whether an entry in a transparency log is needed: AMPEL goes by the Sigstore that it is set up with where it runs")
	}
	p.ours("no policy of this file follows any, and an image that has by reference alone what it requires fails")
	if keys {
		p.note("AMPEL takes a key for DSSE envelopes, and none for Sigstore bundles, in which evidence is published: give it the envelope in each bundle (dsseEnvelope), or what a key signed does not count")
	}
	p.note("AMPEL reads comments, as HJSON. It was never run on an exported file; the Go types of its policies (github.com/carabiner-dev/policy 0.5.0) read one")
	return p.addJSON("ampel.hjson", set)
}

func ampelPolicy(name string, r policy.Require, signers []Signer) ampelPolicySpec {
	what, types := r.Type().Name, ampelPredicates{[]string{r.Type().URI}}
	spec := ampelPolicySpec{
		ID:         name + "-" + what,
		Meta:       ampelMeta{ampelRuntime, fmt.Sprintf("%s, signed by %s", what, by(signers)), "AND", "ON"},
		Predicates: types,
		Tenets: []ampelTenet{{
			ID: what, Title: "there is " + what, Code: ampelExists, Predicates: types,
			Error: map[string]string{"message": fmt.Sprintf("no %s (%s) signed by %s", what, r.Type().URI, by(signers)), "guidance": r.Fix},
		}},
	}
	for _, s := range signers {
		spec.Identities = append(spec.Identities, ampelSigner(s))
	}
	return spec
}

// ampelSigner takes care that a pattern for the subject is none for the issuer: AMPEL
// reads both in one mode, and looks for them anywhere in a name.
func ampelSigner(s Signer) ampelIdentity {
	i := s.Identity
	switch {
	case i == nil:
		return ampelIdentity{ID: s.Name, Key: map[string]string{"data": string(s.Key)}}
	case i.SubjectRegexp != "":
		return ampelIdentity{ID: s.Name, Sigstore: &ampelSigstore{"regexp", `\A` + regexp.QuoteMeta(i.Issuer) + `\z`, i.whole()}}
	default:
		return ampelIdentity{ID: s.Name, Sigstore: &ampelSigstore{"exact", i.Issuer, i.Subject}}
	}
}

// addJSON adds a file of JSON, for a verifier that takes comments at its head.
func (p *plan) addJSON(name string, doc any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.result.Files = append(p.result.Files, File{name, b.Bytes()})
	return nil
}
