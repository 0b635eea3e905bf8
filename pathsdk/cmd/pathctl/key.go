package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
)

func newKey(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make the local key pairs and the trust root",
	}
	var passphraseFile string
	initKeys := &cobra.Command{
		Use:   "init",
		Short: "Make a key pair for the attester, one for the verifier, and a trust root",
		Long: `Init makes what is missing and changes nothing that exists. With a passphrase
file the private keys are encrypted, in the form that cosign reads.`,
		Example: `  pathctl key init
  pathctl key init --passphrase-file ~/.paths-passphrase`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			made, err := attest.InitHome(a.host.Home, a.passphrase(passphraseFile))
			if err != nil {
				return err
			}
			files := map[string]any{
				"made":     made,
				"attester": filepath.Join(a.host.Home, "keys", "attester.pub"),
				"verifier": filepath.Join(a.host.Home, "keys", "verifier.pub"),
				"trust":    filepath.Join(a.host.Home, attest.TrustFile),
			}
			return a.print(files, func(w io.Writer) {
				if !made {
					fmt.Fprintln(w, "everything was there already")
				}
				for _, k := range []string{"attester", "verifier", "trust"} {
					fmt.Fprintf(w, "%-9s %s\n", k, files[k])
				}
			})
		},
	}
	initKeys.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file with a passphrase that encrypts the keys (or PATHS_PASSPHRASE_FILE)")
	cmd.AddCommand(initKeys)
	return cmd
}
