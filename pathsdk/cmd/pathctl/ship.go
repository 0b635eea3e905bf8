package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/gen"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/telemetry"
)

// shipFlags are the flags of ship. None of them names a key: ship belongs to
// the producer, and a test holds it to that.
type shipFlags struct {
	path    string
	to      string
	jobs    int
	noCache bool
	policy  policyFlags
	layout  string
	timeout time.Duration
	inputs  map[string]*string
}

func newShip(a *app) *cobra.Command {
	f := &shipFlags{inputs: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "ship [SOURCE]",
		Short: "Take a service from source to a tested, signed, verified image",
		Long: `Ship runs the service's path: fetch, test, build and publish as the producer,
then attest and verify, each as a process of its own with its own key.

The image and its evidence go into an OCI layout, SOURCE/.paths/store, or into
a registry with --to. Running ship again does only what has changed.`,
		Example: `  pathctl ship .
  pathctl ship . --to registry.example.com/team/orders:v1
  pathctl ship . --platforms linux/amd64,linux/arm64 --vuln-db ./trivy-db`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			src := "."
			if len(args) > 0 {
				src = args[0]
			}
			return a.ship(cmd.Context(), src, f, a.changed(cmd, f.inputs))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.path, "path", "", "path to run; paths.yaml's, or microservice")
	fl.StringVar(&f.to, "to", "", "where the image goes: HOST/REPO[:TAG] or oci:DIR[:TAG]; SOURCE/.paths/store when empty")
	fl.IntVar(&f.jobs, "jobs", 0, "how many steps run at once; one for each processor when 0")
	fl.BoolVar(&f.noCache, "no-cache", false, "run every step, even if nothing has changed")
	addLayout(cmd, &f.layout)
	fl.DurationVar(&f.timeout, "timeout", time.Hour, "time limit of the whole run")
	f.policy.add(cmd)
	addInputs(cmd, f.inputs)
	return cmd
}

// addInputs makes a flag of every input of every path that all of only hold for.
func addInputs(cmd *cobra.Command, into map[string]*string, only ...func(step.Field) bool) {
	for _, p := range catalog.Paths() {
		for _, in := range p.Inputs {
			if into[in.Name] != nil || slices.ContainsFunc(only, func(f func(step.Field) bool) bool { return !f(in) }) {
				continue
			}
			into[in.Name] = cmd.Flags().String(step.Flag(in.Name), "", in.Help)
			cmd.Flags().Lookup(step.Flag(in.Name)).DefValue = in.Default
			if len(in.Enum) > 0 {
				_ = cmd.RegisterFlagCompletionFunc(step.Flag(in.Name), cobra.FixedCompletions(in.Enum, cobra.ShellCompDirectiveNoFileComp))
			}
		}
	}
}

// changed returns the inputs that were given as flags.
func (a *app) changed(cmd *cobra.Command, inputs map[string]*string) map[string]string {
	given := map[string]string{}
	for name, v := range inputs {
		if cmd.Flags().Changed(step.Flag(name)) && (*v != "" || !a.host.Tekton) {
			given[name] = *v
		}
	}
	return given
}

// plan is what ship would run: the graph with its inputs resolved.
type plan struct {
	source  string // absolute
	service service.Service
	path    paths.Path
	inputs  map[string]json.RawMessage // the path's own
}

// resolve reads paths.yaml and flags; it runs nothing.
func (a *app) resolve(src, pathName string, given map[string]string) (plan, error) {
	abs, err := filepath.Abs(src)
	if err != nil {
		return plan{}, err
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return plan{}, step.Usagef("source %s is not a folder: give the folder of the service, such as .", src)
	}
	svc, err := service.Load(abs)
	if err != nil {
		return plan{}, err
	}
	if pathName != "" {
		svc.Path = pathName
	}
	p, err := catalog.Path(svc.Path)
	if err != nil {
		return plan{}, err
	}
	gates, err := gen.Gates(p.Policy)
	if err != nil {
		return plan{}, err
	}
	if err := svc.CheckGates(p, gates); err != nil {
		return plan{}, err
	}
	if p, err = service.Graph(p, svc); err != nil {
		return plan{}, err
	}
	inputs, err := service.Resolve(p, svc, given)
	if err != nil {
		return plan{}, err
	}
	return plan{source: abs, service: svc, path: p, inputs: inputs}, nil
}

