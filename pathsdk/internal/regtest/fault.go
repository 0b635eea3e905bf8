package regtest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault makes some requests fail.
type Fault struct {
	// Match chooses requests; nil chooses all.
	Match func(*http.Request) bool
	// Times is how many requests are hit; Always for every one.
	Times int
	// Do answers in place of the registry, which it may ask.
	Do func(http.ResponseWriter, *http.Request, http.Handler)
}

// Always is the Times of a fault that doesn't pass.
const Always = -1

// On chooses requests of one method (any if empty) whose path contains part.
func On(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && strings.Contains(r.URL.Path, part)
	}
}

// Status answers with a code and an error body; headers are pairs.
func Status(code int, headers ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"errors":[{"code":"%s","message":"injected"}]}`, errorCode(code))
	}
}

func errorCode(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "DENIED"
	case http.StatusNotFound:
		return "NAME_UNKNOWN"
	case http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	}
	return "UNKNOWN"
}

// RetryAfter answers 429 and asks to wait for some seconds.
func RetryAfter(seconds int) func(http.ResponseWriter, *http.Request, http.Handler) {
	return Status(http.StatusTooManyRequests, "Retry-After", strconv.Itoa(seconds))
}

// Unauthorized answers 401 and asks for a user and a password.
func Unauthorized() func(http.ResponseWriter, *http.Request, http.Handler) {
	return Status(http.StatusUnauthorized, "WWW-Authenticate", `Basic realm="test"`)
}

// Cut sends the first n bytes of the true answer, then closes the connection.
func Cut(n int) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		code, header, body := answer(h, r)
		if n < len(body) {
			header.Set("Content-Length", strconv.Itoa(len(body)))
			body = body[:n]
		}
		write(w, code, header, body)
		panic(http.ErrAbortHandler)
	}
}

// Drop closes the connection without an answer. The registry did the work if
// after is true: the client can't know.
func Drop(after bool) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(_ http.ResponseWriter, r *http.Request, h http.Handler) {
		if after {
			answer(h, r)
		}
		panic(http.ErrAbortHandler)
	}
}

// Drip sends the true answer one byte at a time, with a pause before each.
func Drip(pause time.Duration) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		code, header, body := answer(h, r)
		copyHeader(w, header)
		w.WriteHeader(code)
		flush(w)
		for i := range body {
			if !sleep(r, pause) {
				return
			}
			if _, err := w.Write(body[i : i+1]); err != nil {
				return
			}
			flush(w)
		}
	}
}

// Hang answers nothing until the client gives up.
func Hang() func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		// A server notices that its client left only once the body is read.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
}

// Corrupt flips one bit of the true answer, and keeps its length.
func Corrupt() func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		code, header, body := answer(h, r)
		body = append([]byte(nil), body...)
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		write(w, code, header, body)
	}
}

// Replace answers 200 with other content.
func Replace(mediaType string, body []byte) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		write(w, http.StatusOK, http.Header{"Content-Type": {mediaType}, "Content-Length": {strconv.Itoa(len(body))}}, body)
	}
}

// Endless answers 200 with a JSON text that does not end.
func Endless(mediaType string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(http.StatusOK)
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

// CyclicIndex answers every request for a manifest with an index that contains
// itself, as far as its digest can be told from the request.
func CyclicIndex() func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		const mediaType = "application/vnd.oci.image.index.v1+json"
		digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"size":300,"digest":%q}]}`, mediaType, mediaType, digest)
		Replace(mediaType, []byte(body))(w, r, nil)
	}
}

func write(w http.ResponseWriter, code int, header http.Header, body []byte) {
	copyHeader(w, header)
	w.WriteHeader(code)
	if _, err := w.Write(body); err == nil {
		flush(w)
	}
}

func copyHeader(w http.ResponseWriter, header http.Header) { maps.Copy(w.Header(), header) }

func flush(w http.ResponseWriter) {
	// A connection that is gone needs no flushing.
	_ = http.NewResponseController(w).Flush()
}

func sleep(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}
