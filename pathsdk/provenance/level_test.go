package provenance_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// hosted are the facts of a platform that supports L3.
func hosted() []provenance.Fact {
	return []provenance.Fact{
		{Name: provenance.FactHost, Value: provenance.HostTekton, How: "Kubernetes API"},
		{Name: provenance.FactSource, Value: provenance.SourceControlPlane, How: "Kubernetes API"},
		{Name: provenance.FactEphemeral, Value: "true", How: "a pod for each build"},
		{Name: provenance.FactNode, Value: provenance.NodeSandbox, How: "a sandbox for each pod"},
		{Name: provenance.FactCaches, Value: provenance.CachesPrivate, How: "no volume is shared"},
		{Name: provenance.FactKeys, Value: provenance.KeysUnreachable, How: "signing has its own namespace"},
		{Name: provenance.FactProducer, Value: producer, How: "Kubernetes API"},
		{Name: provenance.FactProducerIssuer, Value: issuer, How: "Kubernetes API"},
		{Name: provenance.FactRun, Value: runURI, How: "Kubernetes API"},
	}
}

const (
	issuer   = "https://kubernetes.example.com"
	producer = "https://kubernetes.io/namespaces/build/serviceaccounts/builder"
	runURI   = "https://kubernetes.example.com/runs/1"
)

// trusted is what a verifier knows of an attester that is not the producer.
func trusted(level int) provenance.Trusted {
	return provenance.Trusted{Level: level, Issuers: []string{issuer}, Signer: provenance.Identity{Issuer: issuer, Subject: "https://kubernetes.io/namespaces/sign/serviceaccounts/attester"}}
}

func with(t testing.TB, facts []provenance.Fact) evidence.ProvenanceV1 {
	b := sample()
	b.Record.Facts = facts
	return predicate(t, b)
}

func without(name string) []provenance.Fact {
	return slices.DeleteFunc(hosted(), func(f provenance.Fact) bool { return f.Name == name })
}

func changed(name, value string) []provenance.Fact {
	fs := hosted()
	for i := range fs {
		if fs[i].Name == name {
			fs[i].Value = value
		}
	}
	return fs
}

func TestLevel(t *testing.T) {
	open := provenance.Workstation(provenance.Fence{})
	fenced := provenance.Workstation(provenance.Fence{Landlock: true, Namespaces: true, NoNetwork: true})
	tests := []struct {
		name    string
		facts   []provenance.Fact
		trusted int
		want    int
	}{
		{"no facts", nil, 3, 1},
		{"workstation", fenced, 3, 1},
		{"workstation, trusted for L1", fenced, 1, 1},
		{"workstation without a fence", open, 3, 1},
		{"signer trusted for nothing", fenced, 0, 0},
		{"negative trust", fenced, -1, 0},
		{"platform", hosted(), 3, 3},
		{"platform, trusted beyond L3", hosted(), 9, 3},
		{"platform, trusted for L2", hosted(), 2, 2},
		{"platform, trusted for L1", hosted(), 1, 1},
		{"host unknown", without(provenance.FactHost), 3, 1},
		{"odd host", changed(provenance.FactHost, "laptop"), 3, 1},
		{"platform's builder wrote it itself", changed(provenance.FactSource, provenance.SourceRunner), 3, 1},
		{"source unknown", without(provenance.FactSource), 3, 1},
		{"shared caches", changed(provenance.FactCaches, provenance.CachesShared), 3, 2},
		{"caches unknown", without(provenance.FactCaches), 3, 2},
		{"keys in reach", changed(provenance.FactKeys, provenance.KeysReachable), 3, 2},
		{"keys unknown", without(provenance.FactKeys), 3, 2},
		{"long-lived machine", changed(provenance.FactEphemeral, "false"), 3, 2},
		{"ephemeral unknown", without(provenance.FactEphemeral), 3, 2},
		{"a kernel with others", changed(provenance.FactNode, provenance.NodeShared), 3, 2},
		{"kernel unknown", without(provenance.FactNode), 3, 2},
		{"producer unknown", without(provenance.FactProducer), 3, 1},
		{"issuer unknown", without(provenance.FactProducerIssuer), 3, 1},
		{"another issuer", changed(provenance.FactProducerIssuer, "https://evil.example.com"), 3, 1},
		{"GitHub's own machine", changed(provenance.FactHost, provenance.HostGitHub), 3, 3},
		{"GitHub's own machine, kernel unknown", slices.DeleteFunc(changed(provenance.FactHost, provenance.HostGitHub), func(f provenance.Fact) bool { return f.Name == provenance.FactNode }), 3, 3},
		{"somebody's machine in GitHub", changed(provenance.FactHost, provenance.HostGitHubOther), 3, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, reasons := provenance.Level(with(t, tt.facts), trusted(tt.trusted))
			if got != tt.want {
				t.Errorf("level %d, want %d", got, tt.want)
			}
			// The reasons tell the same story: everything up to the level holds,
			// and something of the next does not.
			missing := 0
			for _, r := range reasons {
				if r.Need == "" || r.Why == "" {
					t.Errorf("a reason that says nothing: %+v", r)
				}
				if r.Level <= got && !r.Holds {
					t.Errorf("level %d although %q does not hold", got, r.Need)
				}
				if r.Level == got+1 && !r.Holds {
					missing++
				}
			}
			if got < provenance.MaxLevel && missing == 0 {
				t.Errorf("nothing says why the level is not %d", got+1)
			}
		})
	}
}

