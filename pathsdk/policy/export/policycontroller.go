package export

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// The parts of policy.sigstore.dev that are written.
type (
	clusterImagePolicy struct {
		Images      []map[string]string `json:"images"`
		Mode        string              `json:"mode"`
		Authorities []authority         `json:"authorities"`
	}
	authority struct {
		Name             string              `json:"name"`
		SignatureFormat  string              `json:"signatureFormat"`
		Key              map[string]string   `json:"key,omitempty"`
		Keyless          *keyless            `json:"keyless,omitempty"`
		RFC3161Timestamp map[string]string   `json:"rfc3161timestamp,omitempty"`
		CTLog            map[string]string   `json:"ctlog,omitempty"`
		Attestations     []map[string]string `json:"attestations,omitempty"`
	}
	keyless struct {
		URL               string           `json:"url"`
		Identities        []wantedIdentity `json:"identities"`
		TrustRootRef      string           `json:"trustRootRef"`
		InsecureIgnoreSCT bool             `json:"insecureIgnoreSCT,omitempty"`
	}
	trustRoot struct {
		SigstoreKeys sigstoreKeys `json:"sigstoreKeys"`
	}
	sigstoreKeys struct {
		CertificateAuthorities []certificateAuthority `json:"certificateAuthorities"`
		TLogs                  []transparencyLog      `json:"tLogs,omitempty"`
		CTLogs                 []transparencyLog      `json:"ctLogs,omitempty"`
		TimestampAuthorities   []certificateAuthority `json:"timestampAuthorities,omitempty"`
	}
	certificateAuthority struct {
		Subject   map[string]string `json:"subject"`
		URI       string            `json:"uri"`
		CertChain []byte            `json:"certChain"`
	}
	transparencyLog struct {
		BaseURL       string `json:"baseURL"`
		HashAlgorithm string `json:"hashAlgorithm"`
		PublicKey     []byte `json:"publicKey"`
	}
)

// policyController writes a ClusterImagePolicy for each requirement, since each of
// them must pass, and any authority in one will do; and a TrustRoot for each identity.
func policyController(p *plan) error {
	if p.Images == "" {
		return step.Usagef("--images is missing: a glob such as 'registry.example.com/team/**'; policy-controller's * stops at /, and ** does not")
	}
	required := p.onImage("policy-controller")
	if len(required) == 0 {
		return nothing(p, "policy-controller")
	}
	var docs []any
	var without []string               // requirements, and the keys that can't meet them
	used := map[string]*sigstoreKeys{} // by the signer's name; nil for a key
	for _, r := range required {
		spec := clusterImagePolicy{Images: []map[string]string{{"glob": p.Images}}, Mode: "enforce"}
		var named, keyed []Signer
		for _, s := range p.signers(r) {
			// A key verifies signatures in tags, and no bundles.
			if s.Identity == nil && !isSignature(r) {
				keyed = append(keyed, s)
				continue
			}
			if _, ok := used[s.Name]; !ok {
				keys, err := p.roots[s.Name].keys(s)
				if err != nil {
					return err
				}
				used[s.Name] = keys
			}
			spec.Authorities = append(spec.Authorities, authorityOf(s, r, used[s.Name]))
			named = append(named, s)
		}
		if len(keyed) > 0 {
			without = append(without, r.Type().Name+" signed by "+by(keyed))
		}
		if len(named) == 0 {
			continue
		}
		p.does("%s, signed by %s", r.Type().Name, by(named))
		docs = append(docs, object{"policy.sigstore.dev/v1beta1", "ClusterImagePolicy", map[string]string{"name": p.Policy.Name + "-" + r.Type().Name}, spec})
	}
	if len(docs) == 0 {
		return step.Usagef("policy-controller can enforce nothing of policy %s: it verifies keys in signature tags only, and the policy requires no signature of the image", p.Policy.Name)
	}
	if err := p.add("clusterimagepolicy.yaml", docs...); err != nil {
		return err
	}
	keys, logged, identities := false, false, false
	for _, s := range p.Signers {
		k, ok := used[s.Name]
		keys = keys || ok && k == nil
		if k == nil {
			continue
		}
		identities = true
		logged = logged || s.Identity.Log
		if err := p.add("trustroot-"+s.Name+".yaml", object{"policy.sigstore.dev/v1alpha1", "TrustRoot", map[string]string{"name": s.Name}, trustRoot{*k}}); err != nil {
			return err
		}
	}
	if keys {
		p.note("policy-controller finds a key's signature in a tag, not in a bundle: publish with --layout both")
	}
	if len(without) > 0 {
		p.lacks("%s: policy-controller verifies the bundles of identities, not of keys", strings.Join(without, ", "))
	}
	if logged {
		p.note("policy-controller 0.14 reads entries of Rekor v1 alone, and refuses what is signed with Rekor v2; an identity with log: none goes by timestamps")
	}
	if identities {
		p.note("policy-controller knows not how long an authority was in use: those whose period has an end are left out")
	}
	p.ours("policy-controller follows none, and refuses an image that has by reference alone what these files require")
	return nil
}

