package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newWaiver(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "waiver",
		Short: "Accept a finding about an image until a day, by name",
	}
	cmd.AddCommand(newWaiverAdd(a), newWaiverList(a))
	return cmd
}

func newWaiverAdd(a *app) *cobra.Command {
	var p evidence.WaiverV1
	var s signerFlags
	cmd := &cobra.Command{
		Use:   "add REF --id ID --reason TEXT --expires DATE",
		Short: "Sign a waiver and attach it to an image's digest",
		Long: `Add signs that a finding about an image is accepted until a day, and attaches that to
the image's digest: another image needs another waiver. ID is what verify shows: of a
vulnerability or another finding, or of a rule as a whole.

A verifier counts it if its trust root gives the signer the role waiver, if the policy
lets the rule be waived, and if the signer neither built the image nor signed its
evidence. Running add again changes nothing; a waiver ends by itself, on its day.`,
		Example: `  pathctl waiver add registry.example.com/team/orders:v1 --id CVE-2026-1234 \
      --reason "the vulnerable function is never called" --expires 2026-12-31 --key security.key
  pathctl waiver add registry.example.com/team/orders:v1 --id coverage --reason "a spike" --expires 2026-12-31 \
      --signing-config signing_config.json --trusted-root trusted_root.json --login`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.waive(cmd.Context(), args[0], p, s)
			if err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) {
				how := "signed"
				if res.Cached {
					how = "unchanged"
				}
				fmt.Fprintf(w, "%s  waiver of %s until %s on %s\n", how, p.ID, p.Expires, res.Subject)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&p.ID, "id", "", "what is accepted: the id of a vulnerability, another finding or a rule")
	fl.StringVar(&p.Reason, "reason", "", "why, for whoever reads a verdict")
	fl.StringVar(&p.Expires, "expires", "", "last day on which it holds, in UTC: YYYY-MM-DD")
	for _, f := range []string{"id", "reason", "expires"} {
		_ = cmd.MarkFlagRequired(f)
	}
	s.add(cmd, attest.RoleWaiver)
	return cmd
}

// waive signs one waiver. The statement holds no time of its own: run again, it is the
// same, and so is its signature.
func (a *app) waive(ctx context.Context, reference string, p evidence.WaiverV1, s signerFlags) (attestedItem, error) {
	var none attestedItem
	if err := p.Validate(); err != nil {
		return none, step.Usagef("%w", err)
	}
	if last, err := time.Parse(time.DateOnly, p.Expires); err != nil || !time.Now().Before(last.AddDate(0, 0, 1)) {
		return none, step.Usagef("--expires %s is over: give a day to come", p.Expires)
	}
	place, err := oci.ParseLocator(reference)
	if err != nil {
		return none, err
	}
	with := oci.WithTransport(a.transport())
	digest, err := oci.Resolve(ctx, place, with)
	if err != nil {
		return none, damaged(place, err)
	}
	store, err := oci.Open(ctx, place, with)
	if err != nil {
		return none, damaged(place, err)
	}
	images, err := oci.Images(ctx, store, digest)
	if err != nil {
		return none, damaged(place, err)
	}
	predicate, err := p.Encode()
	if err != nil {
		return none, err
	}
	st := statement{Type: evidence.Waiver, Tier: evidence.Derived, On: []v1.Descriptor{images[0].Descriptor}}
	if err := st.state(predicate, step.Subject{Name: "image", Digest: digest}); err != nil {
		return none, err
	}
	signer, err := a.signer(ctx, s, false)
	if err != nil {
		return none, err
	}
	var res attested
	// One statement is not written down as pending: the same command ends it.
	pub := publication{Image: digest, Created: time.Unix(0, 0).UTC(), Evidence: []statement{st}}
	signatures, err := a.signEvidence(ctx, signer, pub.Evidence)
	if err == nil {
		_, err = attachAll(ctx, pub, signatures, store, &res)
	}
	if err != nil {
		return none, fmt.Errorf("%w\n  fix: run the same command again, which goes on from here", err)
	}
	return res.Evidence[0], oci.Settle(ctx, store)
}

