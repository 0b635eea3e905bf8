package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// start runs the service and returns its URL, and a function that stops it and
// returns its error.
func start(t *testing.T, env map[string]string, pause func(time.Duration)) (string, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	addr, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- run(ctx, slog.New(slog.DiscardHandler), func(k string) string { return env[k] },
			hooks{func(a net.Addr) { addr <- a }, pause})
	}()
	select {
	case a := <-addr:
		return "http://" + a.String(), func() error { cancel(); return <-done }
	case err := <-done:
		cancel()
		t.Fatalf("did not start: %v", err)
		return "", nil
	}
}

func expect(t *testing.T, url string, status int) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return
	}
	res.Body.Close()
	if res.StatusCode != status {
		t.Errorf("GET %s: %s, want %d", url, res.Status, status)
	}
}

func TestDrainsBeforeItStops(t *testing.T) {
	var base string
	var drained time.Duration
	base, stop := start(t, map[string]string{
		"ADDR": "127.0.0.1:0", "DB": filepath.Join(t.TempDir(), "orders.db"), "DRAIN": "7s",
	}, func(d time.Duration) {
		drained = d
		expect(t, base+"/healthz", http.StatusOK)
		expect(t, base+"/readyz", http.StatusServiceUnavailable)
		expect(t, base+"/v1/orders", http.StatusOK)
	})
	expect(t, base+"/healthz", http.StatusOK)
	expect(t, base+"/readyz", http.StatusOK)
	expect(t, base+"/v1/orders", http.StatusOK)
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if drained != 7*time.Second {
		t.Errorf("drained for %s, want 7s", drained)
	}
	if _, err := http.Get(base + "/healthz"); err == nil {
		t.Error("still answers after it stopped")
	}
}

func TestExportsTelemetry(t *testing.T) {
	var mu sync.Mutex
	got := map[string][]byte{}
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] = append(got[r.URL.Path], b...)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	base, stop := start(t, map[string]string{
		"ADDR": "127.0.0.1:0", "DB": filepath.Join(t.TempDir(), "orders.db"),
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL,
	}, func(time.Duration) {})
	expect(t, base+"/v1/orders/nobody", http.StatusNotFound)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for path, want := range map[string]string{
		"/v1/traces":  "GET /v1/orders/{id}",
		"/v1/metrics": "http.server.request.duration",
	} {
		if !bytes.Contains(got[path], []byte(want)) || !bytes.Contains(got[path], []byte("orders")) {
			t.Errorf("%s got %d bytes without %q", path, len(got[path]), want)
		}
	}
}

func TestRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		env  map[string]string
		want string
	}{
		"drain":    {map[string]string{"DRAIN": "soon"}, "DRAIN"},
		"database": {map[string]string{"DB": dir}, dir},
		"address":  {map[string]string{"DB": filepath.Join(dir, "orders.db"), "ADDR": "nowhere"}, "nowhere"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			err := run(ctx, slog.New(slog.DiscardHandler), func(k string) string { return tt.env[k] },
				hooks{func(net.Addr) { cancel() }, func(time.Duration) {}})
			cancel()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %s", err, tt.want)
			}
		})
	}
}
