package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newEvidence(a *app) *cobra.Command {
	var trust string
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "List, read and draw the evidence on an image",
	}
	cmd.PersistentFlags().StringVar(&trust, "trust", "", "trust root; HOME/trust.yaml when empty")
	cmd.AddCommand(newEvidenceLs(a, &trust), newEvidenceTree(a, &trust), newEvidenceGet(a, &trust), newEvidenceLegacy(a))
	return cmd
}

// listed is one referrer in a list.
type listed struct {
	Digest step.Digest `json:"digest"`
	Image  step.Digest `json:"image"`
	Type   string      `json:"type"`
	Signer string      `json:"signer,omitempty"`
	// Identity is whom the signer's certificate names.
	Identity string        `json:"identity,omitempty"`
	Tier     evidence.Tier `json:"tier,omitempty"`
	// ByReference says that the signed statement refers to the predicate.
	ByReference bool   `json:"byReference,omitempty"`
	Error       string `json:"error,omitempty"`
}

// by says in words who signed, and what.
func (l listed) by() string {
	by := l.Signer
	if l.Identity != "" {
		by += ", " + clean(l.Identity)
	}
	if l.ByReference {
		by += ", by reference"
	}
	return by
}

func list(e examined) []listed {
	all := []listed{}
	for _, f := range e.found {
		l := listed{Digest: f.Digest, Image: f.Image, Type: f.PredicateType}
		if f.Verified != nil {
			l.Signer, l.Tier, l.ByReference = f.Verified.Signer.Name, f.Verified.Tier, f.Verified.Reference != nil
			if c := f.Verified.Certified; c != nil {
				l.Identity = c.Subject
			}
		}
		if f.Err != nil {
			l.Error = f.Err.Error()
		}
		all = append(all, l)
	}
	return all
}

func newEvidenceLs(a *app, trust *string) *cobra.Command {
	return &cobra.Command{
		Use:     "ls REF",
		Short:   "List every referrer of an image, and who signed it",
		Example: `  pathctl evidence ls oci:.paths/store`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.examine(cmd.Context(), args[0], *trust, false)
			if err != nil {
				return err
			}
			all := list(e)
			return a.print(all, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "REFERRER\tON\tTYPE\tTIER\tSIGNER")
				for _, l := range all {
					signer := l.by()
					if l.Error != "" {
						signer = "- (" + clean(l.Error) + ")"
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.Digest.Short(), l.Image.Short(), shortType(clean(l.Type)), l.Tier, signer)
				}
				t.Flush()
			})
		},
	}
}

func newEvidenceTree(a *app, trust *string) *cobra.Command {
	return &cobra.Command{
		Use:     "tree REF",
		Short:   "Draw an image, its platforms and what hangs on each",
		Example: `  pathctl evidence tree oci:.paths/store`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.examine(cmd.Context(), args[0], *trust, false)
			if err != nil {
				return err
			}
			all := list(e)
			type node struct {
				Digest   step.Digest `json:"digest"`
				Platform string      `json:"platform,omitempty"`
				Evidence []listed    `json:"evidence"`
			}
			var nodes []node
			for _, im := range e.images {
				n := node{Digest: im.Digest, Platform: im.Platform, Evidence: []listed{}}
				for _, l := range all {
					if l.Image == im.Digest {
						n.Evidence = append(n.Evidence, l)
					}
				}
				nodes = append(nodes, n)
			}
			return a.print(nodes, func(w io.Writer) {
				for _, n := range nodes {
					what := n.Platform
					if what == "" {
						what = "index"
					}
					fmt.Fprintf(w, "%s  %s\n", n.Digest, what)
					for i, l := range n.Evidence {
						branch := "├─"
						if i == len(n.Evidence)-1 {
							branch = "└─"
						}
						by := "signed by " + l.by()
						if l.Error != "" {
							by = "not usable: " + clean(l.Error)
						}
						fmt.Fprintf(w, "  %s %-11s %-8s %s  %s\n", branch, shortType(clean(l.Type)), l.Tier, l.Digest.Short(), by)
					}
				}
			})
		},
	}
}

func newEvidenceGet(a *app, trust *string) *cobra.Command {
	var whole bool
	var referrer string
	cmd := &cobra.Command{
		Use:   "get REF TYPE",
		Short: "Print the predicate of one type, verified",
		Long: `Get prints the predicate of the evidence of one type: a short name such as spdx,
or a predicate type's URI. Only evidence whose signature holds is printed. Of several
the first by digest is taken; --referrer chooses another. A predicate that the signed
statement refers to is printed as one that stands in it.`,
		Example: `  pathctl evidence get oci:.paths/store spdx
  pathctl evidence get oci:.paths/store provenance --statement`,
		Args: usageArgs(cobra.ExactArgs(2)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			var names []string
			for _, t := range evidence.Types() {
				names = append(names, t.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t, ok := evidence.Lookup(args[1])
			if !ok {
				var names []string
				for _, t := range evidence.Types() {
					names = append(names, t.Name)
				}
				return step.Usagef("evidence type %q is unknown: give one of %v", args[1], names)
			}
			e, err := a.examine(cmd.Context(), args[0], *trust, false)
			if err != nil {
				return err
			}
			var all []attest.Found
			for _, f := range e.found {
				if f.Verified != nil && f.PredicateType == t.URI && (referrer == "" || strings.HasPrefix(f.Digest.Hex(), strings.TrimPrefix(referrer, "sha256:"))) {
					all = append(all, f)
				}
			}
			if len(all) == 0 {
				return fmt.Errorf("%s has no evidence of type %s that a trusted signer signed; see: pathctl evidence ls %s", args[0], t.Name, args[0])
			}
			if len(all) > 1 {
				fmt.Fprintf(a.stderr, "pathctl: there are %d of type %s; this is %s, and --referrer chooses another\n", len(all), t.Name, all[0].Digest.Short())
			}
			got := all[0]
			raw := got.Verified.Statement.Predicate
			if whole {
				if raw, err = json.Marshal(got.Verified.Statement); err != nil {
					return err
				}
			}
			var out bytes.Buffer
			if err := json.Indent(&out, raw, "", "  "); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, out.String())
			return err
		},
	}
	cmd.Flags().StringVar(&referrer, "referrer", "", "digest of the referrer, or its first digits, where there are several")
	cmd.Flags().BoolVar(&whole, "statement", false, "print the whole statement with its subject")
	return cmd
}
