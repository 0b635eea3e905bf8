// Package export writes configuration for other verifiers: what each can enforce of a
// policy and a trust root, and a list of what it can't.
//
// # What goes in
//
// A requirement goes in if the other verifier looks where its evidence is. Each looks
// at one digest, which for an image of several platforms is its index: so what hangs
// on each platform goes in only where the caller says that images have one platform.
// What is about the source never does, since its statements name another digest.
//
// A signer, by key or identity, is named for what its role and highest tier let it
// prove. A trusted root goes into the file wherever the verifier takes one.
//
// # What is left out
//
// Rules, levels, separation, ages and the tiers that statements claim are our own; no
// other verifier knows them, nor reads what a statement refers to. What was left out stands at the head of each file, and in
// Result.NotEnforced.
package export

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Signer is one entry of a trust root, with the bytes of what it names.
type Signer struct {
	Name    string
	Roles   []string
	MaxTier evidence.Tier
	// Key is the PEM public key by which the signer is recognised; or Identity is set
	// in its place.
	Key      []byte
	Identity *Identity
}

// Identity is whom a signer's certificates name.
type Identity struct {
	Issuer        string
	Subject       string
	SubjectRegexp string // RE2, for the whole name
	// Log says whether an entry in a transparency log is needed.
	Log bool
	// TrustedRoot is the Sigstore's trusted_root.json.
	TrustedRoot []byte
}

// Input is what is exported.
type Input struct {
	Policy  *policy.Policy
	Signers []Signer
	// Images is a glob in the other verifier's own words.
	Images string
	// OnePlatform says that every image has one platform, whose digest is the image's.
	OnePlatform bool
	// TUF is the repository that Kyverno reads before it verifies an identity; the
	// public Sigstore's if it is nil.
	TUF *TUF
}

// TUF is a TUF repository.
type TUF struct {
	Mirror string
	Root   []byte // root.json
}

// File is one file of the configuration.
type File struct {
	Name    string `json:"name"`
	Content []byte `json:"-"`
}

// Result is the configuration, and what it does not do.
type Result struct {
	Format      string   `json:"format"`
	Files       []File   `json:"files"`
	Enforced    []string `json:"enforced"`
	NotEnforced []string `json:"notEnforced"`
	// Notes say what is needed for it to work.
	Notes []string `json:"notes"`
}

// Formats lists what Write can write.
func Formats() []string { return []string{"ampel", "conforma", "kyverno", "policy-controller"} }

// Write makes the configuration. The same input gives the same bytes.
func Write(format string, in Input) (Result, error) {
	write := map[string]func(*plan) error{"ampel": ampel, "conforma": conforma, "kyverno": kyverno, "policy-controller": policyController}[format]
	if write == nil {
		return Result{}, step.Usagef("format %q is unknown; choose %s", format, strings.Join(Formats(), ", "))
	}
	p := &plan{Input: in, result: Result{Format: format, Enforced: []string{}, NotEnforced: []string{}, Notes: []string{}}}
	p.Signers = slices.SortedFunc(slices.Values(in.Signers), func(a, b Signer) int { return strings.Compare(a.Name, b.Name) })
	p.roots = map[string]trustedRoot{}
	for _, s := range p.Signers {
		if !label.MatchString(s.Name) {
			return Result{}, step.Usagef("signer %.80q: others name files and Kubernetes objects so, which takes 1 to 63 of a-z, 0-9 and '-': rename it in the trust root", s.Name)
		}
		if s.Identity == nil {
			continue
		}
		root, err := parseRoot(s)
		if err != nil {
			return Result{}, err
		}
		p.roots[s.Name] = root
	}
	for _, r := range in.Policy.Require {
		if len(p.signers(r)) == 0 {
			return Result{}, step.Usagef("policy %s requires %s, and nobody in the trust root may sign it: add a signer with roles: [%s] and maxTier: %s", in.Policy.Name, r.Type().Name, r.Role, r.Tier)
		}
	}
	if err := write(p); err != nil {
		return Result{}, err
	}
	p.head()
	return p.result, nil
}

// label is what Kubernetes takes as a name (RFC 1123), and as the name of a file.
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// plan is a Write under way.
type plan struct {
	Input
	roots  map[string]trustedRoot // by the signer's name
	result Result
}

// signers are those who may sign what is required, by name.
func (p *plan) signers(r policy.Require) []Signer {
	var all []Signer
	least := r.Tier
	if least == evidence.Reproduced {
		least = evidence.Observed // two of them give the other, no signer does
	}
	for _, s := range p.Signers {
		if slices.Contains(s.Roles, r.Role) && s.MaxTier.Rank() >= least.Rank() {
			all = append(all, s)
		}
	}
	return all
}

