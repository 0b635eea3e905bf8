// Command orders serves the orders API.
//
// It is configured by the environment: ADDR (default :8080), DB (the database
// file, default in the temporary folder), DRAIN (how long it stays up unready
// before it stops, default 5s) and the OTEL_* variables of OpenTelemetry.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"example.com/orders/internal/api"
	"example.com/orders/internal/boltstore"
)

// grace is how long running requests may take once the listener is closed.
const grace = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(ctx, log, os.Getenv, hooks{func(net.Addr) {}, time.Sleep}); err != nil {
		log.Error("stopped", "error", err)
		os.Exit(1)
	}
}

// hooks let a test watch and hold the moments that a client can't see.
type hooks struct {
	listening func(net.Addr)      // connections are accepted from now on
	pause     func(time.Duration) // while the service drains
}

// run serves until ctx is done, then drains.
func run(ctx context.Context, log *slog.Logger, env func(string) string, on hooks) (err error) {
	cfg, err := configure(env)
	if err != nil {
		return err
	}
	flush, err := telemetry(ctx, env)
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	defer func() {
		// The telemetry of the last requests may take its time, but not for ever.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err = errors.Join(err, flush(ctx))
	}()
	store, err := boltstore.Open(cfg.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	health := &api.Health{Ping: store.Ping}
	srv := &http.Server{
		Handler:           routes(api.Handler(store, log, time.Now), health),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       time.Minute,
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.addr)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	log.Info("listening", "addr", l.Addr().String(), "db", cfg.db)
	on.listening(l.Addr())

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("draining", "for", cfg.drain.String())
	health.Drain()
	on.pause(cfg.drain)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return fmt.Errorf("requests still running after %s: %w", grace, err)
	}
	log.Info("stopped")
	return nil
}

// routes puts the API under telemetry, and the probes beside it.
func routes(h http.Handler, health *api.Health) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", health.Live)
	mux.HandleFunc("GET /readyz", health.Ready)
	mux.Handle("/", otelhttp.NewHandler(h, "orders", otelhttp.WithSpanNameFormatter(spanName)))
	return mux
}

// spanName is the route once it is known: never the path, whose ids would make
// as many names as there are orders.
func spanName(_ string, r *http.Request) string {
	if r.Pattern == "" || r.Pattern == "/" {
		return r.Method
	}
	return r.Pattern
}

type config struct {
	addr, db string
	drain    time.Duration
}

func configure(env func(string) string) (config, error) {
	cfg := config{addr: env("ADDR"), db: env("DB"), drain: 5 * time.Second}
	if cfg.addr == "" {
		cfg.addr = ":8080"
	}
	if cfg.db == "" {
		cfg.db = filepath.Join(os.TempDir(), "orders.db")
	}
	if s := env("DRAIN"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > time.Minute {
			return config{}, fmt.Errorf("DRAIN is a time from 0s to 1m, not %q", s)
		}
		cfg.drain = d
	}
	return cfg, nil
}
