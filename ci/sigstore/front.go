package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"
)

// verbFront is the hidden verb of the process before the log.
const verbFront = "rekor-front"

// serveFront is the log's public address: what everybody reads, checkpoint and tiles,
// comes from its files, as from the storage of a log in the wider world; what is added
// goes to the server.
func serveFront(ctx context.Context, c *config) error {
	to, err := url.Parse(c.url("rekor-http"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	files := http.StripPrefix("/api/v2", http.FileServer(http.Dir(c.path("log"))))
	mux.Handle("GET /api/v2/checkpoint", files)
	mux.Handle("GET /api/v2/tile/", files)
	mux.Handle("/", httputil.NewSingleHostReverseProxy(to))
	server := &http.Server{Addr: "127.0.0.1:" + strconv.Itoa(c.Ports["rekor"]), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
