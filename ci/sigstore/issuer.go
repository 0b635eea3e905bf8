package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// verbIssuer is the hidden verb of the process that is the issuer.
	verbIssuer     = "issuer"
	githubPath     = "/github"
	kubernetesPath = "/kubernetes"
	discoveryPath  = "/.well-known/openid-configuration"
	keysPath       = "/keys"
	// requestPath answers as GitHub's runner does to a job that asks for a token.
	requestPath = githubPath + "/request"
)

// fulcioConfig says whose tokens Fulcio takes.
func fulcioConfig(c *config) string {
	return fmt.Sprintf(`oidc-issuers:
  %[1]s/github:
    issuer-url: %[1]s/github
    client-id: sigstore
    type: github-workflow
  %[1]s/kubernetes:
    issuer-url: %[1]s/kubernetes
    client-id: sigstore
    type: kubernetes
  %[1]s/people:
    issuer-url: %[1]s/people
    client-id: sigstore
    type: email
`, c.url("issuer")) + clusterIssuer(os.Getenv("PATHS_CLUSTER_ISSUER"))
}

// clusterIssuer is a Kubernetes cluster's own, beside ours that only looks like one.
func clusterIssuer(url string) string {
	if url == "" {
		return ""
	}
	return fmt.Sprintf("  %[1]q:\n    issuer-url: %[1]q\n    client-id: sigstore\n    type: kubernetes\n", url)
}

// serveIssuer is the OIDC issuer: OpenID Connect Discovery 1.0 and its keys, three times,
// since GitHub, Kubernetes and where people log in are three issuers.
func serveIssuer(ctx context.Context, c *config) error {
	key, err := readKey(c, "issuer")
	if err != nil {
		return err
	}
	secret := rand.Text()
	if err := write(c.path("github-request-token"), []byte(secret), 0o600); err != nil {
		return err
	}
	keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: string(jose.ES256), Use: "sig"}}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	for _, path := range []string{githubPath, kubernetesPath, peoplePath} {
		issuer := c.url("issuer") + path
		mux.HandleFunc("GET "+path+discoveryPath, func(w http.ResponseWriter, _ *http.Request) {
			about := map[string]any{
				"issuer": issuer, "jwks_uri": issuer + keysPath,
				"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
				"id_token_signing_alg_values_supported": []string{string(jose.ES256)},
			}
			if path == peoplePath {
				about["device_authorization_endpoint"], about["token_endpoint"] = c.url("issuer")+askPath, c.url("issuer")+exchangePath
			}
			answer(w, about)
		})
		mux.HandleFunc("GET "+path+keysPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, keys) })
	}
	mux.HandleFunc("GET "+requestPath, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret {
			http.Error(w, "this is not the job's token", http.StatusUnauthorized)
			return
		}
		o := defaults()
		if a := r.URL.Query().Get("audience"); a != "" {
			o.audience = a
		}
		token, err := mint(c, o)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, map[string]string{"value": token})
	})
	people := &devices{asked: map[string]*login{}, mint: func(o tokenOptions) (string, error) { return mint(c, o) }}
	people.register(mux, c.url("issuer")+devicePath, answer)
	server := &http.Server{Addr: "127.0.0.1:" + strconv.Itoa(c.Ports["issuer"]), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// tokenOptions say what a token claims.
type tokenOptions struct {
	shape, audience           string
	repository, workflow, ref string
	sha, run, runner          string
	namespace, account        string
	email                     string
	life                      time.Duration
	out                       string
}

func defaults() tokenOptions {
	return tokenOptions{
		shape: "github", audience: audience,
		repository: "acme/orders", ref: "refs/heads/main", sha: strings.Repeat("a", 40), run: "1", runner: "github-hosted",
		workflow:  "acme/orders/.github/workflows/attest.yaml@refs/heads/main",
		namespace: "paths-signing", account: "attester", email: "dev@example.com", life: 10 * time.Minute,
	}
}

func printToken(c *config, args []string) error {
	o := defaults()
	f := flag.NewFlagSet("sigstore token", flag.ContinueOnError)
	f.StringVar(&o.shape, "shape", o.shape, "github, kubernetes or email")
	f.StringVar(&o.audience, "audience", o.audience, "whom the token is for")
	f.StringVar(&o.repository, "repository", o.repository, "github: OWNER/NAME")
	f.StringVar(&o.workflow, "workflow", o.workflow, "github: job_workflow_ref")
	f.StringVar(&o.ref, "ref", o.ref, "github: ref")
	f.StringVar(&o.sha, "sha", o.sha, "github: commit")
	f.StringVar(&o.run, "run", o.run, "github: run_id")
	f.StringVar(&o.runner, "runner", o.runner, "github: runner_environment")
	f.StringVar(&o.namespace, "namespace", o.namespace, "kubernetes: namespace")
	f.StringVar(&o.account, "account", o.account, "kubernetes: service account")
	f.StringVar(&o.email, "email", o.email, "email: the person's address")
	f.DurationVar(&o.life, "life", o.life, "how long it is valid; negative for one of the past")
	f.StringVar(&o.out, "out", o.out, "file to write it to, in place of standard output")
	if err := f.Parse(args); err != nil {
		return err
	}
	token, err := mint(c, o)
	if err != nil {
		return err
	}
	if o.out != "" {
		return write(o.out, []byte(token), 0o600)
	}
	fmt.Println(token)
	return nil
}

// mint signs a token with the claims that the platform's own have.
func mint(c *config, o tokenOptions) (string, error) {
	key, err := readKey(c, "issuer")
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims := map[string]any{
		"aud": o.audience, "jti": rand.Text(),
		"iat": now.Add(-time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(o.life).Unix(),
	}
	owner, _, _ := strings.Cut(o.repository, "/")
	switch o.shape {
	case "github":
		for k, v := range map[string]string{
			"iss": c.url("issuer") + githubPath, "sub": "repo:" + o.repository + ":ref:" + o.ref,
			"repository": o.repository, "repository_owner": owner, "repository_id": "1", "repository_owner_id": "2", "repository_visibility": "public",
			"ref": o.ref, "ref_type": "branch", "sha": o.sha, "event_name": "push", "actor": "octocat", "actor_id": "3",
			"workflow": "path", "workflow_ref": o.repository + "/.github/workflows/path.yaml@" + o.ref, "workflow_sha": o.sha,
			"job_workflow_ref": o.workflow, "job_workflow_sha": o.sha,
			"run_id": o.run, "run_number": o.run, "run_attempt": "1", "runner_environment": o.runner,
		} {
			claims[k] = v
		}
	case "kubernetes":
		claims["iss"], claims["sub"] = c.url("issuer")+kubernetesPath, "system:serviceaccount:"+o.namespace+":"+o.account
		claims["kubernetes.io"] = map[string]any{
			"namespace": o.namespace, "serviceaccount": map[string]string{"name": o.account, "uid": "7e2a1c0a-0000-4000-8000-000000000001"},
			"pod": map[string]string{"name": "attest", "uid": "7e2a1c0a-0000-4000-8000-000000000002"},
		}
	case "email":
		claims["iss"], claims["sub"], claims["email"], claims["email_verified"] = c.url("issuer")+peoplePath, "person:"+o.email, o.email, true
	default:
		return "", fmt.Errorf("-shape %q is none of github, kubernetes and email", o.shape)
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}
