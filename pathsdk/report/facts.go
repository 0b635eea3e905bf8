package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// testRow is one test result. The evidence is about the source, so the same one
// hangs on every image, and is shown once.
type testRow struct {
	Suite, Result, Coverage  string
	Tone                     string
	PassedCount, FailedCount int
	Passed, Failed, Warned   []string
	More                     int // names of passed tests that are not listed
}

func (r *reading) test(raw json.RawMessage) (string, error) {
	p, err := evidence.ParseTestResult(raw)
	if err != nil {
		return "", err
	}
	t := testRow{Result: strings.ToLower(p.Result), Tone: "good", PassedCount: len(p.PassedTests), FailedCount: len(p.FailedTests), Passed: p.PassedTests, Failed: p.FailedTests, Warned: p.WarnedTests}
	switch p.Result {
	case evidence.TestsFailed:
		t.Tone = "bad"
	case evidence.TestsWarned:
		t.Tone = "warn"
	}
	var suites []string
	for _, c := range p.Configuration {
		if s, ok := c.Annotations["coverage"].(string); ok {
			t.Coverage = s
		}
		// Files and tools that configured the run have a digest and no content.
		if len(c.Content) > 0 || len(c.Annotations) > 0 || c.URI != "" {
			suites = append(suites, c.Name)
		}
	}
	if len(suites) == 0 {
		suites = append(suites, p.Configuration[len(p.Configuration)-1].Name)
	}
	t.Suite = cmp.Or(strings.Join(suites, ", "), "tests")
	if len(t.Passed) > maxListed {
		t.Passed, t.More = t.Passed[:maxListed], len(t.Passed)-maxListed
	}
	t.Failed, t.Warned = t.Failed[:min(len(t.Failed), maxListed)], t.Warned[:min(len(t.Warned), maxListed)]
	if !r.seen[string(raw)] {
		r.seen[string(raw)] = true
		r.tests = append(r.tests, t)
	}
	says := fmt.Sprintf("%s: %s", t.Suite, strings.ToLower(p.Result))
	if n := len(p.PassedTests) + len(p.FailedTests) + len(p.WarnedTests); n > 0 {
		says += ", " + count(n, "test", "tests")
	}
	return says, nil
}

// secretTable is what the secret scans looked at and found.
type secretTable struct {
	Scanned bool
	Looked  []string
	Rows    []secretRow
	More    int
}

type secretRow struct{ Rule, Title, Severity, Where, On string }

func (r *reading) secretScan(raw json.RawMessage, on string) (string, error) {
	p, err := evidence.ParseSCAI(raw)
	if err != nil {
		return "", err
	}
	found := 0
	for _, a := range p.Attributes {
		c, err := json.Marshal(a.Conditions)
		if err != nil {
			return "", err
		}
		var s struct {
			Secrets []struct {
				Rule, Severity, Title, Target, File string
				Line                                int
			}
			Image, Source struct {
				Files     int
				Truncated bool
			}
		}
		if err := json.Unmarshal(c, &s); err != nil {
			return "", fmt.Errorf("conditions of %s: %w", a.Attribute, err)
		}
		r.secrets.Scanned = true
		looked := fmt.Sprintf("%s: %s of the image, %s of the source", on, count(s.Image.Files, "file", "files"), number(s.Source.Files))
		if s.Image.Truncated || s.Source.Truncated {
			looked += "; a limit ended the scan early"
		}
		r.secrets.Looked = append(r.secrets.Looked, looked)
		slices.Sort(r.secrets.Looked)
		for _, x := range s.Secrets {
			found++
			where := x.File
			if x.Line > 0 {
				where = fmt.Sprintf("%s:%d", x.File, x.Line)
			}
			r.secrets.add(secretRow{x.Rule, x.Title, x.Severity, strings.TrimSpace(x.Target + " " + where), on})
		}
	}
	return count(found, "secret", "secrets") + " found", nil
}

