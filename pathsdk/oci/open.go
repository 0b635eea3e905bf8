package oci

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Option sets how a store is opened.
type Option func(*options)

type options struct {
	keychain  authn.Keychain
	transport http.RoundTripper
	userAgent string
	retry     Retry
	idle      time.Duration
	plainHTTP bool
	create    bool
}

// Retry says how often and how long a registry's temporary failures are borne.
type Retry struct {
	// Attempts is the largest number of times that one request is sent.
	Attempts int
	// Base is the wait before the second attempt; it doubles each time, up to
	// Max, and a random half of it is left out.
	Base, Max time.Duration
	// Budget is the longest time that one request may spend in waiting. A
	// registry that asks for more (Retry-After) is not waited for.
	Budget time.Duration
}

func makeOptions(opts []Option) options {
	o := options{
		keychain:  authn.DefaultKeychain,
		userAgent: "pathctl",
		retry:     Retry{Attempts: 6, Base: 250 * time.Millisecond, Max: 10 * time.Second, Budget: 90 * time.Second},
		idle:      time.Minute,
	}
	for _, f := range opts {
		f(&o)
	}
	if o.transport == nil {
		o.transport = NewTransport(nil)
	}
	return o
}

// WithKeychain takes credentials from k in place of Docker's configuration and
// credential helpers.
func WithKeychain(k authn.Keychain) Option { return func(o *options) { o.keychain = k } }

// WithTransport sends requests by t. Retries and time limits stay.
func WithTransport(t http.RoundTripper) Option { return func(o *options) { o.transport = t } }

// WithUserAgent sets how requests introduce themselves.
func WithUserAgent(s string) Option { return func(o *options) { o.userAgent = s } }

// WithRetry replaces the retry policy.
func WithRetry(r Retry) Option { return func(o *options) { o.retry = r } }

// WithIdleTimeout sets how long a connection may give no sign of life.
func WithIdleTimeout(d time.Duration) Option { return func(o *options) { o.idle = d } }

// WithPlainHTTP allows HTTP without TLS to a host other than this one.
func WithPlainHTTP() Option { return func(o *options) { o.plainHTTP = true } }

// WithCreate makes Open create a layout that does not exist.
func WithCreate() Option { return func(o *options) { o.create = true } }

// Open opens the place that a locator names. Nothing is sent to a registry
// before the first read or write.
func Open(_ context.Context, l Locator, opts ...Option) (Writer, error) {
	o := makeOptions(opts)
	if !l.IsLayout() {
		return newRegistry(l.Repository, o)
	}
	if o.create {
		return CreateLayout(l.Dir)
	}
	return OpenLayout(l.Dir)
}

// Resolve finds the digest that a locator stands for: its own, or that of its
// tag. A layout that holds exactly one image needs no tag.
func Resolve(ctx context.Context, l Locator, opts ...Option) (step.Digest, error) {
	if l.Digest != "" {
		return l.Digest, nil
	}
	if l.IsLayout() {
		layout, err := OpenLayout(l.Dir)
		if err != nil {
			return "", err
		}
		return layout.resolve(ctx, l)
	}
	if l.Tag == "" {
		return "", step.Usagef("reference %s has neither tag nor digest: write %s:TAG or %s@sha256:...", l, l, l)
	}
	r, err := newRegistry(l.Repository, makeOptions(opts))
	if err != nil {
		return "", err
	}
	return r.resolve(ctx, l.Tag)
}

func (l *Layout) resolve(ctx context.Context, loc Locator) (step.Digest, error) {
	idx, err := l.readIndex()
	if err != nil {
		return "", err
	}
	tags := map[string]bool{}
	tagged, plain := map[step.Digest]bool{}, map[step.Digest]bool{}
	entries := map[step.Digest]v1.Descriptor{}
	for _, desc := range idx.manifests {
		d, t := Digest(desc), desc.Annotations[refName]
		entries[d] = desc
		switch {
		case t != "" && t == loc.Tag:
			return d, l.fits(ctx, desc)
		case companionTag(t):
			// Hangs on an image that has a tag or a digest of its own.
		case t != "":
			tags[t], tagged[d] = true, true
		case isManifestType(desc.MediaType):
			if p, err := l.lookup(ctx, d); err == nil && p.content.Subject != nil {
				continue
			}
			plain[d] = true
		}
	}
	names := sortedKeys(tags)
	if loc.Tag != "" {
		return "", fmt.Errorf("layout %s: tag %q: %w\n  fix: %s", l.dir, loc.Tag, ErrNotFound, offer(names))
	}
	found := tagged
	if len(found) == 0 {
		found = plain
	}
	switch len(found) {
	case 1:
		d := sortedKeys(found)[0]
		return d, l.fits(ctx, entries[d])
	case 0:
		return "", fmt.Errorf("layout %s: %w: it holds no image", l.dir, ErrNotFound)
	}
	return "", step.Usagef("layout %s holds %d images: %s, or name a digest", l.dir, len(found), offer(names))
}

// fits reports an entry of index.json that describes its manifest wrongly. One
// whose manifest is missing or damaged is for whoever reads that to report.
func (l *Layout) fits(ctx context.Context, desc v1.Descriptor) error {
	p, err := l.lookup(ctx, Digest(desc))
	if err == nil && (p.size != desc.Size || p.mediaType != string(desc.MediaType)) {
		return fmt.Errorf("layout %s: %s: %w: it says that %s is %q of %d bytes, but it is %s of %d", l.dir, indexFile, ErrContent,
			desc.Digest, desc.MediaType, desc.Size, p.mediaType, p.size)
	}
	return nil
}

// companionTag reports whether a tag is derived from another manifest's digest,
// as cosign 2 and the referrers tag schema do.
func companionTag(t string) bool {
	hex, ok := strings.CutPrefix(t, "sha256-")
	if !ok || len(hex) < 64 || strings.Trim(hex[:64], "0123456789abcdef") != "" {
		return false
	}
	switch hex[64:] {
	case "", ".sig", ".att", ".sbom":
		return true
	}
	return false
}

func offer(tags []string) string {
	if len(tags) == 0 {
		return "it has no tags; name a digest"
	}
	more := ""
	if len(tags) > 10 {
		tags, more = tags[:10], ", ..."
	}
	return "name one of its tags: " + strings.Join(tags, ", ") + more
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
