package oci

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// errorf prefixes an error with the registry and the repository.
func (r *Registry) errorf(format string, args ...any) error {
	return fmt.Errorf("registry %s: repository %s: %w", r.repo.RegistryStr(), r.repo.RepositoryStr(), fmt.Errorf(format, args...))
}

// refused turns an answer that was not wanted into an error that says what to
// do.
func (r *Registry) refused(what string, resp *http.Response) error {
	status := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if e := errorBody(resp.Body); e != "" {
		status += " (" + e + ")"
	}
	err := r.status(what, status, resp.StatusCode, resp.Header.Get("Retry-After"))
	return &statusError{error: err, passing: temporary(resp, nil), after: retryAfter(resp)}
}

// statusError remembers whether a request that was refused may be repeated.
type statusError struct {
	error
	passing bool
	after   time.Duration
}

func (e *statusError) Unwrap() error { return e.error }

// passing reports whether what failed may be tried again, and after how long.
func passing(err error) (again bool, after time.Duration) {
	var s *statusError
	if errors.As(err, &s) {
		return s.passing, s.after
	}
	return temporaryError(err), 0
}

func (r *Registry) status(what, status string, code int, retryAfter string) error {
	host := r.repo.RegistryStr()
	switch {
	case code == http.StatusUnauthorized:
		return r.errorf("%s: %s\n  fix: log in with `docker login %s`, or set DOCKER_CONFIG to a folder whose config.json has credentials for it; check that the name is right", what, status, host)
	case code == http.StatusForbidden:
		return r.errorf("%s: %s\n  fix: ask for access to %s, or log in as somebody who has it with `docker login %s`", what, status, r.repo.Name(), host)
	case code == http.StatusNotFound:
		return r.errorf("%s: %w: %s\n  fix: check the name of the repository, and the tag or digest", what, ErrNotFound, status)
	case code == http.StatusTooManyRequests:
		when := "later"
		if retryAfter != "" {
			when = "after " + printable(retryAfter, 40) + " seconds"
			if strings.Contains(retryAfter, " ") {
				when = "after " + printable(retryAfter, 40)
			}
		}
		return r.errorf("%s: %s\n  fix: the registry limits requests: try again %s, log in with `docker login %s`, or use a mirror", what, status, when, host)
	case code == http.StatusRequestEntityTooLarge:
		return r.errorf("%s: %s\n  fix: the registry refuses something so large; ask for a higher limit, or use another registry", what, status)
	case code == http.StatusMethodNotAllowed:
		return r.errorf("%s: %s\n  fix: the registry is read-only; name another one", what, status)
	case code >= 500:
		return r.errorf("%s: %s, even after retries\n  fix: the registry has a fault: try again later", what, status)
	}
	return r.errorf("%s: %s", what, status)
}

// failed turns an error of the transport into one that says what to do.
func (r *Registry) failed(what string, err error) error {
	var terr *ggcr.Error
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	host := r.repo.RegistryStr()
	// A URL in an error repeats the host, and may carry a signed query.
	short := errText(err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, ErrContent), errors.Is(err, ErrNotFound):
		return r.errorf("%s: %w", what, err)
	case errors.As(err, &terr):
		status := fmt.Sprintf("%d %s", terr.StatusCode, http.StatusText(terr.StatusCode))
		if len(terr.Errors) > 0 {
			status += " (" + printable(string(terr.Errors[0].Code)+" "+terr.Errors[0].Message, 200) + ")"
		}
		return r.status(what, status, terr.StatusCode, "")
	case errors.Is(err, errPlainHTTP):
		return r.errorf("%s: %w; and %w\n  fix: give %s TLS, or allow plain HTTP to it", what, short, errPlainHTTP, host)
	case errors.As(err, &dns):
		return r.errorf("%s: no address for %s: %w\n  fix: check the registry's name and the network", what, host, short)
	case errors.Is(err, syscall.ECONNREFUSED):
		return r.errorf("%s: %w\n  fix: check that a registry listens on %s", what, short, host)
	case errors.As(err, &unknown), errors.As(err, &hostname):
		return r.errorf("%s: %w\n  fix: add the registry's certificate authority to the system's, or correct its certificate", what, short)
	case temporaryError(err), errors.Is(err, context.DeadlineExceeded):
		return r.errorf("%s: %w\n  fix: the connection is bad: check the network and try again", what, short)
	}
	return r.errorf("%s: %w", what, short)
}

// errText strips the URL from an error of net/http.
func errText(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// errorBody is the explanation that registries give (distribution
// specification, "Error Codes").
func errorBody(r io.Reader) string {
	b, err := io.ReadAll(io.LimitReader(r, maxErrorBody))
	if err != nil {
		return ""
	}
	var e struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if json.Unmarshal(b, &e) != nil || len(e.Errors) == 0 {
		return ""
	}
	s := e.Errors[0].Code
	if m := e.Errors[0].Message; m != "" {
		s += " " + m
	}
	return printable(s, 200)
}

// printable makes a server's words fit for a terminal.
func printable(s string, limit int) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || (c >= 0x80 && c < 0xa0) {
			return ' '
		}
		return c
	}, s)
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "..."
	}
	return s
}
