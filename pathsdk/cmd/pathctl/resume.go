package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
)

// maxPublication bounds what is read of one.
const maxPublication = 512 << 20

func newResume(a *app) *cobra.Command {
	var s signerFlags
	var list bool
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End what an outage or an interruption left pending",
		Long: `Resume ends publications that attest has begun and not ended: it sends signatures
to logs that did not answer, hangs evidence on images that have not got it, and
then tags them.

A signature is used again as it is, if a timestamp proves that it was made while
its certificate was valid; otherwise the same statement is signed again, with a
new certificate.`,
		Example: `  pathctl attest resume --list
  pathctl attest resume --signing-config signing_config.json --trusted-root trusted_root.json \
      --identity-token /var/run/sigstore/token`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			done, err := a.resume(cmd.Context(), s, list)
			if printed := a.print(done, func(w io.Writer) { done.text(w, list) }); printed != nil {
				return printed
			}
			return err
		},
	}
	s.add(cmd, attest.RoleAttester)
	cmd.Flags().BoolVar(&list, "list", false, "only say what is pending")
	return cmd
}

// resumed is what was pending, or was ended.
type resumed struct {
	Publications []resumedItem `json:"publications"`
}

type resumedItem struct {
	Reference string `json:"reference"`
	Tag       string `json:"tag,omitempty"`
	Evidence  int    `json:"evidence"`
	Error     string `json:"error,omitempty"`
}

func (r resumed) text(w io.Writer, list bool) {
	if len(r.Publications) == 0 {
		fmt.Fprintln(w, "nothing is pending")
	}
	for _, p := range r.Publications {
		how := "published"
		if list || p.Error != "" {
			how = "pending"
		}
		fmt.Fprintf(w, "%-9s  %s  %d pieces of evidence\n", how, p.Reference, p.Evidence)
	}
}

func (a *app) resume(ctx context.Context, s signerFlags, list bool) (resumed, error) {
	res := resumed{Publications: []resumedItem{}}
	files, err := os.ReadDir(a.attesterFolder("pending"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return res, err
	}
	var pending []publication
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			continue // was being written when its process died
		}
		raw, err := bounded.ReadFile(filepath.Join(a.attesterFolder("pending"), f.Name()), maxPublication)
		if err != nil {
			return res, err
		}
		var p publication
		if err := json.Unmarshal(raw, &p); err != nil {
			return res, fmt.Errorf("%s: %w", f.Name(), err)
		}
		pending = append(pending, p)
	}
	if len(pending) == 0 {
		return res, nil
	}
	var signer *attest.Signer
	if !list {
		if signer, err = a.signer(ctx, s, false); err != nil {
			return res, err
		}
	}
	var failed []error
	for _, p := range pending {
		item := resumedItem{Reference: p.To + "@" + string(p.Image), Tag: p.Tag, Evidence: len(p.Evidence)}
		if !list {
			if _, _, err := a.publish(ctx, signer, p, nil); err != nil {
				item.Error = err.Error()
				failed = append(failed, fmt.Errorf("%s: %w", item.Reference, err))
			}
		}
		res.Publications = append(res.Publications, item)
	}
	return res, errors.Join(failed...)
}
