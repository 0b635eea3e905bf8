package api

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// Health answers the probes of an orchestrator. Liveness says that the process
// serves; readiness, that it should be sent traffic.
type Health struct {
	// Ping checks what requests depend on.
	Ping     func(context.Context) error
	draining atomic.Bool
}

// Drain makes the service unready from now on, so that no new traffic is sent
// while it finishes its last requests.
func (h *Health) Drain() { h.draining.Store(true) }

// Live answers GET /healthz.
func (h *Health) Live(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Ready answers GET /readyz.
func (h *Health) Ready(w http.ResponseWriter, r *http.Request) {
	if h.draining.Load() {
		problem(w, http.StatusServiceUnavailable, "shutting down")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := h.Ping(ctx); err != nil {
		problem(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	reply(w, http.StatusOK, map[string]string{"status": "ready"})
}
