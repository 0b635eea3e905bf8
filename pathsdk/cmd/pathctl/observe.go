package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxTekton bounds the files that say which runs are trusted.
const maxTekton = 1 << 20

// fromPipelineRun reads a PipelineRun from the cluster that this is a pod of, refuses it
// unless a trusted pipeline did what it says, and takes over what it hands over.
func (a *app) fromPipelineRun(ctx context.Context, f *attestFlags, r *run.Runner) error {
	namespace, name, ok := strings.Cut(f.observe, "/")
	if !ok {
		return step.Usagef("--observe %s: give NAMESPACE/NAME", f.observe)
	}
	var err error
	if f.trust, err = f.trusted(); err != nil {
		return err
	}
	if f.pipelineRun, err = a.host.Kubernetes.TektonRun(ctx, namespace, name); err != nil {
		return fmt.Errorf("observe %s: %w", f.observe, err)
	}
	if err := f.pipelineRun.Check(f.trust); err != nil {
		return f.refused(err)
	}
	ref := f.pipelineRun.Handover()
	from, err := oci.ParseLocator(ref)
	if err != nil || from.Digest == "" || from.IsLayout() {
		return f.refused(fmt.Errorf("its result %.300q is not what was handed over, by digest", ref))
	}
	s, err := oci.Open(ctx, from, oci.WithTransport(a.transport()))
	if err != nil {
		return err
	}
	if f.from, err = oci.TakeFolders(ctx, s, from.Digest, filepath.Join(r.Work(), "handover")); err != nil {
		return fmt.Errorf("take over %s: %w", ref, err)
	}
	return nil
}

// refused is the refusal of the run, for good.
func (f *attestFlags) refused(err error) error {
	return &step.GateError{Gate: "PipelineRun " + f.observe + " is not attested", Findings: []string{err.Error()},
		Fix: "run a trusted pipeline, by the bundle that the platform names, and change nothing but its parameters"}
}

// observed is the record of the run with what the cluster says of it.
func (f *attestFlags) observed(rec provenance.Record) (provenance.Record, error) {
	if err := sameInputs(f.pipelineRun, rec); err != nil {
		return rec, f.refused(err)
	}
	out, err := f.pipelineRun.Observed(rec, f.trust)
	if err != nil {
		return rec, f.refused(err)
	}
	return out, nil
}

// trusted reads what the platform team says of runs.
func (f *attestFlags) trusted() (provenance.TektonTrust, error) {
	trust := provenance.TektonTrust{UID: f.uid}
	raw, err := bounded.ReadFile(filepath.Join(f.platform, "pipelines"), maxTekton)
	if err != nil {
		return trust, fmt.Errorf("--platform: %w", err)
	}
	trust.Pipelines = trustedBundles(string(raw))
	class, err := bounded.ReadFile(filepath.Join(f.platform, "runtime-class"), maxTekton)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return trust, fmt.Errorf("--platform: %w", err)
	}
	trust.RuntimeClass = strings.TrimSpace(string(class))
	return trust, nil
}

// trustedBundles are the lines of the file pipelines, without comments.
func trustedBundles(text string) (bundles []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			bundles = append(bundles, line)
		}
	}
	return bundles
}

// sameInputs holds the inputs in the record, which the producer wrote, against the
// parameters that the run was given.
func sameInputs(run provenance.TektonRun, rec provenance.Record) error {
	p, err := catalog.Path(rec.Path)
	if err != nil {
		return err
	}
	for _, in := range p.Inputs {
		raw := run.Param(in.Name)
		if raw == nil || in.Local {
			continue // a default, or a place, which the attester has of its own
		}
		value, err := paramValue(in, raw)
		if err != nil {
			return fmt.Errorf("parameter %s: %w", in.Name, err)
		}
		if value != nil && !bytes.Equal(value, rec.Inputs[in.Name]) {
			return fmt.Errorf("it was given %s as %s, and the record says %.200s", in.Name, value, rec.Inputs[in.Name])
		}
	}
	return nil
}

// paramValue is a parameter as an input of the path; nil if it is empty, which leaves
// the input to paths.yaml and its default.
func paramValue(in step.Field, raw json.RawMessage) (json.RawMessage, error) {
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		list = []string{""}
		if err := json.Unmarshal(raw, &list[0]); err != nil {
			return nil, err
		}
	}
	text := strings.Join(list, ",")
	if text == "" {
		return nil, nil
	}
	return step.Parse(in, text)
}
