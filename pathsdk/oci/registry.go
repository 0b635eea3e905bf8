package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxCached bounds the manifests that a Registry keeps in memory, in bytes.
const maxCached = 32 << 20

// maxPages bounds the answers to one list.
const maxPages = 1000

// Registry is one repository of a registry (distribution specification 1.1). It
// is safe for concurrent use.
type Registry struct {
	repo name.Repository
	opts options

	mu sync.Mutex
	// clients by what they may do; made by the first request that needs one.
	pull, push *http.Client
	// cached manifests by digest, up to maxCached bytes together.
	cached map[step.Digest]Manifest
	size   int
	// stored are blobs that are known to be there.
	stored map[step.Digest]bool

	fallback fallback
}

var _ Writer = (*Registry)(nil)

func newRegistry(repository string, o options) (*Registry, error) {
	var nameOpts []name.Option
	if o.plainHTTP {
		nameOpts = append(nameOpts, name.Insecure)
	}
	repo, err := name.NewRepository(repository, append(nameOpts, name.StrictValidation)...)
	if err != nil {
		return nil, step.Usagef("repository %q: %w", repository, err)
	}
	return &Registry{repo: repo, opts: o, cached: map[step.Digest]Manifest{}, stored: map[step.Digest]bool{}}, nil
}

// Manifest implements Store.
func (r *Registry) Manifest(ctx context.Context, d step.Digest) (Manifest, error) {
	if _, err := step.ParseDigest(string(d)); err != nil {
		return Manifest{}, err
	}
	r.mu.Lock()
	m, ok := r.cached[d]
	r.mu.Unlock()
	if ok {
		return m, nil
	}
	mt, b, err := r.manifest(ctx, string(d))
	if err != nil {
		return Manifest{}, err
	}
	m, err = newManifest(mt, d, b)
	if err != nil {
		return Manifest{}, r.errorf("%w", err)
	}
	r.remember(m)
	return m, nil
}

func (r *Registry) remember(m Manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.cached[m.Digest]; !ok && r.size+len(m.Bytes) <= maxCached {
		r.cached[m.Digest] = m
		r.size += len(m.Bytes)
	}
}

// manifest reads a manifest by tag or digest; it is not checked yet.
func (r *Registry) manifest(ctx context.Context, reference string) (string, []byte, error) {
	resp, b, err := r.get(ctx, request{path: "manifests/" + reference, accept: acceptManifests(), what: "manifest " + reference}, http.StatusOK)
	if err != nil {
		return "", nil, err
	}
	return mediaType(resp), b, nil
}

// get reads an answer of at most MaxManifest bytes. It repeats what the
// transport can't: a request whose answer broke off.
func (r *Registry) get(ctx context.Context, q request, want ...int) (*http.Response, []byte, error) {
	w := newWaiter(r.opts.retry)
	for {
		resp, err := r.send(ctx, q, want...)
		if err != nil {
			return nil, nil, err
		}
		b, err := readBounded(resp.Body, MaxManifest, 0)
		resp.Body.Close()
		if err == nil {
			return resp, b, nil
		}
		if !temporaryError(err) || ctx.Err() != nil || !w.wait(ctx, 0) {
			return nil, nil, r.failed(q.what, err)
		}
	}
}

func acceptManifests() string {
	return strings.Join([]string{
		string(types.OCIImageIndex), string(types.OCIManifestSchema1),
		string(types.DockerManifestList), string(types.DockerManifestSchema2),
	}, ",")
}

func mediaType(resp *http.Response) string {
	mt, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	mt = strings.TrimSpace(mt)
	if mt == "application/json" || mt == "text/plain" || mt == "application/octet-stream" {
		return "" // a server that doesn't know; the manifest says
	}
	return mt
}

