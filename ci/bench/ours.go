package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// ours is pathctl with a home of its own.
type ours struct {
	pathctl string
	home    string
	db      string
	addr    string
	env     []string
}

// shipped is what `pathctl ship` prints, as far as it is needed here.
type shipped struct {
	Reference string
	Passed    bool
	Nodes     []node
}

type node struct {
	Node    string
	Result  string
	Started time.Time
	Elapsed time.Duration
}

// shipRun is one measured ship.
type shipRun struct {
	Ship usage `json:"ship"`
	// Attest is the wall time from the end of the producer's last step to the
	// end of ship: the start of the attester's process, SBOM, scan, provenance,
	// signatures, push, and the verifier's process.
	Attest time.Duration            `json:"attestToEndNs"`
	Nodes  map[string]time.Duration `json:"nodesNs"`
	Cached []string                 `json:"cached,omitempty"`

	reference string
}

func (o *ours) command(name, dir string, args ...string) command {
	return command{name: name, dir: dir, env: o.env, args: append([]string{o.pathctl}, args...)}
}

// ship ships a service to the registry.
func (o *ours) ship(ctx context.Context, s *service) (shipRun, error) {
	start := time.Now()
	u, out, err := run(ctx, o.command("pathctl ship", s.dir, "ship", ".", "--vuln-db", o.db, "--to", o.addr+"/ours/"+s.name+":v1", "--output", "json"))
	if err != nil {
		return shipRun{}, err
	}
	var res shipped
	if err := json.Unmarshal(out, &res); err != nil {
		return shipRun{}, fmt.Errorf("result of pathctl ship: %w", err)
	}
	if !res.Passed {
		return shipRun{}, fmt.Errorf("pathctl ship %s: the policy refused, so there is nothing to compare", s.name)
	}
	r := shipRun{Ship: u, Nodes: map[string]time.Duration{}, reference: res.Reference}
	produced := start
	for _, n := range res.Nodes {
		r.Nodes[n.Node] = n.Elapsed
		if n.Result == "cached" {
			r.Cached = append(r.Cached, n.Node)
		}
		if n.Node == "publish" {
			produced = n.Started.Add(n.Elapsed)
		}
	}
	if produced == start {
		return shipRun{}, fmt.Errorf("pathctl ship %s told of no node publish: the benchmark does not know this path", s.name)
	}
	r.Attest = u.Wall - produced.Sub(start)
	return r, nil
}

// predicate reads verified evidence of an image.
func (o *ours) predicate(ctx context.Context, ref, typ string, into any) error {
	_, out, err := run(ctx, o.command("pathctl evidence get", o.home, "evidence", "get", ref, typ))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("%s evidence of %s: %w", typ, ref, err)
	}
	return nil
}

// verify judges many images in one process.
func (o *ours) verify(ctx context.Context, refs []string) (usage, error) {
	u, out, err := run(ctx, o.command("pathctl verify", o.home, append([]string{"verify", "--output", "json"}, refs...)...))
	if err != nil {
		return u, err
	}
	var verdicts []struct{ Passed bool }
	if err := json.Unmarshal(out, &verdicts); err != nil {
		return u, fmt.Errorf("result of pathctl verify: %w", err)
	}
	if len(verdicts) != len(refs) {
		return u, fmt.Errorf("pathctl verify gave %d verdicts on %d images", len(verdicts), len(refs))
	}
	return u, nil
}

// makeDB makes the small database, where both sides find it: trivy reads DIR/db.
func (o *ours) makeDB(ctx context.Context, advisories, cache string) error {
	o.db = filepath.Join(cache, "db")
	_, _, err := run(ctx, o.command("pathctl vulndb make", o.home, "vulndb", "make", advisories, "--out", o.db))
	return err
}
