package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/run/host"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// signerFlags say who signs: a private key, or an identity for which a Sigstore gives
// short-lived certificates. Only verbs that sign have them.
type signerFlags struct {
	role                                      string
	key, passphraseFile                       string
	signingConfig, trustedRoot, identityToken string
	login                                     bool
	// ask shows a person what to do; nil for standard error.
	ask func(text string)
}

func (f *signerFlags) add(cmd *cobra.Command, role string) {
	f.role = role
	fl := cmd.Flags()
	variable := ""
	if role != attest.RoleWaiver {
		variable = " (or PATHS_" + strings.ToUpper(role) + "_KEY)"
	}
	or := func(variable string) string {
		if role != attest.RoleAttester {
			return ""
		}
		return " (or " + variable + ")"
	}
	fl.StringVar(&f.key, "key", "", "the "+role+"'s private key: a file, or hashivault://, awskms://, gcpkms:// or azurekms:// for a key in a KMS"+variable+"; HOME/keys/"+role+".key when empty")
	fl.StringVar(&f.passphraseFile, "passphrase-file", "", "file with the key's passphrase (or PATHS_PASSPHRASE_FILE)")
	fl.StringVar(&f.signingConfig, "signing-config", "", "Sigstore's SigningConfig: the services that vouch for signatures"+or("PATHS_SIGNING_CONFIG"))
	fl.StringVar(&f.trustedRoot, "trusted-root", "", "Sigstore's TrustedRoot that belongs to it"+or("PATHS_TRUSTED_ROOT"))
	fl.StringVar(&f.identityToken, "identity-token", "", "file with an OIDC token, whose identity signs in place of a key"+or("PATHS_IDENTITY_TOKEN_FILE")+"; a GitHub job's own when empty")
	fl.BoolVar(&f.login, "login", false, "sign as the person who logs in, on the page that is shown then"+or("PATHS_LOGIN=device"))
}

// fill takes from the environment what no flag says. The verifier takes a key from
// there and nothing else, and whoever waives takes nothing: they must not sign as the
// attester unasked.
func (f signerFlags) fill(h host.Host) signerFlags {
	if f.role == attest.RoleVerifier && !f.named() {
		f.key = h.VerifierKey
	}
	if f.role != attest.RoleAttester {
		return f
	}
	for _, from := range []struct {
		to  *string
		env string
	}{{&f.signingConfig, h.SigningConfig}, {&f.trustedRoot, h.TrustedRoot}} {
		if *from.to == "" {
			*from.to = from.env
		}
	}
	if !f.named() {
		f.key, f.identityToken, f.login = h.AttesterKey, h.IdentityTokenFile, h.Login
	}
	return f
}

// named reports whether anything says who signs.
func (f signerFlags) named() bool { return f.key != "" || f.identityToken != "" || f.login }

// signer is who signs. Keys are made on the way when make is set and none is named:
// whoever brings a key, or an identity, brings a trust root, too.
func (a *app) signer(ctx context.Context, f signerFlags, make bool) (*attest.Signer, error) {
	f = f.fill(a.host)
	if f.key != "" && (f.identityToken != "" || f.login) || f.identityToken != "" && f.login {
		return nil, step.Usagef("--key, --identity-token and --login, or their variables: one of them signs; leave the others out")
	}
	if (f.signingConfig == "") != (f.trustedRoot == "") {
		return nil, step.Usagef("--signing-config and --trusted-root belong together: give both")
	}
	var services *attest.Services
	if f.signingConfig != "" {
		var err error
		if services, err = attest.LoadServices(f.signingConfig, f.trustedRoot, a.transport()); err != nil {
			return nil, err
		}
	}
	token := a.token(f.identityToken)
	if f.role != attest.RoleAttester && f.identityToken == "" {
		token = nil // a job's own token is the attester's
	}
	if f.login {
		var err error
		if token, err = a.login(f, services); err != nil {
			return nil, err
		}
	}
	if f.key == "" && token != nil && services != nil {
		return attest.NewIdentitySigner(ctx, services, token)
	}
	if f.identityToken != "" {
		return nil, step.Usagef("--identity-token needs a certificate authority: give --signing-config and --trusted-root")
	}
	if f.key == "" && services != nil {
		return nil, step.Usagef("a signing configuration, and nobody who signs: give --identity-token, --login, or --key\n" +
			"  fix: in a GitHub job, let the job have the permission id-token: write")
	}
	if f.key == "" {
		if make {
			if _, err := a.initHome(ctx, f.passphraseFile); err != nil {
				return nil, err
			}
		}
		f.key = a.keyFile(f.role)
		if _, err := os.Stat(f.key); errors.Is(err, fs.ErrNotExist) && f.role == attest.RoleWaiver {
			return nil, step.Usagef("nobody says who signs, and there is no %s\n  fix: give --key, --identity-token or --login; or make a key with: pathctl key new %s", f.key, f.role)
		}
	}
	s, err := attest.LoadSigner(ctx, f.key, a.passphrase(f.passphraseFile))
	if err != nil {
		return nil, err
	}
	return s.With(services), nil
}

// login is where tokens come from when a person logs in.
func (a *app) login(f signerFlags, services *attest.Services) (attest.Token, error) {
	if services == nil {
		return nil, step.Usagef("--login needs a certificate authority and an OIDC provider: give --signing-config and --trusted-root")
	}
	if a.host.GitHub.Token != "" {
		return nil, step.Usagef("--login: nobody is there to log in, and this job of GitHub has a token of its own\n  fix: leave it out, or unset PATHS_LOGIN")
	}
	ask := f.ask
	if ask == nil {
		ask = func(text string) { fmt.Fprintln(a.stderr, clean(text)) }
	}
	return services.Login(func(page, code string) {
		ask(fmt.Sprintf("to sign, open %s and approve the code %s", page, code))
	})
}

// token is where identity tokens come from; nil for nowhere.
func (a *app) token(file string) attest.Token {
	switch {
	case file != "":
		// Read each time: who projects it there renews it.
		return func(context.Context) (string, error) {
			b, err := bounded.ReadFile(file, attest.MaxToken)
			if err != nil {
				return "", fmt.Errorf("identity token: %w", err)
			}
			return strings.TrimSpace(string(b)), nil
		}
	case a.host.GitHub.Token != "":
		return func(ctx context.Context) (string, error) {
			t, err := a.host.GitHub.IdentityToken(ctx, a.transport(), attest.Audience)
			if err != nil {
				return "", fmt.Errorf("ask GitHub for an identity token: %w", err)
			}
			return t, nil
		}
	}
	return nil
}
