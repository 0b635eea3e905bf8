package attest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/attest"
)

const signingConfig = `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json",
"caUrls":[{"url":"http://127.0.0.1:1","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z"},"operator":"test"}],
"rekorTlogUrls":[{"url":"http://127.0.0.1:1","majorApiVersion":2,"validFor":{"start":"2020-01-01T00:00:00Z"},"operator":"test"}],
"rekorTlogConfig":{"selector":"ANY"},
"tsaUrls":[{"url":"http://127.0.0.1:1","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z"},"operator":"test"}],
"tsaConfig":{"selector":"ANY"}}`

// token is an identity token with some claims; nothing here checks its signature.
func token(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".e30"
}

func services(t *testing.T, config string) (*attest.Services, error) {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{"config.json": []byte(config), "root.json": newSigstore(t).trustedRoot(t)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return attest.LoadServices(filepath.Join(dir, "config.json"), filepath.Join(dir, "root.json"), nil)
}

func TestLoadServices(t *testing.T) {
	if _, err := services(t, signingConfig); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, from, to, want string }{
		{"no JSON", "{", "", "signing configuration"},
		{"another type", "v0.2+json", "v0.9+json", "media type"},
		{"no time", `"tsaUrls"`, `"oidcUrls"`, "timestamp authority"},
		{"too new", `"majorApiVersion":2`, `"majorApiVersion":3`, "log"},
		{"not yet", "2020", "2999", "certificate authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := services(t, strings.Replace(signingConfig, tt.from, tt.to, 1)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := attest.LoadServices(filepath.Join(t.TempDir(), "x"), "y", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestIdentityToken(t *testing.T) {
	v, err := services(t, signingConfig)
	if err != nil {
		t.Fatal(err)
	}
	signer := func(text string) (*attest.Signer, error) {
		return attest.NewIdentitySigner(t.Context(), v, func(context.Context) (string, error) { return text, nil })
	}
	const secret = "c2VjcmV0"
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "three parts"},
		{"a password", secret, "three parts"},
		{"no claims", "e30." + secret + ".e30", "no JSON object"},
		{"no base64", "e30.!" + secret + ".e30", "base64url"},
		{"nobody", token(`{"iss":"https://x"}`), "no subject"},
		{"of the past", token(`{"iss":"https://x","sub":"y","exp":1}`), "ran out at 1970"},
		{"huge", strings.Repeat("x", 1<<20), "limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := signer(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, want an error with %q and no part of the token", err, tt.want)
			}
		})
	}
	one, err := signer(token(`{"iss":"https://x","sub":"y","job_workflow_ref":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	two, err := signer(token(`{"iss":"https://x","sub":"y","job_workflow_ref":"b"}`))
	if err != nil {
		t.Fatal(err)
	}
	if one.ID() == two.ID() || !one.ByIdentity() {
		t.Error("two workflows are one signer")
	}
}
