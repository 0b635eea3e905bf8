package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/claims"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/telemetry"
)

// attestFlags are the attester's. Its key is named here and nowhere else: no verb
// of the producer knows one.
type attestFlags struct {
	path, staging, image, claims string
	record, inputs, to           string
	from                         []string
	overrides                    map[string]*string
	layout                       string
	signer                       signerFlags
	noCache                      bool
	eventsFD                     int
	// observe and uid name the PipelineRun in which provenance is observed, and platform is
	// the folder that says which ones are trusted. What was read is in run and trust.
	observe, uid, platform string
	digestFile             string
	pipelineRun            provenance.TektonRun
	trust                  provenance.TektonTrust
	// builtHere is true if the process that built started this one: ship says so.
	builtHere bool
}

func newAttest(a *app) *cobra.Command {
	f := &attestFlags{overrides: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "attest {--from DIR... | --observe NAMESPACE/NAME | --staging DIR --image DIGEST --claims DIGEST --run FILE} --to REF",
		Short: "Examine what a producer made, sign the evidence, and publish both",
		Long: `Attest is the attester's process. It takes an image and the producer's claims by
digest, makes SBOM and scan anew from the image's own bytes, observes provenance
in the run's record, signs each piece of evidence, and copies the image to its
place with the evidence attached. It never runs code of the service.

What only the producer could know, such as test results, is signed as reported.

In a pod, --observe names a PipelineRun of Tekton's instead. Attest reads it from the
cluster's API server, refuses it unless it is exactly what a trusted pipeline does,
takes over what its results name, and provenance says what the cluster says.

Evidence is published as Sigstore bundles that refer to the image. For verifiers
that can't read those, --layout both writes cosign 2's tags as well: sha256-DIGEST.sig
with a signature of its own, and sha256-DIGEST.att with the same envelopes,
certificates and timestamps as the bundles. These tags have no place for entries of
Rekor v2. Who verifies an identity there goes by timestamps:

  cosign verify-attestation --insecure-ignore-tlog --use-signed-timestamps \
      --timestamp-certificate-chain tsa.pem --ca-roots fulcio.pem --type … REF`,
		Example: `  pathctl attest --from ./fetch --from ./build --from ./publish --to registry.example.com/team/
  pathctl attest --from ./fetch --from ./build --from ./publish --to registry.example.com/team/ --login \
      --signing-config signing_config.json --trusted-root trusted_root.json
  pathctl attest --from ./fetch --from ./build --from ./publish --to registry.example.com/team/ --layout both
  pathctl attest --observe paths-build-orders/orders-x7k2p --observe-uid "$UID" --platform /etc/paths/trust \
      --to registry.example.com/team/orders:v1
  pathctl attest --staging ./staging --image sha256:… --claims sha256:… \
      --run .paths/run.json --to registry.example.com/team/orders:v1`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			res, err := a.attest(cmd.Context(), f, a.changed(cmd, f.overrides))
			if err != nil {
				return err
			}
			if f.digestFile != "" {
				if err := writeDigest(f.digestFile, res.Reference); err != nil {
					return err
				}
			}
			return a.print(res, func(w io.Writer) {
				fmt.Fprintf(w, "image  %s\n", res.Reference)
				if res.Duplicate {
					fmt.Fprintln(w, "another attempt at this run was first: its evidence is published; what this one signed stays in logs alone")
				}
				for _, e := range res.Evidence {
					how := "signed"
					if e.Cached {
						how = "unchanged"
					}
					fmt.Fprintf(w, "%-9s  %-11s %-8s on %.19s\n", how, shortType(e.Type), e.Tier, e.Subject)
				}
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.path, "path", "microservice", "path whose attesting steps run")
	fl.StringArrayVar(&f.from, "from", nil, "folder that a zone of the producer handed over; may be repeated, and replaces the next four")
	fl.StringVar(&f.staging, "staging", "", "OCI layout with the image and the claims")
	fl.StringVar(&f.image, "image", "", "digest of the image")
	fl.StringVar(&f.claims, "claims", "", "digest of the producer's claims")
	fl.StringVar(&f.record, "run", "", "the runner's record, in which provenance is observed")
	fl.StringVar(&f.inputs, "inputs", "", "inputs of the path as JSON; those in the record when empty")
	fl.StringVar(&f.to, "to", "", "where the image goes: HOST/REPO[:TAG] or oci:DIR[:TAG]; HOST/REPO/ adds the image's name")
	fl.StringVar(&f.observe, "observe", "", "PipelineRun of Tekton's, NAMESPACE/NAME, in which provenance is observed: a pod asks its cluster")
	fl.StringVar(&f.uid, "observe-uid", "", "UID of that PipelineRun")
	fl.StringVar(&f.platform, "platform", "", "folder that says which runs are trusted: pipelines, the bundles that may build, one REPOSITORY@DIGEST a line; and runtime-class, the sandbox that every build runs in, if there is one")
	fl.StringVar(&f.digestFile, "digest-file", "", "file to write the digest of the attested image to as well, without a line's end")
	f.signer.add(cmd, attest.RoleAttester)
	addLayout(cmd, &f.layout)
	fl.BoolVar(&f.noCache, "no-cache", false, "run every step, even if nothing has changed")
	fl.IntVar(&f.eventsFD, "events-fd", 0, "descriptor for progress events")
	_ = fl.MarkHidden("events-fd")
	fl.BoolVar(&f.builtHere, "built-here", false, "ship built in this very job")
	_ = fl.MarkHidden("built-here")
	_ = cmd.MarkFlagRequired("to")
	addInputs(cmd, f.overrides, func(in step.Field) bool { return in.Local })
	cmd.AddCommand(newResume(a))
	return cmd
}

// check tells the two ways to call attest apart.
func (f *attestFlags) check() error {
	if err := checkLayout(f.layout); err != nil {
		return err
	}
	single := map[string]string{"--staging": f.staging, "--image": f.image, "--claims": f.claims, "--run": f.record}
	for _, flag := range slices.Sorted(maps.Keys(single)) {
		switch v := single[flag]; {
		case f.observe != "" && (v != "" || len(f.from) > 0):
			return step.Usagef("--observe: what is handed over stands in the run's results; leave out --from and %s", flag)
		case len(f.from) > 0 && v != "":
			return step.Usagef("%s: --from has it in its records; leave one of them out", flag)
		case len(f.from) == 0 && f.observe == "" && v == "":
			return step.Usagef("%s is missing: give what the producer handed over with --from, or --staging, --image, --claims and --run", flag)
		}
	}
	if given := f.observe != ""; given != (f.uid != "") || given != (f.platform != "") {
		return step.Usagef("--observe, --observe-uid and --platform belong together: give all three, or none")
	}
	return nil
}

// writeDigest writes the digest of what a reference names.
func writeDigest(file, reference string) error {
	l, err := oci.ParseLocator(reference)
	if err == nil {
		err = writeFile(file, []byte(l.Digest), 0o644)
	}
	if err != nil {
		return fmt.Errorf("--digest-file: %w", err)
	}
	return nil
}

func shortType(uri string) string {
	if t, ok := evidence.Lookup(uri); ok {
		return t.Name
	}
	return uri
}

// passphrase is where a key's passphrase comes from; nil for none.
func (a *app) passphrase(file string) attest.Passphrase {
	if file == "" {
		file = a.host.PassphraseFile
	}
	if file == "" {
		return nil
	}
	return attest.PassphraseFile(file)
}

func (a *app) attest(ctx context.Context, f *attestFlags, overrides map[string]string) (attested, error) {
	ctx, flush, err := telemetry.Setup(ctx, version, a.host.OTLPEndpoint, a.host.Traceparent, a.host.Tracestate)
	if err != nil {
		return attested{}, err
	}
	defer func() { _ = flush(context.WithoutCancel(ctx)) }()
	to, err := oci.ParseLocator(namedLater(f.to))
	if err != nil {
		return attested{}, err
	}
	observe, done := a.observer(f.eventsFD, "attest")
	defer done()
	r, err := a.runner(0, f.noCache, "", observe)
	if err != nil {
		return attested{}, err
	}
	defer r.Close()
	if f.observe != "" {
		res, done, err := a.takenUp(ctx, f, r)
		if done || err != nil {
			return res, err
		}
		if err := a.fromPipelineRun(ctx, f, r); err != nil {
			return attested{}, err
		}
	}
	if len(f.from) > 0 {
		if err := f.fromHandovers(r); err != nil {
			return attested{}, err
		}
	}
	if err := a.observeRun(ctx, f, r); err != nil {
		return attested{}, err
	}
	for flag, d := range map[string]string{"image": f.image, "claims": f.claims} {
		if _, err := step.ParseDigest(d); err != nil {
			return attested{}, step.Usagef("--%s: %w", flag, err)
		}
	}
	p, err := catalog.Path(f.path)
	if err != nil {
		return attested{}, err
	}
	inputs, err := attestInputs(f)
	if err != nil {
		return attested{}, err
	}
	for name, text := range overrides {
		in, ok := p.Input(name)
		if !ok {
			return attested{}, step.Usagef("--%s: path %s has no such input", step.Flag(name), p.Name)
		}
		if inputs[name], err = step.Parse(in, text); err != nil {
			return attested{}, err
		}
	}
	if f.inputs == "" {
		if err := ownPlaces(p, inputs, overrides); err != nil {
			return attested{}, err
		}
	}
	created, err := createdOf(inputs)
	if err != nil {
		return attested{}, err
	}
	seed, err := json.Marshal(map[string]string{"staging": f.staging, "image": f.image, "claims": f.claims})
	if err != nil {
		return attested{}, err
	}
	records, err := r.Path(ctx, run.Request{
		Path: p, Inputs: inputs, Zones: []step.Zone{step.ZoneAttest},
		Seeds: map[string]provenance.NodeRecord{"publish": {ID: "publish", Output: seed}},
	})
	if err != nil {
		return attested{}, err
	}
	start := time.Now()
	observe(run.Event{Kind: "start", Node: "sign", Zone: string(step.ZoneAttest), Time: start})
	f.signer.ask = func(text string) {
		observe(run.Event{Kind: "ask", Node: "sign", Zone: string(step.ZoneAttest), Time: time.Now(), Text: text})
	}
	signing, span := telemetry.Task(ctx, "sign", r.ID(), string(step.ZoneAttest))
	res, fresh, err := a.signAll(signing, f, to, created, records)
	telemetry.End(span, true, err)
	end := run.Event{Kind: "finish", Node: "sign", Zone: string(step.ZoneAttest), Time: time.Now(), Elapsed: time.Since(start), Result: run.Passed}
	switch {
	case err != nil:
		end.Result, end.Text = run.Failed, err.Error()
	case fresh == 0:
		end.Result = run.Cached
	}
	observe(end)
	if err != nil {
		return res, fmt.Errorf("sign: %w", err)
	}
	res.Database = databaseOf(records)
	return res, nil
}

// fromHandovers fills in what the producer's zones handed over, and keeps the
// record of the run, merged from theirs, for this run alone.
func (f *attestFlags) fromHandovers(r *run.Runner) error {
	rec, err := mergeHandovers(r, f.from)
	if err != nil {
		return err
	}
	published, err := publishedBy(rec.Nodes)
	if err != nil {
		return fmt.Errorf("%w: give --from what zone %s handed over, too", err, step.ZonePublish)
	}
	f.path, f.staging, f.image, f.claims = rec.Path, string(published.Staging), string(published.Image), string(published.Claims)
	if rec, err = observed(rec); err != nil {
		return err
	}
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	f.record = filepath.Join(r.Work(), "run.json")
	return os.WriteFile(f.record, raw, 0o600)
}

// observeRun reads the record of the run, in which provenance is observed, and keeps
// what it has checked for this run alone. If a ship built in this job of GitHub Actions,
// it asks GitHub what job that is; of a PipelineRun it asks the cluster.
func (a *app) observeRun(ctx context.Context, f *attestFlags, r *run.Runner) error {
	raw, err := bounded.ReadFile(f.record, provenance.MaxRecord)
	if err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	rec, err := provenance.ParseRecord(raw)
	if err != nil {
		return step.Usagef("%s is not what pathctl ship writes: %w", f.record, err)
	}
	if err := rec.CheckReported(); err != nil {
		return step.Usagef("%s: %w", f.record, err)
	}
	if f.observe != "" {
		if rec, err = f.observed(rec); err != nil {
			return err
		}
		if raw, err = json.Marshal(rec); err != nil {
			return err
		}
	}
	// What GitHub says is about this job. Where the build was in another place, it is
	// nothing about the build.
	if a.host.GitHub.Hosted() && f.builtHere {
		job, err := a.host.GitHub.Run(ctx, a.transport())
		if err != nil {
			return err
		}
		if rec, err = job.Observed(rec); err != nil {
			return err
		}
		if raw, err = json.Marshal(rec); err != nil {
			return err
		}
	}
	// The steps read what was checked, whatever becomes of the file.
	f.record = filepath.Join(r.Work(), "run.json")
	return os.WriteFile(f.record, raw, 0o600)
}

// unnamed stands for the name of an image that is not known yet.
const unnamed = "unnamed"

// namedLater gives a place that ends in a slash a repository's name for now.
func namedLater(to string) string {
	if strings.HasSuffix(to, "/") && !strings.HasPrefix(to, "oci:") {
		return to + unnamed
	}
	return to
}

// ownPlaces refuses inputs that name places, such as where the vulnerability database
// is, when they come out of the producer's record: whoever is attested to would choose
// what is known of it.
func ownPlaces(p paths.Path, inputs map[string]json.RawMessage, overrides map[string]string) error {
	for _, in := range p.Inputs {
		if _, given := overrides[in.Name]; given || !in.Local {
			continue
		}
		def, err := step.Parse(in, in.Default)
		if err != nil {
			return err
		}
		if said, ok := inputs[in.Name]; ok && !bytes.Equal(said, def) {
			return step.Usagef("the producer's record says %.200s for input %s, which the attester takes from nobody but you\n  fix: give --%s, for instance --%s=%s",
				said, in.Name, step.Flag(in.Name), step.Flag(in.Name), in.Default)
		}
		inputs[in.Name] = def
	}
	return nil
}

// attestInputs are the inputs of the path: what ship resolved, or what the
// record says.
func attestInputs(f *attestFlags) (map[string]json.RawMessage, error) {
	file := f.inputs
	if file == "" {
		file = f.record
	}
	raw, err := bounded.ReadFile(file, 64<<20)
	if err != nil {
		return nil, fmt.Errorf("read the run: %w", err)
	}
	inputs := map[string]json.RawMessage{}
	if f.inputs != "" {
		err = json.Unmarshal(raw, &inputs)
	} else {
		var rec provenance.Record
		if err = json.Unmarshal(raw, &rec); err == nil {
			inputs = rec.Inputs
		}
	}
	if err != nil {
		return nil, step.Usagef("%s is not what pathctl ship writes: %w", file, err)
	}
	abs, err := filepath.Abs(f.record)
	if err != nil {
		return nil, err
	}
	if inputs["run"], err = json.Marshal(abs); err != nil {
		return nil, err
	}
	return inputs, nil
}

// signAll signs what is new, publishes image and evidence, and counts the new
// signatures.
func (a *app) signAll(ctx context.Context, f *attestFlags, to oci.Locator, created time.Time, records []provenance.NodeRecord) (attested, int, error) {
	var res attested
	staging, err := oci.OpenLayout(f.staging)
	if err != nil {
		return res, 0, err
	}
	image := step.Digest(f.image)
	images, err := oci.Images(ctx, staging, image)
	if err != nil {
		return res, 0, err
	}
	c, _, err := claims.Read(ctx, staging, step.Digest(f.claims))
	if err != nil {
		return res, 0, err
	}
	if c.Image != image {
		return res, 0, fmt.Errorf("the claims %s are about image %s, not %s", f.claims, c.Image, image)
	}
	if namedLater(f.to) != f.to {
		if to, err = oci.ParseLocator(f.to + c.Name + ":latest"); err != nil {
			return res, 0, err
		}
	}
	statements, err := statementsOf(c, images, records)
	if err != nil {
		return res, 0, err
	}
	signer, err := a.signer(ctx, f.signer, true)
	if err != nil {
		return res, 0, err
	}
	dst, err := oci.Open(ctx, to, oci.WithCreate(), oci.WithTransport(a.transport()))
	if err != nil {
		return res, 0, err
	}
	// By digest only: the tag comes last, when all evidence is in its place.
	if err := oci.Copy(ctx, dst, staging, image, ""); err != nil {
		return res, 0, err
	}
	named := to
	if to.IsLayout() { // whoever resumes may stand elsewhere
		if to.Dir, err = filepath.Abs(to.Dir); err != nil {
			return res, 0, err
		}
	}
	p := publication{To: to.Place(), Tag: tagOf(to), Image: image, Created: created, Evidence: statements, Layout: f.layout, Run: f.uid}
	res, fresh, err := a.publish(ctx, signer, p, dst)
	named.Tag, named.Digest = "", image
	res.Reference = named.String()
	return res, fresh, err
}

// tagOf is the tag that an image gets: the caller's, or latest in a layout, so
// that oci:DIR names what was shipped last.
func tagOf(l oci.Locator) string {
	if l.Tag == "" && l.Dir != "" {
		return "latest"
	}
	return l.Tag
}

// createdOf is the time on referrers: the image's own, so that the same evidence
// has the same digest whenever it is attached.
func createdOf(inputs map[string]json.RawMessage) (time.Time, error) {
	var text string
	if raw, ok := inputs["created"]; ok {
		if err := json.Unmarshal(raw, &text); err != nil {
			return time.Time{}, step.Usagef("input created: %w", err)
		}
	}
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	return step.Time("created", text)
}

// databaseOf says which vulnerability database was used.
func databaseOf(records []provenance.NodeRecord) string {
	for _, r := range records {
		var out struct {
			Source  string      `json:"source"`
			Digest  step.Digest `json:"digest"`
			Updated string      `json:"updated"`
			Small   bool        `json:"small"`
		}
		if r.Step == "vulndb" && json.Unmarshal(r.Output, &out) == nil {
			s := fmt.Sprintf("%s, %.19s, updated %s", out.Source, out.Digest, out.Updated)
			if out.Small {
				s += " (a small one, made from a few advisory records: not for real use)"
			}
			return s
		}
	}
	return "none"
}

// observer passes events to the parent that gave a descriptor, or shows them.
func (a *app) observer(fd int, title string) (func(run.Event), func()) {
	if sink := eventSink(fd); sink != nil {
		return sink, func() {}
	}
	show := newProgress(a, title)
	return show.observe, show.close
}
