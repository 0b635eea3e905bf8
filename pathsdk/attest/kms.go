package attest

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	vault "github.com/hashicorp/vault/api"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/aws"
	"github.com/sigstore/sigstore/pkg/signature/kms/azure"
	"github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// kms is a service that keeps private keys and signs with them. Where it is, and whom
// it takes us for, its library reads from the environment.
type kms struct {
	// key names an example of a key.
	key   string
	valid func(uri string) error
	open  func(ctx context.Context, uri string) (signature.Signer, error)
	// explain says what has failed, and what to do.
	explain func(name string, err error) (fix string, cause error)
	// create says how to make a key that suits.
	create func(name string) string
}

// kmsByScheme are the services that are known, by the scheme of their keys' URIs.
func kmsByScheme() map[string]kms {
	return map[string]kms{
		"hashivault": {
			key:   hashivault.ReferenceScheme + "NAME",
			valid: hashivault.ValidReference,
			open: func(_ context.Context, uri string) (signature.Signer, error) {
				return hashivault.LoadSignerVerifier(uri, crypto.SHA256)
			},
			explain: explainVault,
			create:  createInVault,
		},
		"awskms": {
			key:   aws.ReferenceScheme + "/ARN",
			valid: aws.ValidReference,
			open: func(ctx context.Context, uri string) (signature.Signer, error) {
				return aws.LoadSignerVerifier(ctx, uri)
			},
			explain: explainCloud("AWS_PROFILE, or what else aws sts get-caller-identity reads"),
			create:  func(string) string { return "aws kms create-key --key-usage SIGN_VERIFY --key-spec ECC_NIST_P256" },
		},
		"gcpkms": {
			key:   gcp.ReferenceScheme + "projects/P/locations/L/keyRings/R/cryptoKeys/NAME",
			valid: gcp.ValidReference,
			open: func(ctx context.Context, uri string) (signature.Signer, error) {
				return gcp.LoadSignerVerifier(ctx, uri)
			},
			explain: explainCloud("gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"),
			create: func(string) string {
				return "gcloud kms keys create NAME --location L --keyring R --purpose asymmetric-signing --default-algorithm ec-sign-p256-sha256"
			},
		},
		"azurekms": {
			key:   azure.ReferenceScheme + "VAULT.vault.azure.net/NAME",
			valid: azure.ValidReference,
			open: func(ctx context.Context, uri string) (signature.Signer, error) {
				return azure.LoadSignerVerifier(ctx, uri)
			},
			explain: explainCloud("az login, or AZURE_TENANT_ID and AZURE_CLIENT_ID"),
			create: func(string) string {
				return "az keyvault key create --vault-name VAULT --name NAME --kty EC --curve P-256"
			},
		},
	}
}

// inKMS reports whether a key is named by a URI, and is in a KMS.
func inKMS(key string) bool { return strings.Contains(key, "://") }

// loadKMS asks a KMS for the public half of a key, and has it sign with the other.
func loadKMS(ctx context.Context, uri string) (keypair, error) {
	scheme, name, _ := strings.Cut(uri, "://")
	all := kmsByScheme()
	s, ok := all[scheme]
	if !ok {
		var known []string
		for _, scheme := range slices.Sorted(maps.Keys(all)) {
			known = append(known, all[scheme].key)
		}
		return keypair{}, step.Usagef("no KMS is known by %.40q\n  fix: give the file of a key, or %s", scheme+"://", strings.Join(known, ", "))
	}
	if err := s.valid(uri); err != nil {
		return keypair{}, step.Usagef("%w\n  fix: give %s", err, s.key)
	}
	failed := func(err error) error {
		fix, cause := s.explain(name, err)
		return fmt.Errorf("%w\n  fix: %s", cause, fix)
	}
	key, err := inTime(ctx, func() (signature.Signer, error) { return s.open(ctx, uri) })
	if err != nil {
		return keypair{}, failed(err)
	}
	public, err := inTime(ctx, func() (crypto.PublicKey, error) { return key.PublicKey(options.WithContext(ctx)) })
	if err != nil {
		return keypair{}, failed(err)
	}
	pair, err := newKeypair(public, func(ctx context.Context, digest []byte) ([]byte, error) {
		sig, err := inTime(ctx, func() ([]byte, error) {
			return key.SignMessage(nil, options.WithContext(ctx), options.WithDigest(digest), options.WithCryptoSignerOpts(crypto.SHA256))
		})
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", uri, failed(err))
		}
		return sig, nil
	})
	if err != nil {
		return keypair{}, fmt.Errorf("%w\n  fix: make another: %s", err, s.create(name))
	}
	return pair, nil
}

// explainVault tells a server that can't be reached from one that refuses, and from
// what the library says by text alone.
func explainVault(name string, err error) (fix string, cause error) {
	var answer *vault.ResponseError
	var call *url.Error
	key := "transit/keys/" + name
	look, create := "vault read "+key, createInVault(name)
	says := func(text string) bool { return strings.Contains(err.Error(), text) }
	switch {
	case errors.As(err, &answer):
		why := strings.Join(strings.Fields(strings.Join(answer.Errors, "; ")), " ")
		cause = fmt.Errorf("Vault answers %d: %s", answer.StatusCode, why)
		switch answer.StatusCode {
		case http.StatusForbidden:
			return fmt.Sprintf("log in (vault login, or VAULT_TOKEN) as somebody who may read %s and update transit/sign/%s/*", key, name), cause
		case http.StatusServiceUnavailable:
			return "unseal Vault, or wait until it serves again", cause
		}
		return "see what Vault knows of it: " + look, cause
	case errors.As(err, &call):
		return "start Vault, or name another with VAULT_ADDR", fmt.Errorf("Vault does not answer: %w", call)
	case errors.Is(err, errTooLong):
		return "see whether Vault is healthy: vault status", fmt.Errorf("Vault: %w", err)
	case says("VAULT_ADDR"):
		return "set VAULT_ADDR, for instance to https://vault.example.com:8200", err
	case says("vault-token") || says("no Vault token"):
		return "log in: vault login, or VAULT_TOKEN", errors.New("there is no token for Vault, neither in VAULT_TOKEN nor in ~/.vault-token")
	case says("could not read data"):
		return "make it: " + create + "; of another engine than transit, name the path in TRANSIT_SECRET_ENGINE_PATH", errors.New("Vault has no such key")
	case says("could not parse transit key"): // symmetric keys have no public one
		return "make another: " + create, errNotP256
	}
	return "see what Vault knows of it: " + look, err
}

func createInVault(name string) string {
	return "vault write transit/keys/" + name + " type=ecdsa-p256"
}

// explainCloud leaves the cause to the cloud's own words.
func explainCloud(login string) func(string, error) (string, error) {
	return func(_ string, err error) (string, error) {
		return "log in (" + login + ") as somebody who may read the public key and sign with it, and see that the key is there", err
	}
}

var errTooLong = fmt.Errorf("no answer within %s", asking)

// inTime bounds what a library does that waits for as long as it takes.
func inTime[T any](ctx context.Context, do func() (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, asking, errTooLong)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