// listedWaiver is a waiver that hangs on an image.
type listedWaiver struct {
	ID      string      `json:"id"`
	Expires string      `json:"expires"`
	Reason  string      `json:"reason"`
	State   string      `json:"state"`
	Signer  string      `json:"signer,omitempty"`
	Subject string      `json:"identity,omitempty"`
	Digest  step.Digest `json:"digest"`
	Why     string      `json:"why,omitempty"`
}

func newWaiverList(a *app) *cobra.Command {
	var trust, policyName string
	cmd := &cobra.Command{
		Use:   "list REF",
		Short: "List the waivers on an image, who signed each, and until when it holds",
		Long: `List shows every waiver on an image, those too that don't count: by somebody who may
not waive, by who built the image or signed the evidence that a policy asks for, or of
the past. Whether one covers a finding is for verify to say.`,
		Example: `  pathctl waiver list registry.example.com/team/orders:v1
  pathctl waiver list registry.example.com/team/orders:v1 --policy policy.yaml`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := policy.Load(policyName)
			if err != nil {
				return err
			}
			e, err := a.examine(cmd.Context(), args[0], trust, false)
			if err != nil {
				return err
			}
			now := time.Now().UTC()
			verdict, err := policy.Judge(p, e.input(now))
			if err != nil {
				return err
			}
			all := []listedWaiver{}
			for _, f := range e.found {
				if f.PredicateType == evidence.Waiver.URI {
					all = append(all, listWaiver(f, now, verdict))
				}
			}
			return a.print(all, func(w io.Writer) {
				if len(all) == 0 {
					fmt.Fprintln(w, "there are no waivers on it")
					return
				}
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "ACCEPTS\tUNTIL\tSTATE\tSIGNER\tREASON")
				for _, l := range all {
					state := l.State
					if l.Why != "" {
						state += ": " + line(l.Why)
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", line(l.ID), line(l.Expires), state, line(orDash(l.Signer, l.Subject)), line(l.Reason))
				}
				t.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&trust, "trust", "", "trust root; HOME/trust.yaml when empty")
	cmd.Flags().StringVar(&policyName, "policy", "microservice", "shipped policy by name, or a policy file: who signed what it asks for may not waive")
	return cmd
}

func listWaiver(f attest.Found, now time.Time, verdict policy.Verdict) listedWaiver {
	l := listedWaiver{Digest: f.Digest, State: policy.WaiverInvalid}
	if f.Err != nil {
		l.Why = f.Err.Error()
		return l
	}
	v := f.Verified
	l.Signer = v.Signer.Name
	if v.Certified != nil {
		l.Subject = v.Certified.Subject
	}
	p, err := evidence.ParseWaiver(v.Statement.Predicate)
	if err != nil {
		l.Why = err.Error()
		return l
	}
	l.ID, l.Expires, l.Reason = p.ID, p.Expires, p.Reason
	last, _ := time.Parse(time.DateOnly, p.Expires)
	why := refusal(verdict, f)
	switch {
	case v.Statement.Subject.Digest != f.Image:
		l.Why = "it is about " + string(v.Statement.Subject.Digest)
	case !v.Signer.Has(attest.RoleWaiver):
		l.State, l.Why = policy.WaiverRefused, "the trust root gives the signer no role "+attest.RoleWaiver
	case why != "":
		l.State, l.Why = policy.WaiverRefused, why
	case !now.Before(last.AddDate(0, 0, 1)):
		l.State = policy.WaiverExpired
	default:
		l.State = "valid"
	}
	return l
}

// refusal is why a verdict refuses a waiver that can be read: whose work it accepts is
// known from all evidence only.
func refusal(v policy.Verdict, f attest.Found) string {
	for _, e := range v.Evidence {
		if e.Digest == f.Digest && (e.Status == policy.StatusInvalid || f.Image != v.Digest) {
			return e.Why
		}
	}
	return ""
}

func orDash(signer, subject string) string {
	switch {
	case signer == "":
		return "-"
	case subject != "":
		return signer + " (" + subject + ")"
	}
	return signer
}
