package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/report"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newReport(a *app) *cobra.Command {
	f := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "report REF",
		Short: "Write an HTML report about an image: one file, no network",
		Long: `Report verifies an image as verify does, and writes what it found as one HTML page
that needs nothing else: graph, timings, evidence, packages, vulnerabilities, and
the level with its reasons. It is written whether or not the policy passes.`,
		Example: `  pathctl report oci:.paths/store --to report.html`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.verify(cmd.Context(), args[0], f)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"report": f.report, "passed": v.Passed}, func(w io.Writer) {
				fmt.Fprintf(w, "report     %s\n", f.report)
			})
		},
	}
	f.policy.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.report, "to", "report.html", "file to write")
	fl.StringVar(&f.trust, "trust", "", "trust root; HOME/trust.yaml when empty")
	fl.StringVar(&f.timings, "timings", "", "timings of a run (SOURCE/.paths/timings.json)")
	return cmd
}

// writeReport writes a verdict as an HTML page, with the timings of the run that
// made the image if there is a file of them.
func writeReport(file string, v policy.Verdict, timings string) error {
	d := report.Data{Verdict: v, Path: pathOf(v), Steps: map[string]step.Spec{}, Generated: time.Now().UTC()}
	for _, s := range catalog.Steps() {
		spec := s.Spec()
		d.Steps[spec.Name] = spec
	}
	if timings != "" {
		raw, err := bounded.ReadFile(timings, report.MaxTimings)
		if err != nil {
			return step.Usagef("--timings: %w; leave it out for a report without times", err)
		}
		if d.Timings, err = report.ParseTimings(raw); err != nil {
			return step.Usagef("--timings %s: %w; leave it out for a report without times", timings, err)
		}
	}
	var page bytes.Buffer
	if err := report.Write(&page, d); err != nil {
		return err
	}
	return writeFile(file, page.Bytes(), 0o644)
}

// pathOf is the path that made the image, as far as this pathctl knows it: with
// the service's own steps if the provenance names any.
func pathOf(v policy.Verdict) paths.Path {
	var path paths.Path
	for _, p := range catalog.Paths() {
		if p.Policy == v.Policy.Name || path.Name == "" {
			path = p
		}
	}
	for _, e := range v.Evidence {
		if e.Type != evidence.Provenance.URI || e.Subject != v.Digest || e.Status != policy.StatusUsed {
			continue
		}
		p, err := evidence.ParseProvenance(e.Predicate)
		if err != nil {
			break
		}
		params := p.BuildDefinition.ExternalParameters
		var name string
		if json.Unmarshal(params["path"], &name) == nil {
			if known, err := catalog.Path(name); err == nil {
				path = known
			}
		}
		if len(params["config"]) == 0 {
			break
		}
		// What this version of pathctl can't read leaves the path as it is; the
		// report says if it is another one.
		if svc, err := service.Parse(params["config"]); err == nil {
			if g, err := service.Graph(path, svc); err == nil {
				path = g
			}
		}
	}
	return path
}
