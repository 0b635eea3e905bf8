package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/internal/nearest"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/run/host"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/telemetry"
)

// zoneFlags are the flags of zone: a producer's, so none of them names a key.
type zoneFlags struct {
	path string
	from []string
	only []string
	skip []string
	out  string
	// digestFile is where the image's digest goes as well.
	digestFile string
	jobs       int
	timeout    time.Duration
	source     host.Source
	inputs     map[string]*string
}

func newZone(a *app) *cobra.Command {
	f := &zoneFlags{inputs: map[string]*string{}}
	zones := []string{string(step.ZoneFetch), string(step.ZoneBuild), string(step.ZonePublish)}
	cmd := &cobra.Command{
		Use:   "zone ZONE [SOURCE]",
		Short: "Run one zone of the producer, where each zone has a container of its own",
		Long: `Zone runs the steps of a path that belong to one zone, fetch, build or publish,
and hands over what they made: a folder with a record and files by digest. The
next zone takes it with --from and checks every file; attest takes all of them.

This is how container platforms run a path that pathctl ship runs in one go. The
first zone reads the source and paths.yaml; later ones know both from the record.`,
		Example: `  pathctl zone fetch . --revision "$(git rev-parse HEAD)" --out /out/fetch
  pathctl zone build --from /out/fetch --out /out/build
  pathctl zone publish --from /out/fetch --from /out/build --out /out/publish
  pathctl attest --from /out/fetch --from /out/build --from /out/publish --to HOST/REPO:TAG`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return zones, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(zones, args[0]) {
				return step.Usagef("zone %.40q is not the producer's: give one of %s", args[0], strings.Join(zones, ", "))
			}
			return a.zone(cmd.Context(), step.Zone(args[0]), args[1:], f, a.changed(cmd, f.inputs))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.path, "path", "", "path to run; paths.yaml's, or microservice")
	fl.StringArrayVar(&f.from, "from", nil, "folder that a zone before handed over; may be repeated")
	fl.StringSliceVar(&f.only, "only", nil, "run these nodes of the zone alone")
	fl.StringSliceVar(&f.skip, "skip", nil, "leave out these nodes of the zone; another container runs them")
	fl.StringVar(&f.out, "out", "", "new folder to hand over what this zone made")
	fl.StringVar(&f.digestFile, "digest-file", "", "file to write the image's digest to as well, without a line's end; of the zones that have an image")
	fl.IntVar(&f.jobs, "jobs", 0, "how many steps run at once; one for each processor when 0")
	fl.DurationVar(&f.timeout, "timeout", time.Hour, "time limit of the whole zone")
	fl.StringVar(&f.source.Revision, "revision", "", "commit of the source; what git says when empty")
	fl.StringVar(&f.source.Repository, "repository", "", "URL of the source's repository; what git says when empty")
	fl.StringVar(&f.source.Created, "created", "", "time of the commit in RFC 3339; what git says when empty")
	fl.BoolVar(&f.source.Dirty, "dirty", false, "the source differs from its revision")
	_ = cmd.MarkFlagRequired("out")
	addInputs(cmd, f.inputs)
	return cmd
}

func (a *app) zone(ctx context.Context, zone step.Zone, args []string, f *zoneFlags, given map[string]string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("the time limit of %s is over; --timeout sets another", f.timeout))
	defer cancel()
	ctx, flush, err := telemetry.Setup(ctx, version, a.host.OTLPEndpoint, a.host.Traceparent, a.host.Tracestate)
	if err != nil {
		return err
	}
	defer func() { _ = flush(context.WithoutCancel(ctx)) }()
	show := newProgress(a, "zone "+string(zone))
	defer show.close()
	r, err := a.runner(f.jobs, false, "", show.observe)
	if err != nil {
		return err
	}
	defer r.Close()

	var pl plan
	var inputs map[string]json.RawMessage
	seeds := map[string]provenance.NodeRecord{}
	switch {
	case zone == step.ZoneFetch && len(f.from) > 0:
		return step.Usagef("--from: zone %s is the first; give it the source", zone)
	case zone == step.ZoneFetch:
		src := "."
		if len(args) > 0 {
			src = args[0]
		}
		if pl, err = a.resolve(src, f.path, given); err != nil {
			return err
		}
		inputs, err = a.givenInputs(ctx, pl, f.source)
	case len(args) > 0 || len(given) > 0 || f.path != "" || f.source != (host.Source{}):
		return step.Usagef("zone %s takes source, path and inputs from the record that --from names: leave them out", zone)
	default:
		pl, inputs, seeds, err = a.takeOver(r, f.from)
	}
	if err != nil {
		return err
	}
	if pl.path.Nodes, err = chosen(pl.path, f.only, f.skip); err != nil {
		return err
	}
	ctx, span := telemetry.Pipeline(ctx, pl.path.Name, r.ID())
	if a.host.Dagger && zone == step.ZonePublish {
		// The containers of zone build have no network, so no way to report spans.
		for _, n := range seeds {
			if n.Zone == step.ZoneBuild {
				telemetry.Past(ctx, n.ID, r.ID(), string(n.Zone), n.StartedOn, n.FinishedOn)
			}
		}
	}
	nodes, err := r.Path(ctx, run.Request{Path: pl.path, Inputs: inputs, Zones: []step.Zone{zone}, Seeds: seeds})
	telemetry.End(span, false, err)
	if err != nil {
		return err
	}
	rec, err := a.handover(pl, inputs, r, nodes)
	if err != nil {
		return err
	}
	if err := r.HandOver(f.out, rec); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	if f.digestFile != "" {
		image, err := builtImage(rec, seeds)
		if err != nil {
			return err
		}
		if err := writeFile(f.digestFile, []byte(image), 0o644); err != nil {
			return fmt.Errorf("--digest-file: %w", err)
		}
	}
	show.close()
	return a.print(rec, func(w io.Writer) {
		for _, n := range nodes {
			fmt.Fprintf(w, "%-10s %s %s\n", n.ID, n.Subject.Name, n.Subject.Digest)
		}
	})
}

