package host

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds what GitHub answers: a token in JSON.
const maxAnswer = 64 << 10

// GitHub is how a job of GitHub Actions gets identity tokens; it has this only with
// the permission id-token: write.
type GitHub struct {
	// URL and Token are ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN.
	URL   string
	Token string
}

// IdentityToken asks GitHub for an OIDC token with an audience.
func (g GitHub) IdentityToken(ctx context.Context, transport http.RoundTripper, audience string) (string, error) {
	u, err := url.Parse(g.URL)
	if err != nil || u.Host == "" {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no URL")
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+g.Token)
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s", resp.Status)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil || answer.Value == "" {
		return "", errors.New("its answer holds no token")
	}
	return answer.Value, nil
}

// unverified reads the claims of a JSON Web Token (RFC 7519), whoever signed it.
func unverified(token string, claims any) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("it is no JSON Web Token: want three parts with dots between")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, claims) != nil {
		return errors.New("it is no JSON Web Token: its claims can't be read") // never a part of it
	}
	return nil
}
