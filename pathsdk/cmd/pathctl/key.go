package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newKey(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make the local key pairs and the trust root; read a public key",
	}
	cmd.AddCommand(newKeyInit(a), newKeyNew(a), newKeyExport(a))
	return cmd
}

func newKeyInit(a *app) *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a key pair for the attester, one for the verifier, and a trust root",
		Long: `Init makes what is missing and changes nothing that exists. With a passphrase
file the private keys are encrypted, in the form that cosign reads.

PATHS_ATTESTER_KEY and PATHS_VERIFIER_KEY name keys that are elsewhere, in a file or
in a KMS: of these only the public key is written, for the trust root.`,
		Example: `  pathctl key init
  pathctl key init --passphrase-file ~/.paths-passphrase
  PATHS_ATTESTER_KEY=hashivault://orders pathctl key init`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			made, err := a.initHome(cmd.Context(), passphraseFile)
			if err != nil {
				return err
			}
			files := map[string]any{
				"made":     made,
				"attester": attest.PublicFile(a.keyFile(attest.RoleAttester)),
				"verifier": attest.PublicFile(a.keyFile(attest.RoleVerifier)),
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
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file with a passphrase that encrypts the keys (or PATHS_PASSPHRASE_FILE)")
	return cmd
}

func newKeyNew(a *app) *cobra.Command {
	var passphraseFile string
	var roles []string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make one more key pair, for somebody whom the trust root is to know",
		Long: `New makes a key pair in HOME/keys, unless it is there. Nobody trusts it before its
public key stands in a trust root. New prints the entry to add there, with the roles
that --role gives, and as much trust as a role can use:

  attester  signs evidence about images
  verifier  signs verdicts
  waiver    accepts findings

Whoever signs an image's evidence can't waive its findings, whatever the roles.`,
		Example: `  pathctl key new waiver                      # the key of pathctl waiver add
  pathctl key new rebuilder --role attester   # of a second builder's attester
  pathctl key new audit --role verifier --role waiver`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`).MatchString(name) {
				return step.Usagef("%.60q is no name for a key: give lower-case letters, digits and dashes", name)
			}
			if name == attest.RoleAttester || name == attest.RoleVerifier || strings.HasPrefix(name, "cache") {
				return step.Usagef("%s is the name of a key that pathctl makes itself: choose another", name)
			}
			entry, err := trustEntry(name, roles)
			if err != nil {
				return err
			}
			key := a.keyFile(name)
			made, err := attest.CreateKey(filepath.Dir(key), name, a.passphrase(passphraseFile))
			if err != nil {
				return err
			}
			files := map[string]any{"made": made, "key": key, "public": attest.PublicFile(key), "entry": entry}
			return a.print(files, func(w io.Writer) {
				if !made {
					fmt.Fprintln(w, "it was there already")
				}
				fmt.Fprintf(w, "key     %s\npublic  %s\n", files["key"], files["public"])
				fmt.Fprintf(w, "to trust it, add to signers in %s:\n  %s\n", attest.TrustFile, entry)
			})
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file with a passphrase that encrypts the key (or PATHS_PASSPHRASE_FILE)")
	cmd.Flags().StringArrayVar(&roles, "role", []string{attest.RoleWaiver}, "role in the entry: attester, verifier or waiver; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("role", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return keyRoles(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// keyRoles are the roles that pathctl can sign in. A platform signs without it, with a
// key of its own.
func keyRoles() []string {
	return []string{attest.RoleAttester, attest.RoleVerifier, attest.RoleWaiver}
}

// trustEntry is a line of a trust root. An attester gets what key init gives one: a
// workstation supports SLSA Build L1 at most.
func trustEntry(name string, roles []string) (string, error) {
	var have []string
	tier, level := evidence.Derived, 0
	for _, r := range keyRoles() {
		if slices.Contains(roles, r) {
			have = append(have, r)
		}
	}
	for _, r := range roles {
		switch {
		case !slices.Contains(keyRoles(), r):
			return "", step.Usagef("--role %.60q is no role: choose %s", r, strings.Join(keyRoles(), ", "))
		case r == attest.RoleAttester:
			tier, level = evidence.Observed, 1
		}
	}
	return fmt.Sprintf("- {name: %s, key: keys/%s.pub, roles: [%s], maxTier: %s, maxBuildLevel: %d}", name, name, strings.Join(have, ", "), tier, level), nil
}

func newKeyExport(a *app) *cobra.Command {
	var passphraseFile, out string
	cmd := &cobra.Command{
		Use:   "export KEY",
		Short: "Write the public half of a key, for a trust root or for cosign",
		Long: `Export writes the public key in PEM. KEY is the file of a private key, or names one
in a KMS: hashivault://NAME is a key of Vault's transit engine, awskms://, gcpkms://
and azurekms:// are those of clouds. Where a KMS is and whom it takes you for is said
as for its own tools: for Vault by VAULT_ADDR, and VAULT_TOKEN or ~/.vault-token.`,
		Example: `  pathctl key export ~/.paths/keys/attester.key
  pathctl key export hashivault://orders --out ~/.paths/keys/orders-2.pub`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := attest.LoadSigner(cmd.Context(), args[0], a.passphrase(passphraseFile))
			if err != nil {
				return err
			}
			pem, err := s.PublicPEM()
			if err != nil {
				return err
			}
			if out != "" {
				if err := writeFile(out, pem, 0o644); err != nil {
					return fmt.Errorf("write public key: %w", err)
				}
			}
			return a.print(map[string]string{"key": args[0], "public": string(pem), "out": out}, func(w io.Writer) {
				if out == "" {
					fmt.Fprintf(w, "%s", pem)
				} else {
					fmt.Fprintf(w, "public    %s\n", out)
				}
			})
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file with the key's passphrase (or PATHS_PASSPHRASE_FILE)")
	cmd.Flags().StringVar(&out, "out", "", "file to write it to, in place of standard output")
	return cmd
}

// keyFile is where a role's private key is, when no other is named.
func (a *app) keyFile(role string) string {
	return filepath.Join(a.host.Home, "keys", role+".key")
}

// initHome makes keys and trust root where they are missing.
func (a *app) initHome(ctx context.Context, passphraseFile string) (bool, error) {
	elsewhere := map[string]*attest.Signer{}
	for name, key := range map[string]string{attest.AttesterKey: a.host.AttesterKey, attest.VerifierKey: a.host.VerifierKey} {
		if key == "" {
			continue
		}
		var err error
		if elsewhere[name], err = attest.LoadSigner(ctx, key, a.passphrase(passphraseFile)); err != nil {
			return false, err
		}
	}
	return attest.InitHome(a.host.Home, a.passphrase(passphraseFile), elsewhere)
}
