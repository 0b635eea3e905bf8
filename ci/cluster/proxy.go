package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"
)

// moduleProxy answers as the Go module proxies of this machine do, which pods can't
// reach: GOPROXY protocol, go.dev/ref/mod#goproxy-protocol. What it is asked for, and by
// what name it asks, may hold a secret: neither is logged.
type moduleProxy struct {
	upstream []upstream
	client   *http.Client
}

type upstream struct {
	url string
	// anyway means that the next is asked after any error, not only "not found".
	anyway bool
}

func newModuleProxy() (*moduleProxy, error) {
	list, err := output("go", "env", "GOPROXY")
	if err != nil {
		return nil, err
	}
	files := http.DefaultTransport.(*http.Transport).Clone()
	files.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &moduleProxy{upstreams(list), &http.Client{Timeout: 10 * time.Minute, Transport: files}}, nil
}

// upstreams are the proxies in a list as GOPROXY is. What is no proxy is left out: pods
// have no git to go direct with.
func upstreams(list string) []upstream {
	var found []upstream
	for list != "" {
		end := strings.IndexAny(list, ",|")
		entry, separator := list, byte(',')
		if end >= 0 {
			entry, separator, list = list[:end], list[end], list[end+1:]
		} else {
			list = ""
		}
		entry = strings.TrimSpace(entry)
		if entry == "off" {
			break
		}
		if u, err := url.Parse(entry); err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "file") {
			found = append(found, upstream{strings.TrimSuffix(entry, "/"), separator == '|'})
		}
	}
	return found
}

func (p *moduleProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only what a module proxy is asked for", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path != path.Clean(r.URL.Path) {
		http.Error(w, "a path out of the proxy", http.StatusBadRequest)
		return
	}
	if len(p.upstream) == 0 {
		http.Error(w, "GOPROXY of the machine names no proxy", http.StatusNotFound)
		return
	}
	for i, u := range p.upstream {
		resp, err := p.ask(r, u)
		last := i == len(p.upstream)-1
		if err != nil {
			fmt.Fprintf(os.Stderr, "link: module proxy %d of %d: %v\n", i+1, len(p.upstream), err)
			if last || !u.anyway {
				http.Error(w, fmt.Sprintf("module proxy %d of the machine does not answer", i+1), http.StatusBadGateway)
				return
			}
			continue
		}
		missing := resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone
		if !last && (missing || u.anyway && resp.StatusCode >= 400) {
			resp.Body.Close()
			continue
		}
		defer resp.Body.Close()
		for _, name := range []string{"Content-Type", "Content-Length"} {
			if v := resp.Header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(w, resp.Body); err != nil {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
		return
	}
}

// ask follows redirections, which a pod could not. Its errors have no URL.
func (p *moduleProxy) ask(r *http.Request, u upstream) (*http.Response, error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, u.url+r.URL.EscapedPath(), nil)
	if err != nil {
		return nil, errors.New("its URL can't be read")
	}
	if v := r.Header.Get("Disable-Module-Fetch"); v != "" {
		req.Header.Set("Disable-Module-Fetch", v)
	}
	resp, err := p.client.Do(req)
	var where *url.Error
	if errors.As(err, &where) {
		err = where.Err
	}
	return resp, err
}