// add makes one row of what was found on several platforms, such as everything in
// the source.
func (t *secretTable) add(row secretRow) {
	for i := range t.Rows {
		x := &t.Rows[i]
		if x.Rule == row.Rule && x.Title == row.Title && x.Severity == row.Severity && x.Where == row.Where {
			x.On = addPlatform(x.On, row.On)
			return
		}
	}
	if len(t.Rows) == maxListed {
		t.More++
		return
	}
	t.Rows = append(t.Rows, row)
}

// origin is what provenance says: where the image comes from.
type origin struct {
	Known                    bool
	Path, Version            string
	Revision, Repository     string
	Dirty                    bool
	Source                   string
	Builder, BuilderVersion  string
	BuildType, Invocation    string
	Started, Finished        moment
	Facts                    []factRow
	Inputs                   []inputRow
	Dependencies             []dependencyRow
	DependencyCount, Modules int
}

type factRow struct{ Name, Value, How string }

type inputRow struct{ Name, Value string }

type dependencyRow struct{ Name, URI, Digest string }

func (r *reading) provenance(raw json.RawMessage, ofImage bool) (string, error) {
	p, err := evidence.ParseProvenance(raw)
	if err != nil {
		return "", err
	}
	o := originOf(p)
	// That of the image itself is shown; those of platforms are of the same run.
	if ofImage || !r.origin.Known {
		r.origin = o
	}
	from := "of a source without version control"
	if o.Revision != "" {
		from = "from revision " + fit(o.Revision, 13)
	}
	return fmt.Sprintf("built %s, with %s", from, count(o.DependencyCount, "input by digest", "inputs by digest")), nil
}

func originOf(p evidence.ProvenanceV1) origin {
	def, run := p.BuildDefinition, p.RunDetails
	o := origin{
		Known: true, Builder: run.Builder.ID, BuildType: def.BuildType,
		Path: text(def.ExternalParameters["path"]), Version: text(def.ExternalParameters["version"]),
		DependencyCount: len(def.ResolvedDependencies),
	}
	for _, name := range slices.Sorted(maps.Keys(run.Builder.Version)) {
		o.BuilderVersion = strings.TrimSpace(o.BuilderVersion + " " + name + " " + run.Builder.Version[name])
	}
	if m := run.Metadata; m != nil {
		o.Invocation = m.InvocationID
		if m.StartedOn != nil {
			o.Started = momentOf(*m.StartedOn)
		}
		if m.FinishedOn != nil {
			o.Finished = momentOf(*m.FinishedOn)
		}
	}
	var inputs map[string]json.RawMessage
	if json.Unmarshal(def.ExternalParameters["inputs"], &inputs) == nil {
		for _, name := range slices.Sorted(maps.Keys(inputs)) {
			o.Inputs = append(o.Inputs, inputRow{name, text(inputs[name])})
		}
	}
	o.Inputs = o.Inputs[:min(len(o.Inputs), maxListed)]
	o.Repository, o.Revision = text(inputs["repository"]), text(inputs["revision"])
	o.Dirty = text(inputs["dirty"]) == "true"
	// What can't be read stays empty; the level says that facts are missing.
	_ = json.Unmarshal(def.InternalParameters["facts"], &o.Facts)
	o.Facts = o.Facts[:min(len(o.Facts), maxListed)]
	for _, d := range def.ResolvedDependencies {
		o.dependency(d)
	}
	return o
}

func (o *origin) dependency(d evidence.ResourceDescriptor) {
	row := dependencyRow{Name: d.Name, URI: d.URI}
	for _, alg := range slices.Sorted(maps.Keys(d.Digest)) {
		row.Digest = strings.TrimSpace(row.Digest + " " + alg + ":" + d.Digest[alg])
	}
	switch {
	case d.Name == "source":
		o.Source = row.Digest
	case d.Name == "revision" && o.Revision == "":
		o.Revision = d.Digest["gitCommit"]
	case d.Digest["dirHash"] != "":
		o.Modules++
	}
	if len(o.Dependencies) < maxDependencies {
		o.Dependencies = append(o.Dependencies, row)
	}
}
