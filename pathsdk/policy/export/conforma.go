package export

import (
	"slices"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// enterpriseContractPolicy is what we write of the spec of an EnterpriseContractPolicy.
type enterpriseContractPolicy struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	PublicKey   string          `json:"publicKey,omitempty"`
	Identity    *wantedIdentity `json:"identity,omitempty"`
}

// conforma writes the spec of an EnterpriseContractPolicy for each attester: it has
// room for one key or identity.
func conforma(p *plan) error {
	if p.Images != "" {
		return step.Usagef("--images: Conforma is given its images when it runs; leave it out")
	}
	identities, unlogged := false, false
	for _, s := range p.Signers {
		named := func(o Signer) bool { return o.Name == s.Name }
		if slices.ContainsFunc(p.Policy.Require, func(r policy.Require) bool { return slices.ContainsFunc(p.signers(r), named) }) {
			spec := enterpriseContractPolicy{Name: p.Policy.Name + "-" + s.Name, Description: p.Policy.Summary}
			if s.Identity == nil {
				spec.PublicKey = string(s.Key)
				unlogged = true
			} else {
				w := s.Identity.wanted()
				spec.Identity = &w
				identities, unlogged = true, unlogged || !s.Identity.Log
			}
			file := "conforma-" + s.Name + ".yaml"
			if err := p.add(file, spec); err != nil {
				return err
			}
			p.does("%s: the image's signature and attestations are signed by %s", file, s.Name)
		}
	}
	if len(p.result.Files) > 1 {
		p.note("Conforma has room for one signer: each has a file, and all that a file checks must be by its signer")
	}
	p.lacks("that %s are there: Conforma asks what attestations hold in rules of its own, in Rego (sources), of which this file has none", names(p.Policy.Require))
	if identities {
		p.lacks("the trusted roots of identities: Conforma trusts the Sigstore that cosign is set up with where it runs (cosign initialize)")
	}
	if unlogged {
		p.note("without entries in a transparency log, which the trust root does not ask of every signer, run ec with --ignore-rekor")
	}
	p.ours("no rule of this file reads what a statement refers to")
	return nil
}
