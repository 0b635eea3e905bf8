// Package sbom is the step that lists what an image is made of. It reads the
// image's own bytes, and the inputs of its build, and writes one SPDX 2.3 and
// one CycloneDX 1.6 document for each platform. The same input gives the same
// bytes. It is the only importer of syft.
package sbom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// version is the step's version, and that of the documents' form.
const version = "1"

// In are the step's inputs.
type In struct {
	Layout       step.Dir    `json:"layout" help:"OCI layout that holds the image"`
	Image        step.Digest `json:"image" help:"digest of the image or image index"`
	Name         string      `json:"name" help:"name of the image"`
	Source       step.Dir    `json:"source" help:"the source that the image was built from; its go.mod and go.sum are read"`
	SourceDigest step.Digest `json:"sourceDigest" help:"digest of the source"`
	Modules      step.File   `json:"modules" help:"modules of the build list, a JSON array of path, version and sum"`
	Created      string      `json:"created" help:"creation time that the documents state, in RFC 3339"`
}

// Out is the step's output.
type Out struct {
	Digest   step.Digest `json:"digest" help:"digest of the image or image index"`
	Name     string      `json:"name" help:"name of the image"`
	SBOMs    step.Dir    `json:"sboms" help:"folder with OS-ARCH.spdx.json and OS-ARCH.cdx.json for each platform"`
	Packages int         `json:"packages" help:"number of different packages in the image, all platforms together"`
	Notes    int         `json:"notes" help:"number of notes in the documents about what could not be examined"`
}

// Subject is the image.
func (o Out) Subject() step.Subject { return step.Subject{Name: o.Name, Digest: o.Digest} }

// New returns the step.
func New() step.Step { return define(catalogers, defaultLimits()) }

// define lets tests leave out a cataloger and lower limits.
func define(cs func() []cataloger, lim limits) step.Step {
	meta := step.Meta{
		Name:     "sbom",
		Version:  version,
		Summary:  "Lists every package in the image and every module of its build, as SPDX and CycloneDX.",
		Proves:   "Which packages the image's bytes contain, and that every Go module that its programs name is among them.",
		Zone:     step.ZoneAttest,
		Evidence: []string{evidence.SPDX.URI, evidence.CycloneDX.URI},
	}
	return step.Define(meta, func(ctx context.Context, env step.Env, in In) (Out, []step.Evidence, error) {
		return run(ctx, env, in, cs, lim)
	})
}

// job is one run of the step: what the documents of all platforms share.
type job struct {
	env        step.Env
	in         In
	created    time.Time
	store      oci.Store
	modules    []pinned
	notes      []note
	catalogers func() []cataloger
	limits     limits
	dir        string
}

// written is one platform's result.
type written struct {
	evidence []step.Evidence
	packages []string
	notes    int
}

func run(ctx context.Context, env step.Env, in In, cs func() []cataloger, lim limits) (Out, []step.Evidence, error) {
	created, err := step.Time("created", in.Created)
	if err != nil {
		return Out{}, nil, err
	}
	modules, notes, err := inputs(ctx, env, in, lim)
	if err != nil {
		return Out{}, nil, err
	}
	layout, err := oci.OpenLayout(string(in.Layout))
	if err != nil {
		return Out{}, nil, err
	}
	images, err := platforms(ctx, layout, in.Image, lim)
	if err != nil {
		return Out{}, nil, err
	}
	j := job{
		env: env, in: in, created: created, store: layout, modules: modules, notes: notes,
		catalogers: cs, limits: lim, dir: filepath.Join(env.Out, "sboms"),
	}
	if err := os.Mkdir(j.dir, 0o755); err != nil {
		return Out{}, nil, fmt.Errorf("make the folder for documents: %w", err)
	}
	results := make([]written, len(images))
	failures := make([]error, len(images))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, env.Jobs))
	for i, d := range images {
		g.Go(func() error {
			var err error
			results[i], err = j.platform(gctx, d)
			// A gate speaks for its platform alone; what the others would say
			// is of use to whoever mends it.
			if gate := (*step.GateError)(nil); errors.As(err, &gate) {
				failures[i] = err
				return nil
			}
			return err
		})
	}
	if err := errors.Join(g.Wait(), join(failures)); err != nil {
		return Out{}, nil, err
	}

	out := Out{Digest: in.Image, Name: clean(in.Name), SBOMs: step.Dir(j.dir)}
	var ev []step.Evidence
	var all []string
	for _, r := range results {
		ev = append(ev, r.evidence...)
		all = append(all, r.packages...)
		out.Notes += r.notes
	}
	slices.Sort(all)
	out.Packages = len(slices.Compact(all))
	return out, ev, nil
}

