package attest

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	trustVersion = "pavedpaths.dev/v1"
	trustKind    = "TrustRoot"
	maxTrust     = 256 << 10
	// maxNamed bounds a file that the trust root names.
	maxNamed   = 1 << 20
	maxSigners = 100
)

// Roles that a signer may have.
const (
	// RoleAttester signs evidence about images.
	RoleAttester = "attester"
	// RoleVerifier signs verdicts.
	RoleVerifier = "verifier"
	// RoleWaiver signs waivers: who may accept findings.
	RoleWaiver = "waiver"
	// RolePlatform signs provenance of its own runs, in its own form: a build platform's
	// control plane, such as Tekton Chains.
	RolePlatform = "platform"
)

const oneOfRoles = RoleAttester + ", " + RoleVerifier + ", " + RoleWaiver + " and " + RolePlatform

// maxPlatformLevel is what a platform's own provenance supports at most: it says nothing
// of what keeps builds apart.
const maxPlatformLevel = 2

// Trust is a trust root: who may sign, and how far they are trusted. It is
// given locally and never read from a registry. A Trust does not change, and
// may be used by several goroutines.
type Trust struct {
	signers    map[string]TrustedSigner // by the hint of their key
	material   root.TrustedMaterial     // those keys
	identities []*trustedIdentity
	files      map[string][]byte // what the entries name, by the signer's name
}

// TrustedSigner is one entry of a trust root.
type TrustedSigner struct {
	// Name is unique in the trust root.
	Name string `json:"name"`
	// Key is the path of the PEM public key, relative to the trust root's file, by
	// which the signer is recognised; or Identity is set in its place.
	Key string `json:"key,omitempty"`
	// Identity is whom the signer's short-lived certificates name.
	Identity *Identity `json:"identity,omitempty"`
	// Roles lists what the signer may sign: RoleAttester, RoleVerifier, RoleWaiver; or
	// RolePlatform alone, with a key.
	Roles []string `json:"roles"`
	// MaxTier is the highest tier that its statements can have.
	MaxTier evidence.Tier `json:"maxTier"`
	// MaxBuildLevel is the highest SLSA Build level, 0 to 3, that its provenance
	// is believed to support.
	MaxBuildLevel int `json:"maxBuildLevel"`
	// RunIssuers are the platforms whose word on a run counts when this signer passes
	// it on: OIDC issuers, byte for byte. GitHub's alone when it is empty.
	RunIssuers []string `json:"runIssuers,omitempty"`
}

// Has reports whether the signer has a role.
func (s TrustedSigner) Has(role string) bool { return slices.Contains(s.Roles, role) }

// GitHubIssuer is the OIDC issuer of GitHub Actions.
const GitHubIssuer = "https://token.actions.githubusercontent.com"

// Issuers are RunIssuers, or GitHub's.
func (s TrustedSigner) Issuers() []string {
	if len(s.RunIssuers) > 0 {
		return s.RunIssuers
	}
	return []string{GitHubIssuer}
}

type trustFile struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Signers    []TrustedSigner `json:"signers"`
}

// LoadTrust reads a trust root, and the public keys and Sigstore trusted roots that it
// names.
func LoadTrust(path string) (*Trust, error) {
	b, err := readFile(path, maxTrust)
	if err != nil {
		return nil, fmt.Errorf("trust root: %w\n  fix: pathctl key init", err)
	}
	t, err := ParseTrust(b, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		return readFile(name, maxNamed)
	})
	if err != nil {
		return nil, fmt.Errorf("trust root %s: %w", path, err)
	}
	return t, nil
}