func (r *Registry) resolve(ctx context.Context, tag string) (step.Digest, error) {
	if err := checkTag(tag); err != nil {
		return "", err
	}
	mt, b, err := r.manifest(ctx, tag)
	if err != nil {
		return "", err
	}
	// The digest is computed: what a registry says in a header proves nothing.
	m, err := newManifest(mt, DigestOf(b), b)
	if err != nil {
		return "", r.errorf("tag %s: %w", tag, err)
	}
	r.remember(m)
	return m.Digest, nil
}

// Referrers implements Store.
func (r *Registry) Referrers(ctx context.Context, d step.Digest) ([]v1.Descriptor, error) {
	if _, err := step.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	found, supported, err := r.referrersAPI(ctx, d)
	if err != nil {
		return nil, err
	}
	if !supported {
		if found, err = r.fallbackReferrers(ctx, d); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, byDigest)
	found = slices.CompactFunc(found, func(a, b v1.Descriptor) bool { return a.Digest == b.Digest })
	for i := range found {
		if err := r.complete(ctx, &found[i]); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// complete fills in the artifact type where the registry gave none, or only the
// type of the empty configuration, as some do.
func (r *Registry) complete(ctx context.Context, d *v1.Descriptor) error {
	if d.ArtifactType != "" && d.ArtifactType != emptyType {
		return nil
	}
	m, err := r.Manifest(ctx, Digest(*d))
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrContent) {
		return nil // whoever reads it will hear of it
	}
	if err != nil {
		return err
	}
	c, err := m.Content()
	if err != nil {
		return nil
	}
	d.ArtifactType = c.ArtifactType
	if d.Annotations == nil {
		d.Annotations = c.Annotations
	}
	return nil
}

// referrersAPI asks the referrers API, page by page; supported is false where
// the registry doesn't have it.
func (r *Registry) referrersAPI(ctx context.Context, d step.Digest) (found []v1.Descriptor, supported bool, err error) {
	what := "referrers of " + string(d)
	path, query := "referrers/"+string(d), url.Values(nil)
	for page := 0; ; page++ {
		resp, b, err := r.get(ctx, request{path: path, query: query, accept: string(types.OCIImageIndex), what: what},
			http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusNotAcceptable, http.StatusMethodNotAllowed)
		if err != nil {
			return nil, false, err
		}
		if resp.StatusCode != http.StatusOK || mediaType(resp) != string(types.OCIImageIndex) {
			if page > 0 {
				return nil, false, r.errorf("%s: page %d: %s", what, page+1, resp.Status)
			}
			return nil, false, nil
		}
		ds, err := parseIndexFile(b)
		if err != nil {
			return nil, false, r.errorf("%s: %w: %w", what, ErrContent, err)
		}
		found = append(found, ds...)
		if len(found) > MaxReferrers || page >= maxPages {
			return nil, false, r.errorf("%s: more than the limit of %d\n  fix: remove what nobody needs, or push the image to another repository", what, MaxReferrers)
		}
		next, ok := nextLink(resp)
		if !ok {
			return found, true, nil
		}
		if path, query, err = r.follow(next); err != nil {
			return nil, false, r.errorf("%s: %w: %w", what, ErrContent, err)
		}
	}
}

// nextLink reads the Link header of a list that has another page.
func nextLink(resp *http.Response) (string, bool) {
	for _, h := range resp.Header.Values("Link") {
		for _, link := range strings.Split(h, ",") {
			target, params, ok := strings.Cut(strings.TrimSpace(link), ">")
			if ok && strings.HasPrefix(target, "<") && strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
				return target[1:], true
			}
		}
	}
	return "", false
}

// follow accepts a next page of the same repository only.
func (r *Registry) follow(link string) (string, url.Values, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", nil, err
	}
	if u.Host != "" && u.Host != r.repo.RegistryStr() {
		return "", nil, fmt.Errorf("its next page is on another host, %s", u.Host)
	}
	path, ok := strings.CutPrefix(u.Path, "/v2/"+r.repo.RepositoryStr()+"/")
	if !ok {
		return "", nil, fmt.Errorf("its next page is not in this repository: %s", u.Path)
	}
	return path, u.Query(), nil
}