// TestLevelSigner holds the signer against the producer and the run.
func TestLevelSigner(t *testing.T) {
	self := provenance.Identity{Issuer: issuer, Subject: producer}
	allowed := func(who string) (string, bool) { return "one-job", who == producer }
	for name, c := range map[string]struct {
		change func(*provenance.Trusted)
		want   int
	}{
		"another identity":         {func(*provenance.Trusted) {}, 3},
		"a key":                    {func(t *provenance.Trusted) { t.Signer = provenance.Identity{} }, 1},
		"a key, excepted":          {func(t *provenance.Trusted) { t.Signer = provenance.Identity{}; t.Separation.Excepted = allowed }, 3},
		"the producer":             {func(t *provenance.Trusted) { t.Signer = self }, 1},
		"the producer, from L3 on": {func(t *provenance.Trusted) { t.Signer, t.Separation.From = self, 3 }, 2},
		"the producer, from L1 on": {func(t *provenance.Trusted) { t.Signer, t.Separation.From = self, 1 }, 0},
		"the producer, excepted":   {func(t *provenance.Trusted) { t.Signer, t.Separation.Excepted = self, allowed }, 3},
		"its name by another issuer": {func(t *provenance.Trusted) {
			t.Signer = provenance.Identity{Issuer: "https://b.example.com", Subject: producer}
		}, 3},
		"no issuer trusted":          {func(t *provenance.Trusted) { t.Issuers = nil }, 1},
		"certificate of that run":    {func(t *provenance.Trusted) { t.Signer.Run = runURI }, 3},
		"certificate of another run": {func(t *provenance.Trusted) { t.Signer.Run = runURI + "0" }, 1},
		"another issuer's run": {func(t *provenance.Trusted) {
			t.Signer = provenance.Identity{Issuer: "https://b.example.com", Subject: "x", Run: "y"}
		}, 3},
		"excepted, but for another one": {func(t *provenance.Trusted) {
			t.Signer = self
			t.Separation.Excepted = func(string) (string, bool) { return "", false }
		}, 1},
	} {
		with3 := trusted(3)
		c.change(&with3)
		got, reasons := provenance.Level(with(t, hosted()), with3)
		if got != c.want {
			t.Errorf("%s: level %d, want %d: %+v", name, got, c.want, reasons)
		}
		if aKey, said := name == "a key", strings.Contains(fmt.Sprint(reasons), "a key signed it"); said != aKey {
			t.Errorf("%s: it is said to be signed by a key: %t", name, said)
		}
	}
}

