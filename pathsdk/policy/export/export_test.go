package export_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/golden"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/policy/export"
)

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// microservice requires what the shipped policy of that name does.
func microservice(t *testing.T) *policy.Policy {
	t.Helper()
	p, err := policy.Load("testdata/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The signers of a trust root: two attesters, one by key and one by identity, and a
// verifier, whom nothing of what is exported may name.
func attester(t *testing.T) export.Signer {
	return export.Signer{Name: "attester", Roles: []string{"attester"}, MaxTier: evidence.Observed, Key: file(t, "attester.pub")}
}

func ci(t *testing.T) export.Signer {
	return export.Signer{Name: "ci", Roles: []string{"attester"}, MaxTier: evidence.Observed, Identity: &export.Identity{
		Issuer: "https://token.actions.githubusercontent.com", Subject: "https://github.com/acme/orders/.github/workflows/attest.yaml@refs/heads/main",
		Log: true, TrustedRoot: file(t, "trusted_root.json"),
	}}
}

func verifier(t *testing.T) export.Signer {
	return export.Signer{Name: "verifier", Roles: []string{"verifier"}, MaxTier: evidence.Observed, Key: file(t, "other.pub")}
}

// changed is a trusted root with something else in it.
func changed(t *testing.T, change func(root map[string]any)) []byte {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(file(t, "trusted_root.json"), &root); err != nil {
		t.Fatal(err)
	}
	change(root)
	b, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ended says that all authorities of a kind are out of use.
func ended(root map[string]any, kind string) {
	for _, a := range root[kind].([]any) {
		a.(map[string]any)["validFor"] = map[string]any{"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
	}
}

// ed25519Log gives the log a key of the kind that Rekor v2 often has.
func ed25519Log(root map[string]any) {
	der, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	if err != nil {
		panic(err)
	}
	root["tlogs"].([]any)[0].(map[string]any)["publicKey"] = map[string]any{"rawBytes": der, "keyDetails": "PKIX_ED25519"}
}

// stream is what the command prints: files, one after the other.
func stream(r export.Result) []byte {
	var b bytes.Buffer
	for _, f := range r.Files {
		b.WriteString("==> " + f.Name + "\n")
		b.Write(f.Content)
	}
	return b.Bytes()
}

func TestWrite(t *testing.T) {
	pattern := ci(t)
	pattern.Identity.Subject, pattern.Identity.SubjectRegexp, pattern.Identity.Log = "", `https://github\.com/acme/.*`, false
	pattern.Identity.TrustedRoot = changed(t, func(root map[string]any) {
		root["ctlogs"] = root["tlogs"]
		delete(root, "tlogs")
	})
	tests := map[string]struct {
		format string
		in     export.Input
	}{
		"kyverno":                     {"kyverno", export.Input{Images: "registry.example.com/team/*", Signers: []export.Signer{verifier(t), attester(t)}}},
		"kyverno one platform":        {"kyverno", export.Input{Images: "registry.example.com/team/*", Signers: []export.Signer{ci(t), attester(t), verifier(t)}, OnePlatform: true}},
		"kyverno pattern without log": {"kyverno", export.Input{Images: "*", Signers: []export.Signer{pattern}, TUF: &export.TUF{Mirror: "https://tuf.example.com", Root: []byte(`{"signed":{}}`)}}},
		"policy-controller key":       {"policy-controller", export.Input{Images: "registry.example.com/team/**", Signers: []export.Signer{attester(t), verifier(t)}}},
		"policy-controller both":      {"policy-controller", export.Input{Images: "registry.example.com/team/**", Signers: []export.Signer{attester(t), ci(t)}, OnePlatform: true}},
		"policy-controller pattern":   {"policy-controller", export.Input{Images: "**", Signers: []export.Signer{pattern}}},
		"ampel":                       {"ampel", export.Input{Signers: []export.Signer{attester(t), ci(t), verifier(t)}, OnePlatform: true}},
		"ampel pattern":               {"ampel", export.Input{Signers: []export.Signer{pattern}}},
		"conforma":                    {"conforma", export.Input{Signers: []export.Signer{attester(t), ci(t), verifier(t)}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.in.Policy = microservice(t)
			r, err := export.Write(tt.format, tt.in)
			if err != nil {
				t.Fatal(err)
			}
			golden.Equal(t, ".yaml", stream(r))

			slices.Reverse(tt.in.Signers)
			again, err := export.Write(tt.format, tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(r, again); d != "" {
				t.Error("another order of signers gives something else", d)
			}
			if key := strings.Split(string(file(t, "other.pub")), "\n")[1]; bytes.Contains(stream(r), []byte(key)) || bytes.Contains(stream(r), []byte("name: verifier")) {
				t.Error("the verifier is no attester, and is named")
			}
			for _, f := range r.Files {
				var docs int
				for _, doc := range strings.Split(string(f.Content), "\n---\n") {
					var v map[string]any
					if err := yaml.UnmarshalStrict([]byte(doc), &v); err != nil || len(v) == 0 {
						t.Errorf("%s: %v", f.Name, err)
					}
					docs++
				}
				if docs == 0 {
					t.Errorf("%s is empty", f.Name)
				}
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	withRoot := func(change func(root map[string]any)) export.Signer {
		s := ci(t)
		s.Identity.TrustedRoot = changed(t, change)
		return s
	}
	named := func(name string) export.Signer {
		s := attester(t)
		s.Name = name
		return s
	}
	head, _, _ := strings.Cut(string(file(t, "policy.yaml")), "\nrequire:\n")
	const provenance = "  - {predicate: provenance, about: platforms, tier: observed, role: attester, fix: ship}\n"
	only := func(require string) *policy.Policy {
		p, err := policy.Parse([]byte(head + "\nrequire:\n" + require))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	tests := map[string]struct {
		format string
		in     export.Input
		want   string
	}{
		"format":               {"opa", export.Input{Images: "*"}, `format "opa" is unknown; choose ampel, conforma, kyverno, policy-controller`},
		"kyverno's images":     {"kyverno", export.Input{}, "--images is missing"},
		"controller's images":  {"policy-controller", export.Input{}, "--images is missing"},
		"conforma's images":    {"conforma", export.Input{Images: "*"}, "leave it out"},
		"ampel's images":       {"ampel", export.Input{Images: "*"}, "leave it out"},
		"ampel platforms":      {"ampel", export.Input{Policy: only(provenance)}, "give --one-platform"},
		"nobody has the role":  {"kyverno", export.Input{Images: "*", Signers: []export.Signer{verifier(t)}}, "requires signature, and nobody in the trust root may sign it: add a signer with roles: [attester] and maxTier: derived"},
		"name of a folder":     {"conforma", export.Input{Signers: []export.Signer{named("../attester")}}, "rename it in the trust root"},
		"name with a line":     {"kyverno", export.Input{Images: "*", Signers: []export.Signer{named("a\nb")}}, "rename it in the trust root"},
		"name in upper case":   {"kyverno", export.Input{Images: "*", Signers: []export.Signer{named("Attester")}}, "rename it in the trust root"},
		"no trusted root":      {"kyverno", export.Input{Images: "*", Signers: []export.Signer{{Name: "ci", Roles: []string{"attester"}, MaxTier: evidence.Observed, Identity: &export.Identity{TrustedRoot: []byte("x")}}}}, "signer ci: trusted root"},
		"no log":               {"kyverno", export.Input{Images: "*", Signers: []export.Signer{withRoot(func(r map[string]any) { delete(r, "tlogs") })}}, "no transparency log"},
		"an authority's end":   {"policy-controller", export.Input{Images: "*", Signers: []export.Signer{withRoot(func(r map[string]any) { ended(r, "certificateAuthorities") })}}, "no certificate authority whose period has no end"},
		"a log's key":          {"policy-controller", export.Input{Images: "*", Signers: []export.Signer{withRoot(ed25519Log)}}, "no transparency log with an ECDSA or RSA key"},
		"platforms alone":      {"kyverno", export.Input{Images: "*", Policy: only(provenance)}, "give --one-platform"},
		"controller platforms": {"policy-controller", export.Input{Images: "*", Policy: only(provenance)}, "give --one-platform"},
		"keys and no image signature": {"policy-controller", export.Input{Images: "*", OnePlatform: true, Policy: only(provenance)},
			"keys in signature tags only"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.in.Policy == nil {
				tt.in.Policy = microservice(t)
			}
			if tt.in.Signers == nil {
				tt.in.Signers = []export.Signer{attester(t)}
			}
			r, err := export.Write(tt.format, tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q\n%s", err, tt.want, stream(r))
			}
		})
	}
}

// TestTier: whoever can't prove as much as a requirement asks is not named for it.
func TestTier(t *testing.T) {
	low := ci(t)
	low.MaxTier = evidence.Derived
	for format, images := range map[string]string{"kyverno": "*", "policy-controller": "*", "ampel": ""} {
		r, err := export.Write(format, export.Input{Policy: microservice(t), Signers: []export.Signer{attester(t), low}, Images: images})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(r.Enforced, "signature, signed by attester or ci") {
			t.Errorf("%s: an attester up to derived may sign what derived will do for: %q", format, r.Enforced)
		}
		if slices.ContainsFunc(r.Enforced, func(s string) bool { return strings.HasPrefix(s, "provenance") && strings.Contains(s, "ci") }) {
			t.Errorf("%s: an attester up to derived is named for what must be observed: %q", format, r.Enforced)
		}
	}
}

// TestEnded: policy-controller would trust for ever what a trusted root trusts for a
// time.
func TestEnded(t *testing.T) {
	s := ci(t)
	s.Identity.TrustedRoot = changed(t, func(root map[string]any) {
		authorities := root["certificateAuthorities"].([]any)
		old := map[string]any{}
		for k, v := range authorities[0].(map[string]any) {
			old[k] = v
		}
		old["uri"], old["validFor"] = "https://old.example.com", map[string]any{"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
		root["certificateAuthorities"] = append(authorities, old)
	})
	r, err := export.Write("policy-controller", export.Input{Policy: microservice(t), Signers: []export.Signer{s}, Images: "*"})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(stream(r)); strings.Contains(text, "old.example.com") || !strings.Contains(text, "fulcio.example.com") {
		t.Error("an authority that is out of use counts", text)
	}
}

// TestSaysWhatIsLeftOut: the list at the head of each file has what our verifier alone
// does, as this very policy asks for it.
func TestSaysWhatIsLeftOut(t *testing.T) {
	text := string(file(t, "policy.yaml"))
	plain := microservice(t)
	strict, err := policy.Parse([]byte(strings.Replace(text, "tier: observed", "tier: reproduced", 1) + `
separation:
  from: 1
  exceptions:
    - {name: one-job, producer: 'https://example\.com/.*', reason: a small team}
    - {name: two-jobs, producer: 'https://example\.org/.*', reason: another}
`))
	if err != nil {
		t.Fatal(err)
	}
	head, rules, _ := strings.Cut(text, "  - predicate: provenance\n")
	_, rest, _ := strings.Cut(rules, "  - predicate: spdx\n")
	unsourced, err := policy.Parse([]byte(head + "  - predicate: spdx\n" + rest))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		policy       *policy.Policy
		says, silent []string
	}{
		"as it is shipped": {plain,
			[]string{"separation: from Build L2 on, that somebody else than the producer signed the provenance", "evidence by reference (in-toto's reference v0.1), as a predicate of more than 4 MiB is:"},
			[]string{"reproduced", "exceptions"}},
		"strict": {strict,
			[]string{"separation: from Build L1 on, that somebody else than the producer signed the provenance, with the exceptions one-job, two-jobs", "evidence by reference", "tier reproduced (provenance): that a second, independent builder made the same image"},
			nil},
		"without provenance": {unsourced, []string{"evidence by reference"}, []string{"separation", "tier reproduced"}},
	}
	for name, tt := range tests {
		for format, of := range map[string]string{"kyverno": "Kyverno follows none", "policy-controller": "policy-controller follows none", "conforma": "no rule of this file reads", "ampel": "no policy of this file follows any"} {
			in := export.Input{Policy: tt.policy, Signers: []export.Signer{attester(t)}}
			if format != "conforma" && format != "ampel" {
				in.Images = "*"
			}
			r, err := export.Write(format, in)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, format, err)
			}
			head, _, _ := strings.Cut(string(r.Files[0].Content), "\n# To know:")
			comment := strings.Join(strings.Fields(strings.ReplaceAll(head, "\n#", " ")), " ")
			_, left, _ := strings.Cut(comment, "Not enforced; pathctl verify does:")
			list := strings.Join(r.NotEnforced, "\n")
			for _, want := range append(slices.Clone(tt.says), of) {
				if !strings.Contains(list, want) || !strings.Contains(left, want) {
					t.Errorf("%s, %s: neither list nor head may lack %q\n%s", name, format, want, r.Files[0].Content)
				}
			}
			for _, no := range tt.silent {
				if strings.Contains(list, no) {
					t.Errorf("%s, %s: %q is said of a policy that does not ask for it\n%s", name, format, no, list)
				}
			}
		}
	}
}
