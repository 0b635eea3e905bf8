package attest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	// Audience is whom identity tokens are for, and the client that asks for them:
	// Sigstore's certificate authorities.
	Audience = "sigstore"
	// loginTime bounds a login whose provider sets no bound.
	loginTime = 15 * time.Minute
)

// Login returns tokens of a person, who logs in at the configuration's OIDC provider:
// the device authorization grant of RFC 8628, with PKCE. show tells the person which
// page to open, and the code to compare or enter there. A token is kept in memory
// alone, and for as long as it is valid.
func (v *Services) Login(show func(page, code string)) (Token, error) {
	if v.provider == "" {
		return nil, step.Usagef("the signing configuration names no OIDC provider, which a login needs: add one to oidcUrls, or give --identity-token")
	}
	var text string
	var until time.Time
	return func(ctx context.Context) (string, error) {
		if time.Until(until) > tokenMargin {
			return text, nil
		}
		token, err := v.login(ctx, show)
		if err != nil {
			return "", fmt.Errorf("log in at %s: %w", v.provider, err)
		}
		text, until = token.text, token.until
		return text, nil
	}, nil
}

// tokenMargin is how long a token must still live to be shown to somebody.
const tokenMargin = 10 * time.Second

// loggedIn is a person's token.
type loggedIn struct {
	text  string
	until time.Time
}

func (v *Services) login(ctx context.Context, show func(page, code string)) (loggedIn, error) {
	client := &http.Client{Transport: v.transport, Timeout: asking}
	ctx = oidc.ClientContext(ctx, client) // also where oauth2 looks
	provider, err := oidc.NewProvider(ctx, v.provider)
	if err != nil {
		return loggedIn{}, fmt.Errorf("%w\n  fix: see that oidcUrls of the signing configuration names the issuer, and that it is in reach", err)
	}
	config := oauth2.Config{ClientID: Audience, Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email"}}
	if config.Endpoint.DeviceAuthURL == "" {
		return loggedIn{}, errors.New("it has no device authorization grant\n  fix: get a token another way, and give it with --identity-token")
	}
	secret := oauth2.GenerateVerifier()
	device, err := config.DeviceAuth(ctx, oauth2.S256ChallengeOption(secret))
	if err != nil {
		return loggedIn{}, refusedLogin(err)
	}
	page := device.VerificationURIComplete
	if page == "" {
		page = device.VerificationURI
	}
	if u, err := url.Parse(page); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return loggedIn{}, fmt.Errorf("it names the page %.200q, which is no URL", page)
	}
	waiting, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	show(page, device.UserCode)
	answer, err := config.DeviceAccessToken(waiting, device, oauth2.VerifierOption(secret))
	switch {
	case ctx.Err() != nil:
		return loggedIn{}, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return loggedIn{}, errLate
	case err != nil:
		return loggedIn{}, refusedLogin(err)
	}
	text, ok := answer.Extra("id_token").(string)
	if !ok {
		return loggedIn{}, errors.New("its answer holds no identity token")
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: Audience}).Verify(ctx, text)
	if err != nil {
		return loggedIn{}, err
	}
	return loggedIn{text: text, until: token.Expiry}, nil
}

var errLate = errors.New("nobody approved it in time\n  fix: run again, and open the page before the code runs out")

// refusedLogin says what the provider's error means (RFC 8628, section 3.5).
func refusedLogin(err error) error {
	var e *oauth2.RetrieveError
	if !errors.As(err, &e) {
		return err
	}
	switch e.ErrorCode {
	case "access_denied":
		return errors.New("it was denied on the provider's page\n  fix: run again, and approve it, or sign with --key or --identity-token")
	case "expired_token":
		return errLate
	case "":
		return fmt.Errorf("it answers %s", e.Response.Status) // never its body, which may hold a token
	}
	return fmt.Errorf("it answers %q: %s", e.ErrorCode, e.ErrorDescription)
}
