package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/kev"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/telemetry"
)

// policyFlags say what is judged by; ship passes them on.
type policyFlags struct {
	name     string
	kev      string
	dbMaxAge time.Duration
	params   []string
}

func (f *policyFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.name, "policy", "", "shipped policy by name, or a policy file; the path's own when empty")
	fl.StringVar(&f.kev, "kev", "", "CISA list of known exploited vulnerabilities: a file or URL; not checked when empty")
	fl.DurationVar(&f.dbMaxAge, "vuln-db-max-age", 24*time.Hour, "highest age of the vulnerability database")
	fl.StringArrayVar(&f.params, "param", nil, "parameter of the policy as NAME=VALUE; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("policy", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return policy.Names(), cobra.ShellCompDirectiveDefault
	})
}

func (f *policyFlags) args() []string {
	var args []string
	if f.kev != "" {
		args = append(args, "--kev", f.kev)
	}
	if f.dbMaxAge != 24*time.Hour {
		args = append(args, "--vuln-db-max-age", f.dbMaxAge.String())
	}
	for _, p := range f.params {
		args = append(args, "--param", p)
	}
	return args
}

// values are the parameters as the policy takes them.
func (f *policyFlags) values() (map[string]any, error) {
	params := map[string]any{}
	if f.dbMaxAge != 24*time.Hour {
		params["vulnDBMaxAge"] = f.dbMaxAge.String()
	}
	for _, p := range f.params {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, step.Usagef("--param %s: give NAME=VALUE", p)
		}
		params[name] = value
	}
	return params, nil
}

// verifyFlags are the verifier's. It reads evidence from the image's own place,
// and everything that it trusts from this machine.
type verifyFlags struct {
	policy         policyFlags
	trust          string
	waivers        string
	deep           bool
	out            string
	attest         bool
	key            string
	passphraseFile string
	report         string
	timings        string
	eventsFD       int
}