// TestGitHub reads the word of GitHub on a run.
func TestGitHub(t *testing.T) {
	commit := strings.Repeat("a", 40)
	run := provenance.GitHubRun{
		Issuer: issuer, JobWorkflowRef: "acme/orders/.github/workflows/ship.yaml@refs/heads/main", Repository: "acme/orders",
		Ref: "refs/heads/main", SHA: commit, Event: "push", RunID: "7", RunAttempt: "2", RunnerEnvironment: "github-hosted",
	}
	fenced := provenance.Workstation(provenance.Fence{Landlock: true, Namespaces: true, NoNetwork: true})
	for name, c := range map[string]struct {
		change func(*provenance.GitHubRun, map[string]json.RawMessage)
		want   int
		why    string
	}{
		"as it is":           {func(*provenance.GitHubRun, map[string]json.RawMessage) {}, 2, ""},
		"self-hosted":        {func(g *provenance.GitHubRun, _ map[string]json.RawMessage) { g.RunnerEnvironment = "self-hosted" }, 1, "github-self-hosted"},
		"another commit":     {func(g *provenance.GitHubRun, _ map[string]json.RawMessage) { g.SHA = strings.Repeat("b", 40) }, 1, "the record's commit is " + commit},
		"no commit":          {func(_ *provenance.GitHubRun, in map[string]json.RawMessage) { delete(in, "revision") }, 1, "names no commit"},
		"another repository": {func(g *provenance.GitHubRun, _ map[string]json.RawMessage) { g.Repository = "acme/others" }, 1, "the record's repository"},
		"changed files":      {func(_ *provenance.GitHubRun, in map[string]json.RawMessage) { in["dirty"] = json.RawMessage("true") }, 1, "differs from commit"},
		"nobody knows":       {func(_ *provenance.GitHubRun, in map[string]json.RawMessage) { in["dirty"] = json.RawMessage(`"x"`) }, 1, "differs from commit"},
	} {
		b := sample()
		b.Record.Facts = fenced
		b.Record.Inputs = map[string]json.RawMessage{
			"revision": json.RawMessage(`"` + commit + `"`), "repository": json.RawMessage(`"https://github.com/acme/orders.git"`), "dirty": json.RawMessage("false"),
		}
		g := run
		c.change(&g, b.Record.Inputs)
		var err error
		if b.Record, err = g.Observed(b.Record); err != nil {
			t.Fatal(err)
		}
		if b.Record.Inputs["dirty"] != nil && string(b.Record.Inputs["dirty"]) == `"x"` {
			b.Record.Inputs["dirty"] = json.RawMessage("true")
		}
		p := predicate(t, b)
		got, reasons := provenance.Level(p, trusted(3))
		if got != c.want || !strings.Contains(fmt.Sprint(reasons), c.why) {
			t.Errorf("%s: level %d, want %d because of %q: %+v", name, got, c.want, c.why, reasons)
		}
		if p.RunDetails.Builder.ID != provenance.BuilderGitHub || p.RunDetails.Metadata.InvocationID != g.URI() {
			t.Errorf("%s: builder %s, invocation %s", name, p.RunDetails.Builder.ID, p.RunDetails.Metadata.InvocationID)
		}
		if facts, err := provenance.Facts(p); err != nil || len(facts) != 13 {
			t.Errorf("%s: %d facts, %v", name, len(facts), err)
		}
	}
	run.RunAttempt = ""
	if _, err := run.Observed(sample().Record); err == nil || !strings.Contains(err.Error(), "run_attempt") {
		t.Errorf("a token without run_attempt: %v", err)
	}
}

// TestLevelNeedsInputs takes away what L1 asks of provenance.
func TestLevelNeedsInputs(t *testing.T) {
	tests := map[string]func(*evidence.ProvenanceV1){
		"no builder":    func(p *evidence.ProvenanceV1) { p.RunDetails.Builder.ID = "" },
		"no build type": func(p *evidence.ProvenanceV1) { p.BuildDefinition.BuildType = "" },
		"no inputs":     func(p *evidence.ProvenanceV1) { p.BuildDefinition.ResolvedDependencies = nil },
		"no source":     func(p *evidence.ProvenanceV1) { p.BuildDefinition.ResolvedDependencies[0].Name = "other" },
		"two sources":   func(p *evidence.ProvenanceV1) { p.BuildDefinition.ResolvedDependencies[2].Name = "source" },
		"an input without digest": func(p *evidence.ProvenanceV1) {
			p.BuildDefinition.ResolvedDependencies[3].Digest = nil
		},
	}
	for name, change := range tests {
		p := with(t, hosted())
		change(&p)
		if got, _ := provenance.Level(p, trusted(3)); got != 0 {
			t.Errorf("%s: level %d", name, got)
		}
	}
	p := with(t, hosted())
	p.BuildDefinition.BuildType = "https://example.com/other"
	if got, _ := provenance.Level(p, trusted(3)); got != 2 {
		t.Errorf("unknown build type: level %d, want 2: nobody knows whether its parameters are complete", got)
	}
	p = with(t, hosted())
	delete(p.BuildDefinition.ExternalParameters, "inputs")
	if got, _ := provenance.Level(p, trusted(3)); got != 2 {
		t.Errorf("incomplete parameters: level %d, want 2", got)
	}
}

