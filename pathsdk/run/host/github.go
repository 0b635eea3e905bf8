package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// observer is the audience of the tokens that GitHub's word is read from. No
// certificate authority takes one, so that whoever got hold of it could not sign.
const observer = "https://github.com/pavedpaths/paths"

// Hosted reports whether there is a job of GitHub's that can ask who it is.
func (g GitHub) Hosted() bool { return g.URL != "" && g.Token != "" }

// Run asks GitHub which run this is, and checks the answer: a token signed by its
// issuer, for us, and not run out. Who the issuer is stands in the answer, and it is
// for the verifier to say whether that one's word counts.
func (g GitHub) Run(ctx context.Context, transport http.RoundTripper) (provenance.GitHubRun, error) {
	var run provenance.GitHubRun
	raw, err := g.IdentityToken(ctx, transport, observer)
	if err != nil {
		return run, fmt.Errorf("ask GitHub which run this is: %w\n  fix: if this is no job of GitHub Actions, unset ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN", err)
	}
	issuer, err := issuerOf(raw)
	if err != nil {
		return run, fmt.Errorf("GitHub's token: %w", err)
	}
	ctx = oidc.ClientContext(ctx, &http.Client{Transport: transport, Timeout: 30 * time.Second})
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return run, fmt.Errorf("GitHub's token: the keys of its issuer %s: %w", issuer, err)
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: observer}).Verify(ctx, raw)
	if err != nil {
		return run, fmt.Errorf("GitHub's token is not to be trusted: %w", err)
	}
	if err := token.Claims(&run); err != nil {
		return run, fmt.Errorf("GitHub's token: %w", err)
	}
	return run, run.Validate()
}

// issuerOf reads who says that they signed a token: over TLS, or on this machine.
func issuerOf(raw string) (string, error) {
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := unverified(raw, &claims); err != nil {
		return "", err
	}
	u, err := url.Parse(claims.Issuer)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("its issuer %.200q is no URL", claims.Issuer)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()) {
		return claims.Issuer, nil
	}
	return "", errors.New("its issuer's keys don't come over TLS: " + u.Scheme + "://" + u.Host)
}
