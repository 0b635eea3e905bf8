package host

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// TestGitHubRun asks an issuer that answers as GitHub's does, and one that lies.
func TestGitHubRun(t *testing.T) {
	key, other := rsaKey(t), rsaKey(t)
	var server *httptest.Server
	var answer func(audience string) string
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256"]}`, server.URL, server.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/request", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"value":%q}`, answer(r.URL.Query().Get("audience")))
	})
	server = httptest.NewServer(mux)
	defer server.Close()
	claims := func(audience string, change map[string]any) map[string]any {
		c := map[string]any{
			"iss": server.URL, "sub": "repo:acme/orders:ref:refs/heads/main", "aud": audience,
			"iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
			"job_workflow_ref": "acme/orders/.github/workflows/ship.yaml@refs/heads/main", "repository": "acme/orders",
			"ref": "refs/heads/main", "sha": strings.Repeat("a", 40), "run_id": "7", "run_attempt": "1", "runner_environment": "github-hosted",
		}
		maps.Copy(c, change)
		return c
	}
	sign := func(by *rsa.PrivateKey, c map[string]any) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: by, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(s).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	b64 := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	for name, c := range map[string]struct {
		answer func(audience string) string
		want   string // in the error; none if empty
	}{
		"as GitHub does":   {func(a string) string { return sign(key, claims(a, nil)) }, ""},
		"another key":      {func(a string) string { return sign(other, claims(a, nil)) }, "not to be trusted"},
		"another audience": {func(string) string { return sign(key, claims("sigstore", nil)) }, "audience"},
		"ended": {func(a string) string {
			return sign(key, claims(a, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}))
		}, "expired"},
		"not valid yet": {func(a string) string {
			return sign(key, claims(a, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}))
		}, "nbf"},
		"no signature": {func(a string) string {
			return b64(map[string]string{"alg": "none"}) + "." + b64(claims(a, nil)) + "."
		}, "not to be trusted"},
		"changed claims": {func(a string) string {
			parts := strings.Split(sign(key, claims(a, nil)), ".")
			return parts[0] + "." + b64(claims(a, map[string]any{"sha": strings.Repeat("b", 40)})) + "." + parts[2]
		}, "not to be trusted"},
		"an issuer without TLS": {func(a string) string {
			return sign(key, claims(a, map[string]any{"iss": "http://tokens.example.com"}))
		}, "TLS"},
		"an issuer that is not there": {func(a string) string {
			return sign(key, claims(a, map[string]any{"iss": server.URL + "/other"}))
		}, "keys of its issuer"},
		"an issuer that is no URL": {func(a string) string { return sign(key, claims(a, map[string]any{"iss": "github"})) }, "no URL"},
		"a claim missing":          {func(a string) string { return sign(key, claims(a, map[string]any{"sha": ""})) }, "claim sha is missing"},
		"no token":                 {func(string) string { return "eyJ.x" }, "no JSON Web Token"},
		"no claims":                {func(string) string { return "a.!.c" }, "no JSON Web Token"},
	} {
		answer = c.answer
		run, err := GitHub{URL: server.URL + "/request?api-version=2.0", Token: "secret"}.Run(t.Context(), http.DefaultTransport)
		switch {
		case c.want == "" && (err != nil || run.Issuer != server.URL || run.URI() != "https://github.com/acme/orders/actions/runs/7/attempts/1"):
			t.Errorf("%s: %+v, %v", name, run, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "eyJ") {
			t.Errorf("%s: the error shows a part of the token: %v", name, err)
		}
	}
	if _, err := (GitHub{URL: server.URL + "/request", Token: "wrong"}).Run(t.Context(), http.DefaultTransport); err == nil || !strings.Contains(err.Error(), "unset ACTIONS_ID_TOKEN_REQUEST_URL") {
		t.Errorf("a refused request: %v", err)
	}
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