// hostInputs adds what the host knows: revision, time, module proxies.
func (a *app) hostInputs(ctx context.Context, pl plan) (map[string]json.RawMessage, error) {
	s, err := a.host.Source(ctx, pl.source)
	if err != nil {
		return nil, err
	}
	g, err := a.host.Go(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	for k, v := range pl.inputs {
		all[k] = v
	}
	for k, v := range map[string]any{
		"source": pl.source, "revision": s.Revision, "repository": s.Repository, "dirty": s.Dirty, "created": s.Created,
		"goproxy": g.Proxy, "goprivate": g.Private, "gosumdb": g.SumDB, "go": g.Command,
	} {
		if all[k], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (a *app) ship(ctx context.Context, src string, f *shipFlags, given map[string]string) error {
	if err := checkLayout(f.layout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("the time limit of %s is over; --timeout sets another", f.timeout))
	defer cancel()
	ctx, flush, err := telemetry.Setup(ctx, version, a.host.OTLPEndpoint, a.host.Traceparent, a.host.Tracestate)
	if err != nil {
		return err
	}
	defer func() { _ = flush(context.WithoutCancel(ctx)) }()

	pl, err := a.resolve(src, f.path, given)
	if err != nil {
		return err
	}
	if f.to != "" { // the attester reads it, after the build
		if _, err := oci.ParseLocator(namedLater(f.to)); err != nil {
			return err
		}
	}
	inputs, err := a.hostInputs(ctx, pl)
	if err != nil {
		return err
	}
	show := newProgress(a, "ship "+filepath.Base(pl.source))
	defer show.close()
	out, err := newOutFolder(pl.source)
	if err != nil {
		return err
	}
	runner, err := a.runner(f.jobs, f.noCache, out.reports(), show.observe)
	if err != nil {
		return err
	}
	defer runner.Close()
	ctx, span := telemetry.Pipeline(ctx, pl.path.Name, runner.ID())
	res, err := a.shipPath(ctx, pl, inputs, f, out, runner, show)
	telemetry.End(span, false, err)
	if err != nil {
		return err
	}
	show.close()
	if err := a.print(res, res.text); err != nil {
		return err
	}
	return gateOf(res.verdict)
}

// shipPath runs the producer's zones in this process, and the attester and the
// verifier as processes of their own.
func (a *app) shipPath(ctx context.Context, pl plan, inputs map[string]json.RawMessage, f *shipFlags, out outFolder, runner *run.Runner, show *progress) (shipResult, error) {
	started := time.Now()
	var res shipResult
	records, err := runner.Path(ctx, run.Request{
		Path: pl.path, Inputs: inputs, Zones: []step.Zone{step.ZoneFetch, step.ZoneBuild, step.ZonePublish},
	})
	if err != nil {
		return res, err
	}
	record, err := a.record(pl, inputs, runner, records)
	if err != nil {
		return res, err
	}
	raw, err := out.keepRecord(record, a.host.Home)
	if err != nil {
		return res, err
	}
	// A file of this run's own: another run of the same service may write its
	// record meanwhile.
	kept := filepath.Join(runner.Work(), "run.json")
	if err := os.WriteFile(kept, raw, 0o600); err != nil {
		return res, fmt.Errorf("write the run's record: %w", err)
	}
	published, err := publishedBy(records)
	if err != nil {
		return res, err
	}
	to := f.to
	if to == "" {
		to = "oci:" + shortest(out.store())
	}
	shipped, err := a.attestChild(ctx, show, attestRequest{
		Published: published, Inputs: inputs, Path: pl.path.Name, Record: kept, To: to, Layout: f.layout, NoCache: f.noCache,
	}, runner)
	if err != nil {
		return res, err
	}
	verdict, err := a.verifyChild(ctx, show, shipped.Reference, pl, f.policy, out)
	if err != nil {
		return res, err
	}
	return shipResult{
		Reference: shipped.Reference, Digest: verdict.Digest, Passed: verdict.Passed, Level: verdict.Level,
		Findings: verdict.Findings, Waivers: verdict.Waivers, KEV: verdict.KEV, Evidence: verdict.Evidence, Database: shipped.Database,
		Report: shortest(out.report()), Elapsed: time.Since(started).Round(time.Millisecond).String(), Nodes: show.summary(),
		verdict: verdict,
	}, nil
}

// shipResult is what ship prints.
type shipResult struct {
	Reference string                  `json:"reference"`
	Digest    step.Digest             `json:"digest"`
	Passed    bool                    `json:"passed"`
	Level     policy.Level            `json:"level"`
	Findings  []policy.Finding        `json:"findings"`
	Waivers   []policy.Waiver         `json:"waivers"`
	KEV       string                  `json:"kev"`
	Evidence  []policy.EvidenceStatus `json:"evidence"`
	Database  string                  `json:"database"`
	Report    string                  `json:"report"`
	Elapsed   string                  `json:"elapsed"`
	Nodes     []nodeSummary           `json:"nodes"`

	verdict policy.Verdict
}

func (r shipResult) text(w io.Writer) {
	var ran, cached []string
	for _, n := range r.Nodes {
		if n.Result == run.Cached {
			cached = append(cached, n.Node)
		} else {
			ran = append(ran, n.Node)
		}
	}
	if len(cached) > 0 {
		fmt.Fprintf(w, "unchanged  %s\n", strings.Join(cached, ", "))
	}
	if len(ran) > 0 {
		fmt.Fprintf(w, "ran        %s\n", strings.Join(ran, ", "))
	}
	fmt.Fprintf(w, "image      %s\n", r.Reference)
	fmt.Fprintf(w, "digest     %s\n", r.Digest)
	fmt.Fprintf(w, "database   %s\n", r.Database)
	writeVerdict(w, r.Passed, r.Level, r.Findings, r.Waivers, r.KEV)
	fmt.Fprintf(w, "report     %s\n", r.Report)
	fmt.Fprintf(w, "took       %s\n", r.Elapsed)
}

// runner makes a runner of the catalog's steps.
func (a *app) runner(jobs int, noCache bool, reports string, observe func(run.Event)) (*run.Runner, error) {
	tool, err := a.tool()
	if err != nil {
		return nil, err
	}
	return run.New(run.Config{Home: a.host.Home, Self: a.host.Self, Step: stepNamed, Jobs: jobs, NoCache: noCache, Reports: reports, Tool: tool, Observe: observe,
		Dagger: a.host.Dagger, HTTP: &http.Client{Transport: a.transport()}})
}

// published is what the publish node hands to the attester.
type published struct {
	Staging step.Dir    `json:"staging"`
	Image   step.Digest `json:"image"`
	Claims  step.Digest `json:"claims"`
}

func publishedBy(records []provenance.NodeRecord) (published, error) {
	i := slices.IndexFunc(records, func(r provenance.NodeRecord) bool { return r.Zone == step.ZonePublish })
	if i < 0 {
		return published{}, fmt.Errorf("the path has no node in zone %s", step.ZonePublish)
	}
	var p published
	if err := json.Unmarshal(records[i].Output, &p); err != nil {
		return p, fmt.Errorf("output of %s: %w", records[i].ID, err)
	}
	return p, nil
}