// inputs reads what is known of the build, apart from the image.
func inputs(ctx context.Context, env step.Env, in In, lim limits) ([]pinned, []note, error) {
	list, err := readModules(in.Modules, lim.input)
	if err != nil {
		return nil, nil, err
	}
	source, notes, err := readSource(ctx, in.Source, lim, env.Work)
	if err != nil {
		return nil, nil, err
	}
	return combine(list, source), notes, nil
}

// platforms lists the images behind a digest.
func platforms(ctx context.Context, s oci.Store, d step.Digest, lim limits) ([]step.Digest, error) {
	all, err := oci.Images(ctx, s, d)
	if err != nil {
		return nil, err
	}
	var ds []step.Digest
	for _, i := range all {
		if !i.Descriptor.MediaType.IsIndex() {
			ds = append(ds, i.Digest)
		}
	}
	if len(ds) == 0 {
		return nil, fmt.Errorf("image %s has no platform; build it for one", d)
	}
	if len(ds) > lim.platform {
		return nil, fmt.Errorf("image %s has %d platforms, more than the limit of %d", d, len(ds), lim.platform)
	}
	return ds, nil
}

// platform makes the documents of one platform's image.
func (j job) platform(ctx context.Context, d step.Digest) (written, error) {
	start := time.Now()
	img, err := open(ctx, j.store, d, j.env.Work, j.limits)
	if err != nil {
		return written{}, err
	}
	defer img.Close()
	unpacked := time.Now()
	inv, err := take(ctx, img, j.catalogers(), j.env.Work)
	if err != nil {
		return written{}, err
	}
	cataloged := time.Now()
	doc := document{
		name: clean(j.in.Name), image: d, platform: img.platform, sourceDigest: j.in.SourceDigest, created: j.created,
		inventory: inv, inputs: onlyInputs(j.modules, inv.packages), notes: slices.Concat(j.notes, inv.notes),
	}
	cyclonedx, err := doc.cycloneDX()
	if err != nil {
		return written{}, err
	}
	spdx, err := doc.spdx()
	if err != nil {
		return written{}, err
	}
	if err := complete(inv.truth, cyclonedx, spdx); err != nil {
		return written{}, err
	}
	base := filepath.Join(j.dir, img.platform.join("-"))
	if err := errors.Join(create(base+".spdx.json", spdx), create(base+".cdx.json", cyclonedx)); errors.Is(err, fs.ErrExist) {
		return written{}, fmt.Errorf("image %s has two manifests for %s; remove one", j.in.Image, img.platform)
	} else if err != nil {
		return written{}, fmt.Errorf("write document: %w", err)
	}
	subject := &step.Subject{Name: doc.name, Digest: d}
	w := written{notes: len(doc.notes), evidence: []step.Evidence{
		{Type: evidence.SPDX.URI, Predicate: json.RawMessage(spdx), Subject: subject},
		{Type: evidence.CycloneDX.URI, Predicate: json.RawMessage(cyclonedx), Subject: subject},
	}}
	for _, p := range inv.packages {
		w.packages = append(w.packages, identity(p))
	}
	if j.env.Log != nil {
		j.env.Log.Debug("sbom", "platform", img.platform.String(), "packages", len(inv.packages), "inputs", len(doc.inputs), "notes", len(doc.notes),
			"unpack", unpacked.Sub(start), "catalog", cataloged.Sub(unpacked), "write", time.Since(cataloged))
	}
	return w, nil
}

// create writes a file that must not exist yet.
func create(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// join makes one gate of several.
func join(errs []error) error {
	var all step.GateError
	for _, err := range errs {
		if gate := (*step.GateError)(nil); errors.As(err, &gate) {
			all.Gate, all.Fix = gate.Gate, gate.Fix
			all.Findings = append(all.Findings, gate.Findings...)
		}
	}
	if len(all.Findings) == 0 {
		return nil
	}
	slices.SortFunc(all.Findings, strings.Compare)
	all.Findings = slices.Compact(all.Findings)
	return &all
}