// onImage are the requirements whose evidence hangs on, and names, the digest at which
// the other verifier looks. The others are noted.
func (p *plan) onImage(tool string) []policy.Require {
	var in, platforms, source []policy.Require
	for _, r := range p.Policy.Require {
		switch {
		case r.About == policy.AboutSource:
			source = append(source, r)
		case r.About == policy.AboutPlatforms && !p.OnePlatform:
			platforms = append(platforms, r)
		default:
			in = append(in, r)
		}
	}
	if len(platforms) > 0 {
		p.lacks("%s on each platform: %s looks at the digest that it is given, which is the index if there are several platforms; where images have one, export with --one-platform", names(platforms), tool)
	}
	if len(source) > 0 {
		p.lacks("%s on the source: the statement names the source's digest, and %s wants the image's", names(source), tool)
	}
	return in
}

// ours notes what no other verifier knows, and what becomes there of evidence by
// reference.
func (p *plan) ours(byReference string) {
	var tiers, rules, reproduced []string
	for _, r := range p.Policy.Require {
		tiers = append(tiers, r.Type().Name+" "+string(r.Tier))
		if r.Tier == evidence.Reproduced {
			reproduced = append(reproduced, r.Type().Name)
		}
	}
	for _, r := range p.Policy.Rules {
		rules = append(rules, r.ID)
	}
	p.lacks("the tier that a statement claims (%s): any will do, but whose maxTier is too low is not named", strings.Join(tiers, ", "))
	p.lacks("age, nor which of several statements is the newest: any valid one will do, an old scan too")
	if len(reproduced) > 0 {
		p.lacks("tier reproduced (%s): that a second, independent builder made the same image; that of one builder will do", strings.Join(reproduced, ", "))
	}
	p.separation()
	p.lacks("evidence by reference (in-toto's reference v0.1), as a predicate of more than %d MiB is: %s", evidence.MaxInline>>20, byReference)
	if len(rules) > 0 {
		p.lacks("the policy's rules over what the evidence says, in CEL, with the SLSA level and waivers: %s", strings.Join(rules, ", "))
	}
}

// separation notes from which level on a producer may not sign for itself. That lowers
// the level of a provenance.
func (p *plan) separation() {
	if !slices.ContainsFunc(p.Policy.Require, func(r policy.Require) bool { return r.Type() == evidence.Provenance }) {
		return
	}
	var except []string
	for _, e := range p.Policy.Separation.Exceptions {
		except = append(except, e.Name)
	}
	text := fmt.Sprintf("separation: from Build L%d on, that somebody else than the producer signed the provenance", cmp.Or(p.Policy.Separation.From, provenance.DefaultSeparation))
	if len(except) > 0 {
		text += ", with the exceptions " + strings.Join(except, ", ")
	}
	p.lacks("%s", text)
}

func (p *plan) does(format string, args ...any) {
	p.result.Enforced = append(p.result.Enforced, fmt.Sprintf(format, args...))
}

func (p *plan) lacks(format string, args ...any) {
	p.result.NotEnforced = append(p.result.NotEnforced, fmt.Sprintf(format, args...))
}

func (p *plan) note(format string, args ...any) {
	p.result.Notes = append(p.result.Notes, fmt.Sprintf(format, args...))
}

// add adds a file of YAML documents.
func (p *plan) add(name string, docs ...any) error {
	var text []byte
	for i, d := range docs {
		b, err := yaml.Marshal(d)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i > 0 {
			text = append(text, "---\n"...)
		}
		text = append(text, b...)
	}
	p.result.Files = append(p.result.Files, File{name, text})
	return nil
}

// head puts at the head of each file what it does and what it does not.
func (p *plan) head() {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s's part of policy %s (%s).\n", title(p.result.Format), p.Policy.Name, p.Policy.Digest())
	b.WriteString("# Written by pathctl policy export: change policy or trust root, and export again.\n")
	for _, part := range []struct {
		what  string
		lines []string
	}{{"Enforced", p.result.Enforced}, {"Not enforced; pathctl verify does", p.result.NotEnforced}, {"To know", p.result.Notes}} {
		if len(part.lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "#\n# %s:\n", part.what)
		for _, l := range part.lines {
			for i, line := range wrap(l, 84) {
				b.WriteString([]string{"#   - ", "#     "}[min(i, 1)] + line + "\n")
			}
		}
	}
	for i := range p.result.Files {
		p.result.Files[i].Content = append([]byte(b.String()), p.result.Files[i].Content...)
	}
}

func title(format string) string {
	if format == "ampel" {
		return "AMPEL"
	}
	return strings.ToUpper(format[:1]) + format[1:]
}

// wrap breaks a text into lines at its spaces. Texts hold names from policy and trust
// root: none may end the comment that it stands in.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+w, " ")
	}
	return append(lines, line)
}

func names(all []policy.Require) string {
	var n []string
	for _, r := range all {
		n = append(n, r.Type().Name)
	}
	return strings.Join(n, ", ")
}

// by says who the signers are.
func by(signers []Signer) string {
	var n []string
	for _, s := range signers {
		n = append(n, s.Name)
	}
	return strings.Join(n, " or ")
}

// whole is a regular expression for the whole of a name, as the trust root means it.
func (i Identity) whole() string {
	if i.SubjectRegexp == "" {
		return ""
	}
	return `\A(?:` + i.SubjectRegexp + `)\z`
}

// isSignature says that a requirement is the image's own signature.
func isSignature(r policy.Require) bool { return r.Type() == evidence.Signature }