func authorityOf(s Signer, r policy.Require, keys *sigstoreKeys) authority {
	if keys == nil {
		return authority{Name: s.Name, SignatureFormat: "legacy", Key: map[string]string{"data": string(s.Key), "hashAlgorithm": "sha256"}}
	}
	a := authority{
		Name: s.Name, SignatureFormat: "bundle",
		Keyless:      &keyless{keys.CertificateAuthorities[0].URI, []wantedIdentity{s.Identity.wanted()}, s.Name, len(keys.CTLogs) == 0},
		Attestations: []map[string]string{{"name": r.Type().Name, "predicateType": r.Type().URI}},
	}
	if s.Identity.Log {
		a.CTLog = map[string]string{"trustRootRef": s.Name}
	} else {
		a.RFC3161Timestamp = map[string]string{"trustRootRef": s.Name}
	}
	return a
}

// keys are the parts of a trusted root that policy-controller is given: a log or the
// timestamps, since with timestamps it looks at no log. It knows no periods of validity,
// so what is no longer in use, or will once be, is left out. A signer with a key has
// none.
func (r trustedRoot) keys(s Signer) (*sigstoreKeys, error) {
	if s.Identity == nil {
		return nil, nil
	}
	lacks := func(what string) error {
		return step.Usagef("signer %s: the trusted root has no %s whose period has no end, and policy-controller knows no periods", s.Name, what)
	}
	k := &sigstoreKeys{CTLogs: logs(r.Ctlogs)}
	var err error
	if k.CertificateAuthorities, err = authorities(r.CertificateAuthorities); err != nil {
		return nil, step.Usagef("signer %s: trusted root: certificate authority: %w", s.Name, err)
	}
	if len(k.CertificateAuthorities) == 0 {
		return nil, lacks("certificate authority")
	}
	if len(r.Ctlogs) > 0 && len(k.CTLogs) == 0 {
		return nil, lacks("certificate log")
	}
	if s.Identity.Log {
		if k.TLogs = logs(r.Tlogs); len(k.TLogs) == 0 {
			return nil, lacks("transparency log with an ECDSA or RSA key")
		}
		return k, nil
	}
	if k.TimestampAuthorities, err = authorities(r.TimestampAuthorities); err != nil {
		return nil, step.Usagef("signer %s: trusted root: timestamp authority: %w", s.Name, err)
	}
	if len(k.TimestampAuthorities) == 0 {
		return nil, lacks("timestamp authority")
	}
	return k, nil
}

func authorities(all []*prototrustroot.CertificateAuthority) ([]certificateAuthority, error) {
	var open []certificateAuthority
	for _, ca := range all {
		if ended(ca.GetValidFor()) {
			continue
		}
		var chain bytes.Buffer
		var top *x509.Certificate
		for _, c := range ca.GetCertChain().GetCertificates() {
			cert, err := x509.ParseCertificate(c.GetRawBytes())
			if err != nil {
				return nil, err
			}
			top = cert
			if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: c.GetRawBytes()}); err != nil {
				return nil, err
			}
		}
		if top == nil {
			return nil, fmt.Errorf("%s has no certificates", ca.GetUri())
		}
		// These names are asked for, and compared with nothing.
		open = append(open, certificateAuthority{
			Subject: map[string]string{
				"organization": first(append(top.Subject.Organization, ca.GetSubject().GetOrganization(), ca.GetUri())),
				"commonName":   first([]string{top.Subject.CommonName, ca.GetSubject().GetCommonName(), ca.GetUri()}),
			},
			URI: first([]string{ca.GetUri(), "https://" + strings.ToLower(top.Subject.CommonName)}), CertChain: chain.Bytes(),
		})
	}
	return open, nil
}

// logs leaves out those with keys of a kind that policy-controller can't read, for
// which it would read none.
func logs(all []*prototrustroot.TransparencyLogInstance) []transparencyLog {
	var open []transparencyLog
	for _, l := range all {
		der := l.GetPublicKey().GetRawBytes()
		key, err := x509.ParsePKIXPublicKey(der)
		if _, isEd25519 := key.(ed25519.PublicKey); err != nil || isEd25519 || ended(l.GetPublicKey().GetValidFor()) {
			continue
		}
		open = append(open, transparencyLog{l.GetBaseUrl(), "sha256", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})})
	}
	return open
}

func ended(r *protocommon.TimeRange) bool { return r.GetEnd() != nil }

func first(all []string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