// builtImage is the image that the zones have made so far.
func builtImage(rec provenance.Record, seeds map[string]provenance.NodeRecord) (step.Digest, error) {
	for _, n := range slices.Concat(rec.Nodes, slices.Collect(maps.Values(seeds))) {
		if n.Step == "build" {
			return n.Subject.Digest, nil
		}
	}
	return "", step.Usagef("--digest-file: no zone has made an image yet")
}

// chosen are the nodes of a path that --only and --skip leave.
func chosen(p paths.Path, only, skip []string) ([]paths.Node, error) {
	var ids []string
	for _, n := range p.Nodes {
		ids = append(ids, n.ID)
	}
	for _, id := range slices.Concat(only, skip) {
		if !slices.Contains(ids, id) {
			return nil, step.Usagef("path %s has no node %q; %s", p.Name, id, nearest.Hint(id, ids))
		}
	}
	return slices.DeleteFunc(slices.Clone(p.Nodes), func(n paths.Node) bool {
		return slices.Contains(skip, n.ID) || len(only) > 0 && !slices.Contains(only, n.ID)
	}), nil
}

// givenInputs are the host's inputs, where flags go before what git says.
func (a *app) givenInputs(ctx context.Context, pl plan, s host.Source) (map[string]json.RawMessage, error) {
	if s.Created != "" {
		// In one form, so that every host gives the same digest for the same time.
		t, err := step.Time("created", s.Created)
		if err != nil {
			return nil, err
		}
		s.Created = t.Format(time.RFC3339)
	}
	inputs, err := a.hostInputs(ctx, pl)
	if err != nil {
		return nil, err
	}
	for name, v := range map[string]string{"revision": s.Revision, "repository": s.Repository, "created": s.Created} {
		if v == "" {
			continue
		}
		if inputs[name], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	if s.Dirty {
		inputs["dirty"] = json.RawMessage("true")
	}
	return inputs, nil
}

// takeOver reads what the zones before handed over: the path with its inputs, and
// the nodes that have run.
func (a *app) takeOver(r *run.Runner, from []string) (plan, map[string]json.RawMessage, map[string]provenance.NodeRecord, error) {
	var pl plan
	rec, err := mergeHandovers(r, from)
	if err != nil {
		return pl, nil, nil, err
	}
	if pl.path, err = catalog.Path(rec.Path); err != nil {
		return pl, nil, nil, err
	}
	if pl.path.Version != rec.Version {
		return pl, nil, nil, step.Usagef("the zones before ran version %s of path %s; this pathctl has %s: run all zones with the same one", rec.Version, rec.Path, pl.path.Version)
	}
	if len(rec.Config) > 0 && string(rec.Config) != "null" {
		if pl.service, err = service.Parse(rec.Config); err != nil {
			return pl, nil, nil, err
		}
		if pl.path, err = service.Graph(pl.path, pl.service); err != nil {
			return pl, nil, nil, err
		}
	}
	inputs := map[string]json.RawMessage{}
	for _, f := range slices.Concat(pl.path.Inputs, paths.HostInputs()) {
		if v, ok := rec.Inputs[f.Name]; ok {
			inputs[f.Name] = v
		}
	}
	seeds := map[string]provenance.NodeRecord{}
	for _, n := range rec.Nodes {
		seeds[n.ID] = n
	}
	return pl, inputs, seeds, nil
}

func mergeHandovers(r *run.Runner, from []string) (provenance.Record, error) {
	if len(from) == 0 {
		return provenance.Record{}, step.Usagef("--from is missing: give the folders that the zones before handed over")
	}
	var records []provenance.Record
	for _, dir := range from {
		rec, err := r.TakeOver(dir)
		if err != nil {
			return rec, err
		}
		records = append(records, rec)
	}
	return provenance.Merge(records)
}
