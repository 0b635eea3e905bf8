package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/run"
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
	policy  policyFlags
	trust   string
	waivers string
	deep    bool
	out     string
	attest  bool
	svr     bool
	signer  signerFlags
	// reproducedBy is where a second builder put the same image.
	reproducedBy string
	report       string
	evidence     string
	timings      string
	eventsFD     int
}

func newVerify(a *app) *cobra.Command {
	f := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify REF [REF...]",
		Short: "Judge images by their evidence, a local trust root and a policy",
		Long: `Verify reads an image's evidence from where the image is, checks every signature
against the local trust root, and judges what it says by a policy. It computes
the SLSA level from observed facts. It writes nothing unless --out, --report or
--attest asks for it.

Of several images each is judged by itself, several at once; the results come in
the order in which the images were given, with --output json as one list.

Exit code 0 means that all passed, 3 that the policy refused, with the reasons.`,
		Example: `  pathctl verify oci:.paths/store --policy microservice
  pathctl verify registry.example.com/team/orders@sha256:… --kev kev.json -o json
  pathctl verify registry.example.com/team/orders:v1 registry.example.com/team/bills:v2
  pathctl verify registry.example.com/team/orders:v1 --reproduced-by rebuilds.example.com/team/orders:v1`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.svr && !f.attest {
				return step.Usagef("--svr says how to sign the verdict: give --attest, too")
			}
			if f.reproducedBy != "" && len(args) > 1 {
				return step.Usagef("--reproduced-by is about one image, and %d are given: verify them one by one", len(args))
			}
			verdicts, err := a.verifyAll(cmd.Context(), args, f)
			if len(verdicts) > 0 {
				if printErr := a.print(oneOrAll(args, verdicts), func(w io.Writer) { writeVerdicts(w, verdicts) }); printErr != nil {
					return printErr
				}
			}
			if err != nil {
				return err
			}
			return gateOfAll(verdicts)
		},
	}
	f.policy.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.trust, "trust", "", "trust root; HOME/trust.yaml when empty")
	fl.StringVar(&f.waivers, "waivers", "", "paths.yaml whose waivers replace those in the provenance")
	fl.StringVar(&f.reproducedBy, "reproduced-by", "", "where a second, independent builder put the same image; without its provenance of the same source the verdict fails")
	fl.BoolVar(&f.deep, "deep", false, "also check every layer against its digest")
	fl.StringVar(&f.out, "out", "", "write the verdict to this file, as JSON")
	fl.StringVar(&f.report, "report", "", "write an HTML report to this file")
	fl.StringVar(&f.evidence, "evidence", "", "write each predicate that the verdict rests on to this folder, as TYPE-REFERRER.json")
	fl.StringVar(&f.timings, "timings", "", "timings of a run, for the report")
	fl.BoolVar(&f.attest, "attest", false, "sign the verdict as a VSA and attach it to the image")
	fl.BoolVar(&f.svr, "svr", false, "with --attest: an image that passed also gets a Simple Verification Result (SVR)")
	f.signer.add(cmd, attest.RoleVerifier)
	fl.IntVar(&f.eventsFD, "events-fd", 0, "descriptor for progress events")
	_ = fl.MarkHidden("events-fd")
	_ = fl.MarkHidden("timings")
	return cmd
}

// verify judges one image.
func (a *app) verify(ctx context.Context, reference string, f *verifyFlags) (policy.Verdict, error) {
	verdicts, err := a.verifyAll(ctx, []string{reference}, f)
	if len(verdicts) == 0 {
		return policy.Verdict{}, err
	}
	return verdicts[0], err
}

// verifyAll judges images and writes the files that were asked for. It returns
// the verdicts in the order of the references; an image that could not be judged
// has none, and is part of the error.
func (a *app) verifyAll(ctx context.Context, references []string, f *verifyFlags) ([]policy.Verdict, error) {
	if len(references) > 1 && (f.report != "" || f.evidence != "") {
		return nil, step.Usagef("--report, --evidence: they are about one image; verify them one by one")
	}
	ctx, flush, err := telemetry.Setup(ctx, version, a.host.OTLPEndpoint, a.host.Traceparent, a.host.Tracestate)
	if err != nil {
		return nil, err
	}
	defer func() { _ = flush(context.WithoutCancel(ctx)) }()
	observe := eventSink(f.eventsFD)
	if observe == nil {
		observe = func(run.Event) {}
	}
	start := time.Now()
	observe(run.Event{Kind: "start", Node: "verify", Zone: string(step.ZoneVerify), Time: start})
	ctx, span := telemetry.Task(ctx, "verify", "", string(step.ZoneVerify))
	verdicts, err := a.judgeAll(ctx, references, f)
	telemetry.End(span, true, err)
	end := run.Event{Kind: "finish", Node: "verify", Zone: string(step.ZoneVerify), Time: time.Now(), Elapsed: time.Since(start), Result: run.Passed}
	switch {
	case err != nil:
		end.Result, end.Text = run.Failed, err.Error()
	case slices.ContainsFunc(verdicts, func(v policy.Verdict) bool { return !v.Passed }):
		end.Result, end.Text = run.Failed, "the policy refused"
	}
	observe(end)
	return verdicts, err
}

