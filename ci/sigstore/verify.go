package main

import (
	"flag"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// verifyBundles is sigstore-go's own verifier, as others build it into theirs.
func verifyBundles(c *config, args []string) error {
	f := flag.NewFlagSet("sigstore verify", flag.ContinueOnError)
	issuer := f.String("issuer", "", "OIDC issuer of the certificate")
	subject := f.String("subject", "", "subject alternative name of the certificate")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return errUsage
	}
	material, err := root.NewTrustedRootFromPath(c.path("trusted_root.json"))
	if err != nil {
		return err
	}
	verifier, err := verify.NewVerifier(material, verify.WithTransparencyLog(1), verify.WithSignedTimestamps(1))
	if err != nil {
		return err
	}
	identity, err := verify.NewShortCertificateIdentity(*issuer, "", *subject, "")
	if err != nil {
		return err
	}
	for _, file := range f.Args() {
		b, err := bundle.LoadJSONFromPath(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if _, err := verifier.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithCertificateIdentity(identity))); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	fmt.Printf("%d bundles verified\n", f.NArg())
	return nil
}