// TestNothingClaimsALevel puts claims wherever a producer could.
func TestNothingClaimsALevel(t *testing.T) {
	b := sample()
	b.Record.Inputs["level"] = json.RawMessage(`3`)
	b.Record.Config = json.RawMessage(`{"facts":[{"name":"host","value":"tekton","how":"I say so"}],"level":3}`)
	p := predicate(t, b)
	p.BuildDefinition.InternalParameters["level"] = json.RawMessage(`"SLSA_BUILD_LEVEL_3"`)
	if got, _ := provenance.Level(p, trusted(3)); got != 1 {
		t.Errorf("level %d, want 1", got)
	}
	for name, raw := range map[string]string{
		"no list":         `{"host":"tekton"}`,
		"contradiction":   `[{"name":"host","value":"tekton","how":"x"},{"name":"host","value":"workstation","how":"x"}]`,
		"no name":         `[{"name":"","value":"tekton","how":"x"}]`,
		"no value":        `[{"name":"host","value":"","how":"x"}]`,
		"nobody says how": `[{"name":"host","value":"tekton","how":""}]`,
	} {
		p := with(t, hosted())
		p.BuildDefinition.InternalParameters["facts"] = json.RawMessage(raw)
		if _, err := provenance.Facts(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
		got, reasons := provenance.Level(p, trusted(3))
		if got != 1 {
			t.Errorf("%s: level %d, want 1", name, got)
		}
		for _, r := range reasons {
			if trust := strings.HasPrefix(r.Need, "the verifier trusts"); !trust && r.Holds != (r.Level == 1) {
				t.Errorf("%s: %q holds: %t", name, r.Need, r.Holds)
			}
		}
	}
}

func TestWorkstation(t *testing.T) {
	for _, f := range []provenance.Fence{{}, {Detail: "Landlock ABI 5"}, {Landlock: true}, {Landlock: true, Detail: "Landlock ABI 5"}, {Namespaces: true, NoNetwork: true}, {Landlock: true, Namespaces: true, NoNetwork: true, Detail: "Landlock ABI 5"}} {
		by := map[string]provenance.Fact{}
		for _, fact := range provenance.Workstation(f) {
			if _, ok := by[fact.Name]; ok || fact.Value == "" || fact.How == "" {
				t.Errorf("fact %+v", fact)
			}
			by[fact.Name] = fact
		}
		if (by[provenance.FactKeys].Value == provenance.KeysUnreachable) != (f.Landlock || f.Namespaces) {
			t.Errorf("%+v: keys are %s", f, by[provenance.FactKeys].Value)
		}
		if (by[provenance.FactNetwork].Value == provenance.NetworkNone) != f.NoNetwork {
			t.Errorf("%+v: network is %s", f, by[provenance.FactNetwork].Value)
		}
		fence := map[bool]map[bool]string{true: {true: "landlock+namespaces", false: "landlock"}, false: {true: "namespaces", false: provenance.FenceNone}}
		if got, want := by[provenance.FactFence].Value, fence[f.Landlock][f.Namespaces]; got != want {
			t.Errorf("%+v: fence is %s, want %s", f, got, want)
		}
		fenced, how := f.Landlock || f.Namespaces, by[provenance.FactFence].How
		if f.Detail != "" && strings.Contains(how, f.Detail) != fenced || strings.HasPrefix(how, "the kernel applied it") != fenced || strings.HasSuffix(how, ": ") {
			t.Errorf("%+v: fence by %q", f, how)
		}
	}
}