// ParseTrust reads a trust root from YAML; read returns the file that an entry names:
// a PEM public key, or a Sigstore trusted root. Unknown and repeated fields are
// errors.
func ParseTrust(b []byte, read func(path string) ([]byte, error)) (*Trust, error) {
	if len(b) > maxTrust {
		return nil, step.Usagef("%d bytes are more than the limit of %d", len(b), maxTrust)
	}
	var f trustFile
	if err := yaml.UnmarshalStrict(b, &f); err != nil {
		return nil, step.Usagef("%w", err)
	}
	if f.APIVersion != trustVersion || f.Kind != trustKind {
		return nil, step.Usagef("want apiVersion %s and kind %s, got %.60q and %.60q", trustVersion, trustKind, f.APIVersion, f.Kind)
	}
	if len(f.Signers) == 0 || len(f.Signers) > maxSigners {
		return nil, step.Usagef("%d signers, want 1 to %d", len(f.Signers), maxSigners)
	}
	t := &Trust{signers: map[string]TrustedSigner{}, files: map[string][]byte{}}
	keys := map[string]*root.ExpiringKey{}
	var names []string
	for i, s := range f.Signers {
		if err := s.validate(); err != nil {
			return nil, step.Usagef("signers[%d]: %w", i, err)
		}
		if slices.Contains(names, s.Name) {
			return nil, step.Usagef("signers[%d]: name %s stands there twice", i, s.Name)
		}
		names = append(names, s.Name)
		if s.Identity != nil {
			if err := t.addIdentity(s, read); err != nil {
				return nil, fmt.Errorf("signer %s: %w", s.Name, err)
			}
			continue
		}
		if inKMS(s.Key) {
			return nil, step.Usagef("signer %s: key %s: a verifier asks no KMS\n  fix: pathctl key export %s --out FILE, and name that file", s.Name, s.Key, s.Key)
		}
		text, err := read(s.Key)
		if err != nil {
			return nil, fmt.Errorf("signer %s: key: %w", s.Name, err)
		}
		pub, err := parsePublic(text)
		if err != nil {
			return nil, fmt.Errorf("signer %s: key %s: %w", s.Name, s.Key, err)
		}
		hint, err := hintOf(pub)
		if err != nil {
			return nil, fmt.Errorf("signer %s: key %s: %w", s.Name, s.Key, err)
		}
		// With one key for two names, nobody could say who signed.
		if other, ok := t.signers[hint]; ok {
			return nil, step.Usagef("signers %s and %s have the same key", other.Name, s.Name)
		}
		v, err := signature.LoadDefaultVerifier(pub)
		if err != nil {
			return nil, fmt.Errorf("signer %s: key %s: %w", s.Name, s.Key, err)
		}
		t.signers[hint] = s
		t.files[s.Name] = text
		keys[hint] = root.NewExpiringKey(v, time.Time{}, time.Time{})
	}
	t.material = root.NewTrustedPublicKeyMaterialFromMapping(keys)
	return t, nil
}

// addIdentity adds a signer who is recognised by identity.
func (t *Trust) addIdentity(s TrustedSigner, read func(path string) ([]byte, error)) error {
	for _, other := range t.identities {
		if *other.Identity == *s.Identity {
			return step.Usagef("it has the same identity as %s", other.Name)
		}
	}
	text, err := read(s.Identity.TrustedRoot)
	if err != nil {
		return fmt.Errorf("identity.trustedRoot: %w", err)
	}
	id, err := newTrustedIdentity(s, text)
	if err != nil {
		return step.Usagef("identity.trustedRoot %s: %w", s.Identity.TrustedRoot, err)
	}
	t.identities = append(t.identities, id)
	t.files[s.Name] = text
	return nil
}

func (s TrustedSigner) validate() error {
	if s.Name == "" {
		return errors.New("name is missing")
	}
	switch {
	case s.Key != "" && s.Identity != nil:
		return errors.New("it has a key and an identity: want one of them")
	case s.Identity != nil:
		if err := s.Identity.validate(); err != nil {
			return err
		}
	case s.Key == "":
		return errors.New("key is missing: the path of a PEM public key; or identity in its place")
	}
	if len(s.Roles) == 0 {
		return fmt.Errorf("roles is missing: %s", oneOfRoles)
	}
	for _, r := range s.Roles {
		if r != RoleAttester && r != RoleVerifier && r != RoleWaiver && r != RolePlatform {
			return fmt.Errorf("role %.60q is none of %s", r, oneOfRoles)
		}
	}
	if s.Has(RolePlatform) {
		switch {
		case s.Identity != nil:
			return fmt.Errorf("role %s needs a key: a platform's envelopes prove no time at which a certificate was valid", RolePlatform)
		case len(s.Roles) > 1:
			return fmt.Errorf("role %s goes with no other: a platform vouches for its own runs, and for nothing else", RolePlatform)
		case s.MaxBuildLevel > maxPlatformLevel:
			return fmt.Errorf("maxBuildLevel %d: a platform's own provenance supports L%d at most", s.MaxBuildLevel, maxPlatformLevel)
		}
	}
	if s.MaxTier.Rank() == 0 {
		return fmt.Errorf("maxTier %.60q is none of reported, derived, observed, reproduced", s.MaxTier)
	}
	if s.MaxBuildLevel < 0 || s.MaxBuildLevel > 3 {
		return fmt.Errorf("maxBuildLevel %d is not between 0 and 3", s.MaxBuildLevel)
	}
	for _, issuer := range s.RunIssuers {
		if err := checkIssuer(issuer); err != nil {
			return fmt.Errorf("runIssuers: %w", err)
		}
	}
	return nil
}

// Signers lists the signers by name.
func (t *Trust) Signers() []TrustedSigner {
	all := slices.Collect(maps.Values(t.signers))
	for _, id := range t.identities {
		all = append(all, id.TrustedSigner)
	}
	slices.SortFunc(all, func(a, b TrustedSigner) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// File is what a signer's entry names: a PEM public key, or a Sigstore trusted root as
// JSON.
func (t *Trust) File(signer string) []byte { return bytes.Clone(t.files[signer]) }

func parsePublic(text []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemPublic || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("want one PEM block of type %s", pemPublic)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, err
	}
	if err := cryptoutils.ValidatePubKey(pub); err != nil {
		return nil, fmt.Errorf("weak or unsupported: %w", err)
	}
	return pub, nil
}
