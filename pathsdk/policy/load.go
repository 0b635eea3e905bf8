package policy

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

//go:embed shipped/microservice.yaml
var shipped embed.FS

//go:embed schema/policy.schema.json
var schemaJSON []byte

// MaxFile is the largest policy or case file in bytes that is read.
const MaxFile = 256 << 10

// Schema is the JSON Schema (draft 2020-12) of policy files.
func Schema() []byte { return bytes.Clone(schemaJSON) }

// Names lists the shipped policies.
func Names() []string {
	files, err := fs.Glob(shipped, "shipped/*.yaml")
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range files {
		if n := strings.TrimSuffix(path.Base(f), ".yaml"); !strings.HasSuffix(n, "_test") {
			names = append(names, n)
		}
	}
	return names
}

// Source returns the bytes of a shipped policy, for a team that starts its own.
func Source(name string) ([]byte, error) {
	b, err := shipped.ReadFile("shipped/" + name + ".yaml")
	if err != nil || !slices.Contains(Names(), name) {
		return nil, step.Usagef("policy %q is not shipped; choose %s", name, strings.Join(Names(), ", "))
	}
	return b, nil
}

// Load reads and compiles a policy: a shipped one by its name, or a file by its
// path. What looks like a path (it has a separator or ends in .yaml or .yml) is
// never taken for a shipped name, and the other way round.
func Load(nameOrFile string) (*Policy, error) {
	if !isFile(nameOrFile) {
		b, err := Source(nameOrFile)
		if err != nil {
			return nil, step.Usagef("policy %q is not shipped; choose %s, or give a file such as ./policy.yaml", nameOrFile, strings.Join(Names(), ", "))
		}
		return Parse(b)
	}
	b, err := readFile(nameOrFile)
	if err != nil {
		return nil, step.Usagef("policy %s: %w; give a file, or a shipped policy: %s", nameOrFile, err, strings.Join(Names(), ", "))
	}
	p, err := Parse(b)
	if err != nil {
		return nil, step.Usagef("policy %s: %w", nameOrFile, err)
	}
	return p, nil
}

func isFile(s string) bool {
	return strings.ContainsAny(s, `/\`) || strings.HasSuffix(s, ".yaml") || strings.HasSuffix(s, ".yml")
}

// readFile reads a regular file of at most MaxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxFile {
		return nil, fmt.Errorf("is larger than %d bytes", MaxFile)
	}
	return b, nil
}

// Parse reads and compiles a policy from the bytes of its file: strict YAML,
// without unknown or repeated keys.
func Parse(b []byte) (*Policy, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("policy is larger than %d bytes", MaxFile)
	}
	var p Policy
	if err := yaml.UnmarshalStrict(b, &p); err != nil {
		return nil, fmt.Errorf("not a policy file: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	p.digest = step.Digest("sha256:" + hex.EncodeToString(sum[:]))
	if err := p.compile(); err != nil {
		return nil, err
	}
	return &p, nil
}

var (
	idPattern    = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	paramPattern = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
)

// check checks everything but the expressions, and fills in defaults.
func (p *Policy) check() error {
	if p.APIVersion != APIVersion || p.Kind != Kind {
		return fmt.Errorf("apiVersion and kind are %q and %q, want %q and %q", p.APIVersion, p.Kind, APIVersion, Kind)
	}
	if !idPattern.MatchString(p.Name) {
		return fmt.Errorf("name %q: want lower-case words joined by '-'", p.Name)
	}
	if p.Summary == "" {
		return errors.New("summary is missing")
	}
	if len(p.Require) == 0 {
		return errors.New("require is empty: a policy that requires nothing passes everything")
	}
	if err := p.Separation.check(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Params)) {
		if !paramPattern.MatchString(name) {
			return fmt.Errorf("param %q: want a name in lower camel case", name)
		}
		if err := p.Params[name].check(); err != nil {
			return fmt.Errorf("param %s: %w", name, err)
		}
	}
	seen := map[string]bool{}
	bySource, byProvenance := false, false
	for i := range p.Require {
		r := &p.Require[i]
		if err := p.checkRequire(r); err != nil {
			return fmt.Errorf("require %q: %w", r.Predicate, err)
		}
		if seen[r.ID()] {
			return fmt.Errorf("require %q stands there twice", r.Predicate)
		}
		seen[r.ID()] = true
		bySource = bySource || r.About == AboutSource
		byProvenance = byProvenance || r.typ == evidence.Provenance
	}
	if bySource && !byProvenance {
		return errors.New("a predicate on the source needs a required provenance, which names the source")
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if !idPattern.MatchString(r.ID) {
			return fmt.Errorf("rule %q: want an id of lower-case words joined by '-'", r.ID)
		}
		if seen[r.ID] {
			return fmt.Errorf("rule %s stands there twice", r.ID)
		}
		seen[r.ID] = true
		if err := checkRule(r); err != nil {
			return fmt.Errorf("rule %s: %w", r.ID, err)
		}
	}
	return nil
}

func (p *Policy) checkRequire(r *Require) error {
	t, ok := evidence.Lookup(r.Predicate)
	if !ok {
		return fmt.Errorf("unknown predicate type; choose %s or one of their URIs", readableNames())
	}
	if !slices.Contains(readable(), t) {
		return fmt.Errorf("policies can't read a %s; choose %s or one of their URIs", t.Name, readableNames())
	}
	r.typ = t
	if !slices.Contains([]string{AboutImage, AboutPlatforms, AboutSource}, r.About) {
		return fmt.Errorf("about is %q, want image, platforms or source", r.About)
	}
	if r.Tier.Rank() == 0 {
		return fmt.Errorf("tier is %q, want reported, derived, observed or reproduced", r.Tier)
	}
	most := highest(t)
	if t == evidence.Provenance {
		most = evidence.Reproduced // by two of them
	}
	if r.Tier.Rank() > most.Rank() {
		return fmt.Errorf("tier %s is more than a %s can have (%s): nothing would ever pass", r.Tier, t.Name, most)
	}
	if r.Role == "" {
		return errors.New("role is missing, such as attester")
	}
	if r.Role == rolePlatform && t != evidence.Provenance {
		return fmt.Errorf("role %s counts for provenance alone: a platform vouches for its own runs, and for nothing else", rolePlatform)
	}
	if r.Fix == "" {
		return errors.New("fix is missing: say what to do when it is not there")
	}
	if r.MaxAge != "" {
		if q, ok := p.Params[r.MaxAge]; ok && q.Type == "duration" {
			return nil
		}
		if _, err := (Param{Type: "duration"}).convert(r.MaxAge); err != nil {
			return fmt.Errorf("maxAge: %w, and no param of that type", err)
		}
	}
	return nil
}

func checkRule(r *Rule) error {
	if r.Severity == "" {
		r.Severity = SeverityError
	}
	if r.Severity != SeverityError && r.Severity != SeverityWarning {
		return fmt.Errorf("severity is %q, want error or warning", r.Severity)
	}
	if r.EffectiveOn != "" {
		if _, err := time.Parse(time.DateOnly, r.EffectiveOn); err != nil {
			return fmt.Errorf("effectiveOn is %.40q, want a date such as 2027-01-31", r.EffectiveOn)
		}
	}
	for name, s := range map[string]string{"expr": r.Expr, "reason": r.Reason, "fix": r.Fix} {
		if strings.TrimSpace(s) == "" {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}
