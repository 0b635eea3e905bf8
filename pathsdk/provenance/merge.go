package provenance

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// ParseHandover reads the record of some nodes as a zone hands it over: as
// ParseRecord, but it may hold unsigned evidence, and so be larger.
func ParseHandover(b []byte) (Record, error) { return parse(b, MaxHandover) }

// Merge makes one record of those that the zones of one run wrote, each in a
// container of its own. They must be of the same path with the same inputs, and
// by the same pathctl; each node may stand in one of them only. The invocation is
// that of the container that built the image. The facts are those of the
// containers that ran user code, which must agree; others know nothing of it.
func Merge(records []Record) (Record, error) {
	var m Record
	if len(records) == 0 {
		return m, errors.New("there is no record of any zone")
	}
	m = records[0]
	m.Invocation, m.Facts, m.Nodes = "", nil, nil
	seen := map[string]bool{}
	for _, r := range records {
		for _, same := range []struct {
			what string
			a, b any
		}{
			{"path", m.Path, r.Path}, {"version of the path", m.Version, r.Version}, {"pathctl", m.Tool, r.Tool},
			{"inputs", m.Inputs, r.Inputs}, {"configuration", m.Config, r.Config},
		} {
			if !reflect.DeepEqual(same.a, same.b) {
				return m, fmt.Errorf("the zones do not belong to one run: the %s differ (%.200v, %.200v)", same.what, same.a, same.b)
			}
		}
		if err := r.CheckReported(); err != nil {
			return m, err
		}
		for _, n := range r.Nodes {
			if seen[n.ID] {
				return m, fmt.Errorf("the zones do not belong to one run: two of them ran node %s", n.ID)
			}
			seen[n.ID] = true
			m.Nodes = append(m.Nodes, n)
		}
		if slices.ContainsFunc(r.Nodes, func(n NodeRecord) bool { return n.Step == "build" }) {
			m.Invocation = r.Invocation
		}
		if !slices.ContainsFunc(r.Nodes, func(n NodeRecord) bool { return n.Zone == step.ZoneBuild }) {
			continue
		}
		if m.Facts != nil && !reflect.DeepEqual(m.Facts, r.Facts) {
			return m, fmt.Errorf("the containers that ran user code were not alike (%v, %v): run all of them on one engine", m.Facts, r.Facts)
		}
		m.Facts = r.Facts
	}
	if m.Invocation == "" {
		m.Invocation = records[0].Invocation
	}
	if m.Facts == nil {
		m.Facts = records[0].Facts
	}
	return m, nil
}

// CheckReported refuses a record that says more of itself than a runner knows:
// whoever broke out of a fence could write one. No platform vouches for what was
// handed over; an attester asks the platform itself.
func (r Record) CheckReported() error {
	if len(r.Platform) > 0 || len(r.Parameters) > 0 {
		return errors.New("the record says what its platform used, or was given: a record that was handed over can't vouch for that")
	}
	for _, f := range r.Facts {
		more := false
		switch f.Name {
		case FactHost:
			more = f.Value != HostWorkstation && f.Value != HostDagger
		case FactSource:
			more = f.Value != SourceRunner
		case FactProducer, FactProducerIssuer, FactRun, FactNode:
			more = true
		}
		if more {
			return fmt.Errorf("the record says that %s is %.200s: a record that was handed over can't vouch for that", f.Name, f.Value)
		}
	}
	return nil
}
