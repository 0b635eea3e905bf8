package export

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// The parts of policies.kyverno.io/v1 that are written.
type (
	object struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   map[string]string `json:"metadata"`
		Spec       any               `json:"spec"`
	}
	imageValidatingPolicy struct {
		ValidationActions        []string             `json:"validationActions"`
		FailurePolicy            string               `json:"failurePolicy"`
		WebhookConfiguration     map[string]int       `json:"webhookConfiguration"`
		ValidationConfigurations map[string]bool      `json:"validationConfigurations"`
		MatchConstraints         map[string][]any     `json:"matchConstraints"`
		MatchImageReferences     []map[string]string  `json:"matchImageReferences"`
		Attestors                []kyvernoAttestor    `json:"attestors"`
		Attestations             []kyvernoAttestation `json:"attestations"`
		Validations              []kyvernoValidation  `json:"validations"`
	}
	kyvernoAttestor struct {
		Name   string        `json:"name"`
		Cosign kyvernoCosign `json:"cosign"`
	}
	kyvernoCosign struct {
		Key         map[string]string `json:"key,omitempty"`
		Keyless     *kyvernoKeyless   `json:"keyless,omitempty"`
		CTLog       *kyvernoCTLog     `json:"ctlog,omitempty"`
		TrustedRoot map[string]string `json:"trustedRoot,omitempty"`
		TUF         *kyvernoTUF       `json:"tuf,omitempty"`
	}
	kyvernoKeyless struct {
		Identities []wantedIdentity `json:"identities"`
	}
	kyvernoCTLog struct {
		URL                string `json:"url,omitempty"`
		InsecureIgnoreTlog bool   `json:"insecureIgnoreTlog,omitempty"`
		InsecureIgnoreSCT  bool   `json:"insecureIgnoreSCT,omitempty"`
	}
	kyvernoTUF struct {
		Mirror string            `json:"mirror"`
		Root   map[string]string `json:"root"`
	}
	kyvernoAttestation struct {
		Name   string            `json:"name"`
		InToto map[string]string `json:"intoto"`
	}
	kyvernoValidation struct {
		Expression string `json:"expression"`
		Message    string `json:"message"`
	}
	// wantedIdentity has the same shape for every verifier here.
	wantedIdentity struct {
		Issuer        string `json:"issuer"`
		Subject       string `json:"subject,omitempty"`
		SubjectRegExp string `json:"subjectRegExp,omitempty"`
	}
)

func (i Identity) wanted() wantedIdentity {
	return wantedIdentity{Issuer: i.Issuer, Subject: i.Subject, SubjectRegExp: i.whole()}
}

// kyverno writes an ImageValidatingPolicy. Kyverno finds Sigstore bundles by
// itself, and compares predicate types as exact strings.
func kyverno(p *plan) error {
	if p.Images == "" {
		return step.Usagef("--images is missing: a glob such as 'registry.example.com/team/*'; Kyverno's * matches / too")
	}
	spec := imageValidatingPolicy{
		ValidationActions: []string{"Deny"},
		FailurePolicy:     "Fail",
		// The longest that Kubernetes lets a webhook take: each requirement is some
		// requests to a registry.
		WebhookConfiguration:     map[string]int{"timeoutSeconds": 30},
		ValidationConfigurations: map[string]bool{"mutateDigest": true, "verifyDigest": true, "required": true},
		MatchConstraints: map[string][]any{"resourceRules": {map[string][]string{
			"apiGroups": {""}, "apiVersions": {"v1"}, "operations": {"CREATE", "UPDATE"}, "resources": {"pods", "pods/ephemeralcontainers"},
		}}},
		MatchImageReferences: []map[string]string{{"glob": p.Images}},
	}
	required := p.onImage("Kyverno")
	if len(required) == 0 {
		return nothing(p, "Kyverno")
	}
	used := map[string]bool{}
	for _, r := range required {
		signers := p.signers(r)
		var refs []string
		for _, s := range signers {
			refs = append(refs, fmt.Sprintf("attestors[%q]", s.Name))
			used[s.Name] = true
		}
		spec.Attestations = append(spec.Attestations, kyvernoAttestation{r.Type().Name, map[string]string{"type": r.Type().URI}})
		spec.Validations = append(spec.Validations, kyvernoValidation{
			Expression: fmt.Sprintf("(images.containers + images.initContainers + images.ephemeralContainers).all(image, verifyAttestationSignatures(image, attestations[%q], [%s]) > 0)", r.Type().Name, strings.Join(refs, ", ")),
			Message:    fmt.Sprintf("no %s (%s) signed by %s: %s", r.Type().Name, r.Type().URI, by(signers), r.Fix),
		})
		p.does("%s, signed by %s", r.Type().Name, by(signers))
	}
	p.does("a tag is replaced by the digest that was verified, and an image without a digest is refused")
	identities := false
	for _, s := range p.Signers {
		if !used[s.Name] {
			continue
		}
		spec.Attestors = append(spec.Attestors, kyvernoAttestor{s.Name, p.kyvernoCosign(s)})
		identities = identities || s.Identity != nil
	}
	p.ours("Kyverno follows none, and refuses an image that has by reference alone what this file requires")
	if identities {
		p.note("before Kyverno looks at an identity it reads a TUF repository (%s), though only the trusted root in this file counts", p.mirror())
	}
	return p.add("kyverno.yaml", object{"policies.kyverno.io/v1", "ImageValidatingPolicy", map[string]string{"name": p.Policy.Name}, spec})
}

func (p *plan) mirror() string {
	if p.TUF == nil {
		return "the public Sigstore's; --tuf-mirror names another"
	}
	return p.TUF.Mirror
}

func (p *plan) kyvernoCosign(s Signer) kyvernoCosign {
	if s.Identity == nil {
		// The trust root asks a key for no log and no time either.
		return kyvernoCosign{Key: map[string]string{"data": string(s.Key)}, CTLog: &kyvernoCTLog{InsecureIgnoreTlog: true, InsecureIgnoreSCT: true}}
	}
	root := p.roots[s.Name]
	c := kyvernoCosign{
		Keyless:     &kyvernoKeyless{[]wantedIdentity{s.Identity.wanted()}},
		TrustedRoot: map[string]string{"value": root.text},
	}
	// Only a trusted root with a log for certificates can ask for their entries.
	if noSCT := len(root.Ctlogs) == 0; noSCT || !s.Identity.Log {
		c.CTLog = &kyvernoCTLog{InsecureIgnoreTlog: !s.Identity.Log, InsecureIgnoreSCT: noSCT}
		if s.Identity.Log {
			c.CTLog.URL = root.Tlogs[0].BaseUrl
		}
	}
	if p.TUF != nil {
		c.TUF = &kyvernoTUF{p.TUF.Mirror, map[string]string{"data": base64.StdEncoding.EncodeToString(p.TUF.Root)}}
	}
	return c
}

// nothing refuses to write a policy that would pass everything.
func nothing(p *plan, tool string) error {
	return step.Usagef("%s can enforce nothing of policy %s: all that it requires is about platforms or the source; for images of one platform give --one-platform", tool, p.Policy.Name)
}
