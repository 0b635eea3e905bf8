package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Request is one run of the nodes of a path that lie in some zones.
type Request struct {
	Path paths.Path
	// Inputs are the path's inputs and the host's, by name.
	Inputs map[string]json.RawMessage
	// Zones are the zones to run; nodes in others are left out.
	Zones []step.Zone
	// Seeds are nodes that another process ran, by id.
	Seeds map[string]provenance.NodeRecord
}

// Path runs every node of the requested zones as soon as what it needs is
// there, at most Config.Jobs at once. It returns what it saw of each node that
// ran, in the path's order, and the first error; the others are cancelled.
func (r *Runner) Path(ctx context.Context, req Request) ([]provenance.NodeRecord, error) {
	var nodes []paths.Node
	for _, n := range req.Path.Nodes {
		s, err := r.cfg.Step(n.Step)
		if err != nil {
			return nil, fmt.Errorf("path %s: node %s: %w", req.Path.Name, n.ID, err)
		}
		if slices.Contains(req.Zones, s.Spec().Zone) {
			nodes = append(nodes, n)
		}
	}
	if err := runnable(req, nodes); err != nil {
		return nil, err
	}
	return r.graph(ctx, req, nodes)
}

// runnable fails early, with a name, on a node that could never start.
func runnable(req Request, nodes []paths.Node) error {
	done := map[string]bool{}
	for id := range req.Seeds {
		done[id] = true
	}
	left := slices.Clone(nodes)
	for len(left) > 0 {
		n := len(left)
		left = slices.DeleteFunc(left, func(n paths.Node) bool {
			for _, id := range n.Needs() {
				if !done[id] {
					return false
				}
			}
			done[n.ID] = true
			return true
		})
		if len(left) == n {
			return fmt.Errorf("path %s: node %s waits for %v, which never runs here: the wiring has a cycle or names a node of another zone", req.Path.Name, left[0].ID, left[0].Needs())
		}
	}
	return nil
}

// graph is the scheduler: one goroutine owns all state, workers only run steps.
func (r *Runner) graph(ctx context.Context, req Request, nodes []paths.Node) ([]provenance.NodeRecord, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type finished struct {
		rec provenance.NodeRecord
		err error
	}
	results := make(chan finished)
	done := map[string]provenance.NodeRecord{}
	maps.Copy(done, req.Seeds)
	waiting := slices.Clone(nodes)
	running, first := 0, error(nil)
	for {
		for i := 0; i < len(waiting) && first == nil && running < r.cfg.Jobs; {
			n := waiting[i]
			if !ready(n, done) {
				i++
				continue
			}
			waiting = slices.Delete(waiting, i, i+1)
			in, err := r.wire(req, n, done)
			if err != nil {
				first = &StepError{Node: n.ID, Err: err}
				break
			}
			running++
			go func() {
				rec, err := r.Step(ctx, n.ID, n.Step, in)
				results <- finished{rec, err}
			}()
		}
		if running == 0 {
			break
		}
		f := <-results
		running--
		done[f.rec.ID] = f.rec
		if f.err != nil && first == nil {
			first = f.err
			cancel(errors.New("stopped, because " + f.rec.ID + " failed"))
		}
	}
	if first == nil {
		first = context.Cause(ctx)
	}
	var records []provenance.NodeRecord
	for _, n := range nodes {
		if rec, ok := done[n.ID]; ok {
			records = append(records, rec)
		}
	}
	return records, first
}

func ready(n paths.Node, done map[string]provenance.NodeRecord) bool {
	for _, id := range n.Needs() {
		if _, ok := done[id]; !ok {
			return false
		}
	}
	return true
}

// wire collects the inputs of one node.
func (r *Runner) wire(req Request, n paths.Node, done map[string]provenance.NodeRecord) (json.RawMessage, error) {
	s, err := r.cfg.Step(n.Step)
	if err != nil {
		return nil, err
	}
	spec := s.Spec()
	in := map[string]json.RawMessage{}
	for name, w := range n.With {
		f, ok := spec.Input(name)
		if !ok {
			return nil, fmt.Errorf("step %s has no input %q", n.Step, name)
		}
		switch {
		case w.Node != "":
			var out map[string]json.RawMessage
			if err := json.Unmarshal(done[w.Node].Output, &out); err != nil {
				return nil, fmt.Errorf("output of %s: %w", w.Node, err)
			}
			v, ok := out[w.Output]
			if !ok {
				return nil, fmt.Errorf("input %q: node %s gave no output %q", name, w.Node, w.Output)
			}
			in[name] = v
		case w.Input != "":
			if v, ok := req.Inputs[w.Input]; ok {
				in[name] = v
			}
		case w.Reports:
			dir, err := r.reports(n.ID, done)
			if err != nil {
				return nil, fmt.Errorf("collect reports: %w", err)
			}
			if in[name], err = json.Marshal(dir); err != nil {
				return nil, err
			}
		default:
			if in[name], err = step.Parse(f, w.Value); err != nil {
				return nil, err
			}
		}
	}
	return json.Marshal(in)
}

// reports writes the unsigned evidence of the producer's finished nodes, one
// file each, for the step that hands it over.
func (r *Runner) reports(id string, done map[string]provenance.NodeRecord) (string, error) {
	dir := filepath.Join(r.work, id+".reports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	var ids []string
	for id, rec := range done {
		if rec.Zone.Producer() && len(rec.Evidence) > 0 {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	for _, id := range ids {
		raw, err := json.Marshal(map[string]any{"step": done[id].Step, "evidence": withSubject(done[id])})
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, id+".json"), raw, 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// withSubject spells out the subject that nil stands for.
func withSubject(rec provenance.NodeRecord) []step.Evidence {
	evs := slices.Clone(rec.Evidence)
	for i := range evs {
		if evs[i].Subject == nil {
			s := rec.Subject
			evs[i].Subject = &s
		}
	}
	return evs
}