func newVerify(a *app) *cobra.Command {
	f := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Judge an image by its evidence, a local trust root and a policy",
		Long: `Verify reads an image's evidence from where the image is, checks every signature
against the local trust root, and judges what it says by a policy. It computes
the SLSA level from observed facts. It writes nothing unless --out, --report or
--attest asks for it.

Exit code 0 means passed, 3 that the policy refused, with the reasons.`,
		Example: `  pathctl verify oci:.paths/store --policy microservice
  pathctl verify registry.example.com/team/orders@sha256:… --kev kev.json -o json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.verify(cmd.Context(), args[0], f)
			if err != nil {
				return err
			}
			if err := a.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "image      %s\n", v.Reference)
				fmt.Fprintf(w, "digest     %s\n", v.Digest)
				writeVerdict(w, v.Passed, v.Level, v.Findings, v.Waivers, v.KEV)
				writeEvidence(w, v.Evidence)
			}); err != nil {
				return err
			}
			return gateOf(v)
		},
	}
	f.policy.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.trust, "trust", "", "trust root; HOME/trust.yaml when empty")
	fl.StringVar(&f.waivers, "waivers", "", "paths.yaml whose waivers replace those in the provenance")
	fl.BoolVar(&f.deep, "deep", false, "also check every layer against its digest")
	fl.StringVar(&f.out, "out", "", "write the verdict to this file, as JSON")
	fl.StringVar(&f.report, "report", "", "write an HTML report to this file")
	fl.StringVar(&f.timings, "timings", "", "timings of a run, for the report")
	fl.BoolVar(&f.attest, "attest", false, "sign the verdict as a VSA and attach it to the image")
	fl.StringVar(&f.key, "key", "", "the verifier's private key; HOME/keys/verifier.key when empty")
	fl.StringVar(&f.passphraseFile, "passphrase-file", "", "file with the key's passphrase (or PATHS_PASSPHRASE_FILE)")
	fl.IntVar(&f.eventsFD, "events-fd", 0, "descriptor for progress events")
	_ = fl.MarkHidden("events-fd")
	_ = fl.MarkHidden("timings")
	return cmd
}

func (a *app) verify(ctx context.Context, reference string, f *verifyFlags) (policy.Verdict, error) {
	ctx, flush, err := telemetry.Setup(ctx, version, a.host.OTLPEndpoint, a.host.Traceparent, a.host.Tracestate)
	if err != nil {
		return policy.Verdict{}, err
	}
	defer func() { _ = flush(context.WithoutCancel(ctx)) }()
	observe := eventSink(f.eventsFD)
	if observe == nil {
		observe = func(run.Event) {}
	}
	start := time.Now()
	observe(run.Event{Kind: "start", Node: "verify", Zone: string(step.ZoneVerify), Time: start})
	ctx, span := telemetry.Task(ctx, "verify", "", string(step.ZoneVerify))
	v, err := a.judge(ctx, reference, f)
	telemetry.End(span, true, err)
	end := run.Event{Kind: "finish", Node: "verify", Zone: string(step.ZoneVerify), Time: time.Now(), Elapsed: time.Since(start), Result: run.Passed}
	switch {
	case err != nil:
		end.Result, end.Text = run.Failed, err.Error()
	case !v.Passed:
		end.Result, end.Text = run.Failed, "the policy refused"
	}
	observe(end)
	return v, err
}

// examined is an image with all its evidence, checked against a trust root.
type examined struct {
	place  oci.Locator
	store  oci.Writer
	digest step.Digest
	images []oci.Image
	found  []attest.Found
}

// examine reads the image that a reference names and verifies what hangs on it.
func (a *app) examine(ctx context.Context, reference, trustFile string, deep bool) (examined, error) {
	var e examined
	var err error
	if e.place, err = oci.ParseLocator(reference); err != nil {
		return e, err
	}
	if trustFile == "" {
		trustFile = filepath.Join(a.host.Home, attest.TrustFile)
	}
	trust, err := attest.LoadTrust(trustFile)
	if err != nil {
		return e, err
	}
	if e.digest, err = oci.Resolve(ctx, e.place); err != nil {
		return e, err
	}
	if e.store, err = oci.Open(ctx, e.place); err != nil {
		return e, err
	}
	if err := oci.Check(ctx, e.store, e.digest, deep); err != nil {
		return e, &step.GateError{Gate: "image", Findings: []string{err.Error()}, Fix: "the image is not what its digest says: push it again, or ship again"}
	}
	if e.images, err = oci.Images(ctx, e.store, e.digest); err != nil {
		return e, err
	}
	e.found, err = attest.Collect(ctx, e.store, e.images, trust)
	return e, err
}

func (a *app) judge(ctx context.Context, reference string, f *verifyFlags) (policy.Verdict, error) {
	name := f.policy.name
	if name == "" {
		name = "microservice"
	}
	p, err := policy.Load(name)
	if err != nil {
		return policy.Verdict{}, err
	}
	e, err := a.examine(ctx, reference, f.trust, f.deep)
	if err != nil {
		return policy.Verdict{}, err
	}
	in := policy.Input{Digest: e.digest, Now: time.Now().UTC()}
	e.place.Tag, e.place.Digest = "", e.digest
	in.Reference = e.place.String()
	for _, im := range e.images {
		in.Images = append(in.Images, policy.Image{Digest: im.Digest, Index: im.Descriptor.MediaType.IsIndex(), Platform: im.Platform})
	}
	for _, found := range e.found {
		in.Attestations = append(in.Attestations, attestation(found))
	}
	if in.Params, err = f.policy.values(); err != nil {
		return policy.Verdict{}, err
	}
	if in.KEV, in.KEVSource, err = loadKEV(ctx, f.policy.kev); err != nil {
		return policy.Verdict{}, err
	}
	if f.waivers != "" {
		if in.Waivers, err = loadWaivers(f.waivers); err != nil {
			return policy.Verdict{}, err
		}
	}
	v, err := policy.Judge(p, in)
	if err != nil {
		return v, err
	}
	if f.attest {
		if err := a.attachVSA(ctx, e, v, f); err != nil {
			return v, err
		}
	}
	return v, a.leave(v, f)
}

// leave writes the files that were asked for.
func (a *app) leave(v policy.Verdict, f *verifyFlags) error {
	if f.out != "" {
		raw, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		if err := writeFile(f.out, raw, 0o644); err != nil {
			return fmt.Errorf("write the verdict: %w", err)
		}
	}
	if f.report != "" {
		if err := writeReport(f.report, v, f.timings); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// attestation is a referrer as policies see it.
func attestation(f attest.Found) policy.Attestation {
	at := policy.Attestation{Digest: f.Digest, Image: f.Image, Type: f.PredicateType, Err: f.Err, Foreign: f.Foreign()}
	if v := f.Verified; v != nil {
		at.Subject = v.Statement.Subject.Digest
		at.Signer, at.Roles = v.Signer.Name, v.Signer.Roles
		at.MaxTier, at.MaxBuildLevel = v.Signer.MaxTier, v.Signer.MaxBuildLevel
		at.Tier, at.Predicate = v.Statement.Tier, v.Statement.Predicate
	}
	return at
}

// attachVSA signs the verdict with the verifier's key. A verdict that says
// nothing new gets no new VSA.
func (a *app) attachVSA(ctx context.Context, e examined, v policy.Verdict, f *verifyFlags) error {
	predicate, err := policy.VSA(v, policy.VSAOptions{Version: version})
	if err != nil {
		return err
	}
	key := f.key
	if key == "" {
		key = filepath.Join(a.host.Home, filepath.FromSlash(attest.VerifierKey))
	}
	signer, err := attest.LoadSigner(key, a.passphrase(f.passphraseFile))
	if err != nil {
		return err
	}
	for _, found := range e.found {
		if found.Verified != nil && found.Image == e.digest && found.PredicateType == evidence.VSA.URI && sameVSA(found.Verified.Statement.Predicate, predicate) {
			return nil
		}
	}
	// The verifier computed this itself from what it verified.
	st, err := evidence.New(evidence.VSA, predicate, step.Subject{Name: "image", Digest: e.digest}, evidence.Derived)
	if err != nil {
		return err
	}
	bundle, err := attest.Sign(ctx, signer, st)
	if err != nil {
		return err
	}
	if _, err := attest.Attach(ctx, e.store, e.images[0].Descriptor, bundle, evidence.VSA.URI, v.VerifiedOn); err != nil {
		return err
	}
	return oci.Settle(ctx, e.store)
}

// sameVSA compares two summaries but for the time.
func sameVSA(a, b json.RawMessage) bool {
	x, errX := evidence.ParseVSA(a)
	y, errY := evidence.ParseVSA(b)
	if errX != nil || errY != nil {
		return false
	}
	x.TimeVerified, y.TimeVerified = time.Time{}, time.Time{}
	rawX, errX := json.Marshal(x)
	rawY, errY := json.Marshal(y)
	return errX == nil && errY == nil && string(rawX) == string(rawY)
}

// maxKEV bounds the list; CISA's has about 1.5 MB.
const maxKEV = 64 << 20

// loadKEV reads the list from a file or a URL that the user named.
func loadKEV(ctx context.Context, from string) (policy.KEV, string, error) {
	if from == "" {
		return nil, "", nil
	}
	var r io.ReadCloser
	if strings.HasPrefix(from, "https://") || strings.HasPrefix(from, "http://") {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
		if err != nil {
			return nil, "", step.Usagef("--kev %s: %w", from, err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, "", fmt.Errorf("--kev: %w; give a file that you downloaded instead", err)
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, "", fmt.Errorf("--kev %s: the server answered %s; give a file that you downloaded instead", from, resp.Status)
		}
		r = resp.Body
	} else {
		file, err := os.Open(from)
		if err != nil {
			return nil, "", step.Usagef("--kev: %w", err)
		}
		r = file
	}
	defer r.Close()
	c, err := kev.Parse(io.LimitReader(r, maxKEV))
	if err != nil {
		return nil, "", fmt.Errorf("--kev %s: %w", from, err)
	}
	return c, fmt.Sprintf("%s, version %s", filepath.Base(from), c.Version), nil
}

// loadWaivers reads waivers from a local paths.yaml.
func loadWaivers(file string) ([]policy.Waiver, error) {
	raw, err := readBounded(file, service.MaxSize)
	if err != nil {
		return nil, step.Usagef("--waivers: %w", err)
	}
	s, err := service.Parse(raw)
	if err != nil {
		return nil, err
	}
	waivers := []policy.Waiver{}
	for _, w := range s.Waivers {
		waivers = append(waivers, policy.Waiver{ID: w.ID, Reason: w.Reason, Expires: w.Expires})
	}
	return waivers, nil
}
