package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// request is one request below /v2/REPOSITORY/.
type request struct {
	method string // GET if empty
	path   string
	query  url.Values
	accept string
	// url replaces path and query, for an address that the registry gave.
	url         *url.URL
	contentType string
	size        int64
	body        func() (io.ReadCloser, error)
	header      http.Header
	push        bool
	what        string
}

// send sends a request; an answer with none of the wanted codes is an error.
func (r *Registry) send(ctx context.Context, q request, want ...int) (*http.Response, error) {
	c, err := r.client(ctx, q.push)
	if err != nil {
		return nil, r.failed(q.what, err)
	}
	u := q.url
	if u == nil {
		u = &url.URL{Scheme: "https", Host: r.repo.RegistryStr(), Path: "/v2/" + r.repo.RepositoryStr() + "/" + q.path, RawQuery: q.query.Encode()}
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), nil)
	if err != nil {
		return nil, r.failed(q.what, err)
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	if q.accept != "" {
		req.Header.Set("Accept", q.accept)
	}
	if q.contentType != "" {
		req.Header.Set("Content-Type", q.contentType)
	}
	if q.body != nil {
		// q.body opens lazily: the transport takes a fresh body for each attempt.
		if req.Body, err = q.body(); err != nil {
			return nil, r.failed(q.what, err)
		}
		req.GetBody = q.body
		req.ContentLength = q.size
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, r.failed(q.what, err)
	}
	if slices.Contains(want, resp.StatusCode) {
		return resp, nil
	}
	defer finish(resp)
	return nil, r.refused(q.what, resp)
}

// client greets the registry and authenticates, once for each kind of access.
func (r *Registry) client(ctx context.Context, push bool) (*http.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.push != nil {
		return r.push, nil // who may push may pull
	}
	if !push && r.pull != nil {
		return r.pull, nil
	}
	auth, err := authn.Resolve(ctx, r.opts.keychain, r.repo)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	t := ggcr.NewUserAgent(&transport{inner: r.opts.transport, retry: r.opts.retry, idle: r.opts.idle, plainHTTP: r.opts.plainHTTP}, r.opts.userAgent)
	scope := ggcr.PullScope
	if push {
		scope = ggcr.PushScope
	}
	rt, err := ggcr.NewWithContext(ctx, r.repo.Registry, auth, t, []string{r.repo.Scope(scope)})
	if err != nil {
		return nil, err
	}
	c := &http.Client{Transport: rt}
	if push {
		r.push = c
	} else {
		r.pull = c
	}
	return c, nil
}
