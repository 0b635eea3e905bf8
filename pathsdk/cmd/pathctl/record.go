package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// record is what this process, which runs no user code and holds no key, saw of
// the producer: the system of record that provenance is observed in.
func (a *app) record(pl plan, inputs map[string]json.RawMessage, r *run.Runner, nodes []provenance.NodeRecord) (provenance.Record, error) {
	rec, err := a.handover(pl, inputs, r, nodes)
	if err != nil {
		return rec, err
	}
	return observed(rec)
}

// observed is a record as provenance is observed in it: without files of this
// machine, and without evidence, which is handed over as claims.
func observed(rec provenance.Record) (provenance.Record, error) {
	for i := range rec.Nodes {
		n := &rec.Nodes[i]
		spec, err := specOf(n.Step)
		if err != nil {
			return rec, err
		}
		n.Output, n.Evidence = pathless(spec, n.Output), nil
		if n.Zone == step.ZoneFetch {
			// The source is what was fetched of it, whatever its folder holds now.
			if rec.Inputs["source"], err = json.Marshal(n.Subject.Digest); err != nil {
				return rec, err
			}
		}
	}
	return rec, nil
}

// handover is the record of some nodes with all that they gave.
func (a *app) handover(pl plan, inputs map[string]json.RawMessage, r *run.Runner, nodes []provenance.NodeRecord) (provenance.Record, error) {
	tool, err := a.tool()
	if err != nil {
		return provenance.Record{}, err
	}
	rec := provenance.Record{
		Path: pl.path.Name, Version: pl.path.Version, Invocation: r.ID(), Tool: tool,
		Inputs: map[string]json.RawMessage{}, Facts: r.Facts(),
	}
	if rec.Config, err = pl.service.Config(); err != nil {
		return rec, err
	}
	for _, f := range slices.Concat(pl.path.Inputs, paths.HostInputs()) {
		v, ok := inputs[f.Name]
		if !ok || f.Keyless {
			continue
		}
		if f.Kind == step.KindDir || f.Kind == step.KindFile {
			continue // by digest, among the nodes' files
		}
		if f.Local {
			v = placeless(v)
		}
		rec.Inputs[f.Name] = v
	}
	rec.Nodes = slices.Clone(nodes)
	return rec, nil
}

func specOf(name string) (step.Spec, error) {
	s, err := catalog.Step(name)
	if err != nil {
		return step.Spec{}, err
	}
	return s.Spec(), nil
}

// placeless replaces paths on this machine by their last element.
func placeless(v json.RawMessage) json.RawMessage {
	var list []string
	if json.Unmarshal(v, &list) != nil {
		return v
	}
	changed := false
	for i, s := range list {
		if _, err := os.Stat(s); err == nil || filepath.IsAbs(s) || strings.HasPrefix(s, ".") {
			list[i], changed = "local:"+filepath.Base(s), true
		}
	}
	if !changed {
		return v
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return v
	}
	return raw
}

// pathless drops files and folders from an output; their digests are kept.
func pathless(spec step.Spec, out json.RawMessage) json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(out, &m) != nil {
		return nil
	}
	for _, f := range spec.Outputs {
		if f.Kind == step.KindDir || f.Kind == step.KindFile {
			delete(m, f.Name)
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return raw
}

// tool identifies the running pathctl by its digest. Hashing its 100 MB on every
// run would cost more than everything else, so the digest is remembered for
// this inode, size and change time.
func (a *app) tool() (provenance.Tool, error) {
	t := provenance.Tool{Name: "pathctl", Version: version}
	var st unix.Stat_t
	if err := unix.Stat(a.host.Self, &st); err != nil {
		return t, fmt.Errorf("look at my own binary: %w", err)
	}
	id := fmt.Sprintf("%d:%d:%d:%d:%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	cache := filepath.Join(a.host.Home, "cache", "self.json")
	seen := map[string]step.Digest{}
	if raw, err := os.ReadFile(cache); err == nil && len(raw) < 1<<20 {
		_ = json.Unmarshal(raw, &seen)
	}
	if d, err := step.ParseDigest(string(seen[id])); err == nil {
		t.Digest = d
		return t, nil
	}
	f, err := os.Open(a.host.Self)
	if err != nil {
		return t, fmt.Errorf("digest my own binary: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return t, fmt.Errorf("digest my own binary: %w", err)
	}
	t.Digest = step.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
	if len(seen) > 16 {
		maps.DeleteFunc(seen, func(string, step.Digest) bool { return true })
	}
	seen[id] = t.Digest
	if raw, err := json.Marshal(seen); err == nil {
		_ = writeFile(cache, raw, 0o600) // only a memory: the next run hashes again
	}
	return t, nil
}
