package provenance_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// split is the sample's record as its zones write it.
func split() []provenance.Record {
	var parts []provenance.Record
	for i, n := range sample().Record.Nodes {
		r := sample().Record
		r.Nodes, r.Invocation = []provenance.NodeRecord{n}, string(rune('a'+i))
		parts = append(parts, r)
	}
	return parts
}

// claim makes every record say another value of a fact.
func claim(records []provenance.Record, name, value string) []provenance.Record {
	for _, r := range records {
		for i := range r.Facts {
			if r.Facts[i].Name == name {
				r.Facts[i].Value = value
			}
		}
	}
	return records
}

// extra makes every record say one fact more.
func extra(records []provenance.Record, name, value string) []provenance.Record {
	for i, r := range records {
		records[i].Facts = append(slices.Clone(r.Facts), provenance.Fact{Name: name, Value: value, How: "I say so"})
	}
	return records
}

func TestMerge(t *testing.T) {
	got, err := provenance.Merge(split())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Nodes) != len(sample().Record.Nodes) || got.Nodes[2].Step != "build" {
		t.Fatalf("nodes: %+v", got.Nodes)
	}
	if got.Invocation != "c" {
		t.Errorf("invocation %q is not the build's", got.Invocation)
	}
	for name, c := range map[string]struct {
		change func([]provenance.Record) []provenance.Record
		want   string
	}{
		"nothing":         {func([]provenance.Record) []provenance.Record { return nil }, "no record"},
		"another path":    {func(r []provenance.Record) []provenance.Record { r[1].Path = "other"; return r }, "path differ"},
		"another version": {func(r []provenance.Record) []provenance.Record { r[1].Version = "9"; return r }, "version of the path differ"},
		"another tool":    {func(r []provenance.Record) []provenance.Record { r[1].Tool.Digest = digest("f"); return r }, "pathctl differ"},
		"another config":  {func(r []provenance.Record) []provenance.Record { r[2].Config = json.RawMessage(`{}`); return r }, "configuration differ"},
		"another input": {func(r []provenance.Record) []provenance.Record {
			r[2].Inputs = map[string]json.RawMessage{"name": json.RawMessage(`"evil"`)}
			return r
		}, "inputs differ"},
		"a node twice": {func(r []provenance.Record) []provenance.Record { return append(r, r[0]) }, "two of them ran node"},
		"a hosted platform": {func(r []provenance.Record) []provenance.Record {
			return claim(r, provenance.FactHost, provenance.HostGitHub)
		}, "can't vouch"},
		"a control plane": {func(r []provenance.Record) []provenance.Record {
			return claim(r, provenance.FactSource, provenance.SourceControlPlane)
		}, "can't vouch"},
		"a self-hosted platform": {func(r []provenance.Record) []provenance.Record {
			return claim(r, provenance.FactHost, provenance.HostGitHubOther)
		}, "can't vouch"},
		"a producer": {func(r []provenance.Record) []provenance.Record {
			return extra(r, provenance.FactProducer, "https://example.com/me")
		}, "can't vouch"},
		"an issuer": {func(r []provenance.Record) []provenance.Record {
			return extra(r, provenance.FactProducerIssuer, "https://example.com")
		}, "can't vouch"},
		"a run": {func(r []provenance.Record) []provenance.Record {
			return extra(r, provenance.FactRun, "https://example.com/run/1")
		}, "can't vouch"},
		"a weaker fence": {func(r []provenance.Record) []provenance.Record {
			r[2].Facts = provenance.Dagger(provenance.Fence{})
			return r
		}, "not alike"},
	} {
		if _, err := provenance.Merge(c.change(split())); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

// What a zone that ran no user code believes of its container doesn't count.
func TestMergeFacts(t *testing.T) {
	parts := split()
	parts[0].Facts = provenance.Dagger(provenance.Fence{})
	if parts[0].Nodes[0].Zone == step.ZoneBuild {
		t.Fatal("the sample's first node ran user code")
	}
	got, err := provenance.Merge(parts)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample().Record.Facts, got.Facts); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Zones that ran no user code have nothing but their own word.
func TestMergeWithoutBuild(t *testing.T) {
	got, err := provenance.Merge(split()[:1])
	if err != nil || got.Invocation != "a" || len(got.Facts) != len(sample().Record.Facts) {
		t.Errorf("invocation %q, %d facts, %v", got.Invocation, len(got.Facts), err)
	}
}

// A handover may be larger than a record, up to its own limit.
func TestParseHandoverLimit(t *testing.T) {
	spaces := make([]byte, provenance.MaxHandover+1)
	if _, err := provenance.ParseHandover(spaces); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := provenance.ParseHandover(spaces[:provenance.MaxHandover]); err == nil || strings.Contains(err.Error(), "limit") {
		t.Errorf("as long as may be: %v", err)
	}
}

// A Dagger engine is whoever's machine it runs on: the level stays that of a
// workstation, and the builder has a name of its own.
func TestDagger(t *testing.T) {
	b := sample()
	b.Record.Facts = provenance.Dagger(provenance.Fence{Landlock: true, NoNetwork: true})
	p := predicate(t, b)
	if p.RunDetails.Builder.ID != provenance.BuilderDagger {
		t.Errorf("builder %s", p.RunDetails.Builder.ID)
	}
	if level, _ := provenance.Level(p, trusted(provenance.MaxLevel)); level != 1 {
		t.Errorf("level %d, want 1", level)
	}
	own := []string{provenance.FactHost, provenance.FactSource, provenance.FactEphemeral}
	for i, f := range provenance.Workstation(provenance.Fence{Landlock: true, NoNetwork: true}) {
		if (f != b.Record.Facts[i]) != slices.Contains(own, f.Name) {
			t.Errorf("fact %s is %+v on a workstation and %+v in Dagger", f.Name, f, b.Record.Facts[i])
		}
	}
}
