package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Keys of a request's context.
type (
	// streamKey marks a request for, or with, a large body: it has no limit of
	// size or of total time, only that of idleness.
	streamKey struct{}
	// onceKey marks a request that is part of a larger exchange, and is
	// repeated by whoever sends it, not here.
	onceKey struct{}
)

// errIdle is the cause when a connection showed no sign of life.
var errIdle = errors.New("the connection was idle for too long")

// errPlainHTTP is the cause when a request would go to another host unprotected.
var errPlainHTTP = errors.New("plain HTTP is refused, except to this machine")

// maxErrorBody bounds what is read of an error's explanation.
const maxErrorBody = 64 << 10

// NewTransport makes the transport that Open uses. Who opens many places passes
// one to each by WithTransport, so that they share connections. connect gives,
// by HOST:PORT, the address that is dialled instead: names in references, in
// requests and in certificates stay as they are. It may be nil.
func NewTransport(connect map[string]string) http.RoundTripper {
	d := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if to, ok := connect[addr]; ok {
				addr = to
			}
			return d.DialContext(ctx, network, addr)
		},
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          50,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		// What is read is checked against a digest of the bytes as they are.
		DisableCompression: true,
	}
}

// transport sends requests with time limits, and repeats those that failed for
// a passing reason. Authentication is wrapped around it.
type transport struct {
	inner     http.RoundTripper
	retry     Retry
	idle      time.Duration
	plainHTTP bool
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !t.plainHTTP && !isLoopback(req.URL.Hostname()) {
		closeBody(req)
		return nil, fmt.Errorf("%s: %w", req.URL.Host, errPlainHTTP)
	}
	repeat := req.Context().Value(onceKey{}) == nil && (req.Body == nil || req.GetBody != nil)
	w := newWaiter(t.retry)
	for attempt := 1; ; attempt++ {
		r := req
		if attempt > 1 || req.GetBody != nil {
			var err error
			// Whoever wraps this transport may send one request twice.
			if r, err = rewind(req); err != nil {
				return nil, err
			}
		}
		resp, err := t.once(r)
		if !repeat || !temporary(resp, err) || req.Context().Err() != nil {
			return resp, err
		}
		if !w.wait(req.Context(), retryAfter(resp)) {
			return resp, err
		}
		if resp != nil {
			finish(resp)
		}
	}
}

// once sends a request under a watchdog that every byte in either direction
// pacifies.
func (t *transport) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	dog := &watchdog{idle: t.idle, cancel: cancel}
	dog.timer = time.AfterFunc(t.idle, func() { cancel(errIdle) })
	stream := ctx.Value(streamKey{}) != nil
	if !stream {
		dog.total = time.AfterFunc(5*t.idle, func() { cancel(errIdle) })
	}
	r := req.Clone(ctx)
	r.Header.Set("Accept-Encoding", "identity")
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &watchedBody{ReadCloser: r.Body, dog: dog}
	}
	resp, err := t.inner.RoundTrip(r)
	if err != nil {
		dog.stop()
		return nil, cause(ctx, err)
	}
	dog.alive()
	body := &watchedBody{ReadCloser: resp.Body, dog: dog, ctx: ctx, left: -1}
	switch {
	case resp.StatusCode >= 400:
		body.left = maxErrorBody
	case !stream:
		body.left = MaxManifest + 1
	}
	resp.Body = body
	// Who looks at the request of a response must not meet the inner context.
	resp.Request = req
	return resp, nil
}

type watchdog struct {
	idle   time.Duration
	timer  *time.Timer
	total  *time.Timer
	cancel context.CancelCauseFunc
}

func (w *watchdog) alive() { w.timer.Reset(w.idle) }

func (w *watchdog) stop() {
	w.timer.Stop()
	if w.total != nil {
		w.total.Stop()
	}
	w.cancel(nil)
}

// watchedBody is a request's or a response's body; the latter has a ctx, ends
// the watch when it is closed, and ends after left bytes unless that is
// negative.
type watchedBody struct {
	io.ReadCloser
	dog  *watchdog
	ctx  context.Context // the exchange's own: the body is all that is left of it
	left int64
	once sync.Once
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.ctx != nil && b.left == 0 {
		return 0, io.EOF
	}
	if b.ctx != nil && b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.dog.alive()
	}
	if b.ctx == nil {
		return n, err
	}
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = cause(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.ctx != nil {
		b.once.Do(b.dog.stop)
	}
	return err
}

// cause prefers the reason for which a context ended to the error that this
// led to.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errIdle) {
		return errIdle
	}
	return err
}

func rewind(req *http.Request) (*http.Request, error) {
	r := req.Clone(req.Context())
	if req.GetBody != nil {
		b, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		closeBody(req)
		r.Body = b
	}
	return r, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// finish ends an exchange whose body nobody needs, so that the connection can be
// used again if little of it is left.
func finish(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
	resp.Body.Close()
}

// temporary reports whether the same request may succeed a little later.
func temporary(resp *http.Response, err error) bool {
	if err != nil {
		return temporaryError(err)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		520, 521, 522, 523, 524: // the last five are a content network's names for an absent origin
		return true
	}
	return false
}

func temporaryError(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	for _, e := range []error{errIdle, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary && !dns.IsNotFound
	}
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// retryAfter is how long the server asks to wait; 0 if it doesn't say.
func retryAfter(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	h := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(h); err == nil && s > 0 {
		return time.Duration(min(s, 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(h); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// waiter spends the waiting time of one piece of work.
type waiter struct {
	retry    Retry
	attempts int
	spent    time.Duration
}

func newWaiter(r Retry) *waiter { return &waiter{retry: r} }

// wait sleeps before the next attempt; false means that there is none.
func (w *waiter) wait(ctx context.Context, asked time.Duration) bool {
	w.attempts++
	if w.attempts >= w.retry.Attempts {
		return false
	}
	d := min(w.retry.Max, w.retry.Base<<min(w.attempts-1, 20))
	if d > 1 {
		d = d/2 + rand.N(d/2)
	}
	d = max(d, asked)
	if w.spent+d > w.retry.Budget {
		return false
	}
	w.spent += d
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