// inFlight is how many images are judged at once: a registry takes longer to
// answer than the answer takes to judge.
const inFlight = 8

// judgeAll judges images, several at once.
func (a *app) judgeAll(ctx context.Context, references []string, f *verifyFlags) ([]policy.Verdict, error) {
	j, err := a.newJudge(ctx, f)
	if err != nil {
		return nil, err
	}
	verdicts := make([]policy.Verdict, len(references))
	errs := make([]error, len(references))
	var g errgroup.Group
	g.SetLimit(inFlight)
	for i, ref := range references {
		g.Go(func() error {
			if errs[i] = ctx.Err(); errs[i] != nil {
				return nil
			}
			verdicts[i], errs[i] = j.judge(ctx, ref)
			if len(references) > 1 {
				// Only a report needs the predicates, and those of many images
				// are more than a small machine has memory.
				for k := range verdicts[i].Evidence {
					verdicts[i].Evidence[k].Predicate = nil
				}
				if errs[i] != nil {
					errs[i] = fmt.Errorf("%s: %w", ref, errs[i])
				}
			}
			return nil
		})
	}
	_ = g.Wait() // errors are kept by image
	verdicts = slices.DeleteFunc(verdicts, func(v policy.Verdict) bool { return v.Digest == "" })
	return verdicts, errors.Join(append(errs, leave(oneOrAll(references, verdicts), verdicts, f))...)
}

// oneOrAll is the result as JSON: an object for one image, a list for several.
func oneOrAll(references []string, verdicts []policy.Verdict) any {
	if len(references) == 1 && len(verdicts) == 1 {
		return verdicts[0]
	}
	return verdicts
}

// leave writes the files that were asked for.
func leave(result any, verdicts []policy.Verdict, f *verifyFlags) error {
	if len(verdicts) == 0 {
		return nil
	}
	if f.out != "" {
		raw, err := json.MarshalIndent(result, "", "  ")
		if err != nil {
			return err
		}
		if err := writeFile(f.out, raw, 0o644); err != nil {
			return fmt.Errorf("write the verdict: %w", err)
		}
	}
	if f.evidence != "" {
		if err := writePredicates(f.evidence, verdicts[0].Evidence); err != nil {
			return fmt.Errorf("write the evidence: %w", err)
		}
	}
	if f.report != "" {
		if err := writeReport(f.report, verdicts[0], f.timings); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// writePredicates writes what the verdict rests on, one file each.
func writePredicates(dir string, all []policy.EvidenceStatus) error {
	for _, e := range all {
		if len(e.Predicate) == 0 {
			continue
		}
		var out bytes.Buffer
		if err := json.Indent(&out, e.Predicate, "", "  "); err != nil {
			return err
		}
		name := e.Digest.Short() + ".json"
		if t, ok := evidence.Lookup(e.Type); ok {
			name = t.Name + "-" + name
		}
		if err := writeFile(filepath.Join(dir, name), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func writeVerdicts(w io.Writer, verdicts []policy.Verdict) {
	for i, v := range verdicts {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "image      %s\n", v.Reference)
		fmt.Fprintf(w, "digest     %s\n", v.Digest)
		writeVerdict(w, v.Passed, v.Level, v.Findings, v.Waivers, v.KEV)
		writeEvidence(w, v.Evidence)
	}
}

// gateOfAll is the error that exits with 3 if any verdict failed.
func gateOfAll(verdicts []policy.Verdict) error {
	if len(verdicts) == 1 {
		return gateOf(verdicts[0])
	}
	var all *step.GateError
	for _, v := range verdicts {
		var gate *step.GateError
		if !errors.As(gateOf(v), &gate) {
			continue
		}
		if all == nil {
			all = &step.GateError{Gate: gate.Gate, Fix: gate.Fix}
		}
		for _, finding := range gate.Findings {
			all.Findings = append(all.Findings, v.Reference+": "+finding)
		}
	}
	if all == nil {
		return nil
	}
	return all
}
