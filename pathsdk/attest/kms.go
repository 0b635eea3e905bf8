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
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// kms is a service that keeps private keys and signs with them. Where it is, and what
// it takes for us, its library reads from the environment.
type kms struct {
	// key names an example of a key.
	key  string
	open func(uri string) (signature.Signer, error)
	// explain says what has failed, and what to do.
	explain func(name string, err error) (fix string, cause error)
	// suits says how to make a key that suits.
	suits func(name string) string
}

// kmsByScheme are the services that are known, by the scheme of their keys' URIs.
func kmsByScheme() map[string]kms {
	return map[string]kms{
		"hashivault": {
			key: hashivault.ReferenceScheme + "NAME",
			open: func(uri string) (signature.Signer, error) {
				if err := hashivault.ValidReference(uri); err != nil {
					return nil, step.Usagef("%w", err)
				}
				return hashivault.LoadSignerVerifier(uri, crypto.SHA256)
			},
			explain: explainVault,
			suits:   func(name string) string { return "vault write transit/keys/" + name + " type=ecdsa-p256" },
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
	failed := func(err error) error {
		if errors.Is(err, step.ErrUsage) {
			return err
		}
		fix, cause := s.explain(name, err)
		return fmt.Errorf("%w\n  fix: %s", cause, fix)
	}
	key, err := inTime(ctx, func() (signature.Signer, error) { return s.open(uri) })
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
		return keypair{}, fmt.Errorf("%w\n  fix: make another: %s", err, s.suits(name))
	}
	return pair, nil
}

// explainVault tells a server that can't be reached from one that refuses.
func explainVault(name string, err error) (fix string, cause error) {
	var answer *vault.ResponseError
	var call *url.Error
	switch {
	case errors.As(err, &answer):
		why := fmt.Errorf("Vault answers %d: %s", answer.StatusCode, strings.Join(answer.Errors, "; "))
		switch answer.StatusCode {
		case http.StatusForbidden:
			return fmt.Sprintf("give a token in VAULT_TOKEN or ~/.vault-token that is valid, and may read transit/keys/%[1]s and update transit/sign/%[1]s/*", name), why
		case http.StatusServiceUnavailable:
			return "unseal Vault, or wait until it serves again", why
		}
		return "see what the key is: vault read transit/keys/" + name, why
	case errors.As(err, &call):
		return "start Vault, or name another with VAULT_ADDR", fmt.Errorf("Vault does not answer: %w", call)
	case errors.Is(err, errTooLong):
		return "see whether it is healthy: vault status", fmt.Errorf("Vault: %w", err)
	}
	return fmt.Sprintf("set VAULT_ADDR, log in (VAULT_TOKEN or ~/.vault-token), and see that the key is there (vault read transit/keys/%[1]s), or make it: vault write transit/keys/%[1]s type=ecdsa-p256", name), err
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
