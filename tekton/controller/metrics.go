package controller

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	runs    *prometheus.CounterVec
	retried prometheus.Counter
	latency prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, waiting, running, queued, unread func() int) *metrics {
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "paths_controller_runs_total", Help: "Runs that are settled, by what became of them.",
		}, []string{"outcome"}),
		retried: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "paths_controller_retries_total", Help: "Signing TaskRuns that were started after one had failed.",
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "paths_controller_signing_seconds", Help: "Time from a run's end to the end of its attestation.",
			Buckets: []float64{5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600},
		}),
	}
	gauge := func(name, help string, f func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(f()) })
	}
	reg.MustRegister(m.runs, m.retried, m.latency,
		gauge("paths_controller_waiting_runs", "Runs that wait for a signer's slot.", waiting),
		gauge("paths_controller_running_signers", "Signing TaskRuns that run.", running),
		gauge("paths_controller_queue_length", "Runs to look at.", queued),
		gauge("paths_controller_unread_namespaces", "Build namespaces whose runs are not known: yet, or for want of a RoleBinding.", unread))
	for _, o := range []string{signed, refused, gaveUp, failed, released} {
		m.runs.WithLabelValues(o)
	}
	return m
}

func (m *metrics) settled(a action) {
	m.runs.WithLabelValues(a.outcome).Inc()
	if a.outcome == signed {
		m.latency.Observe(a.latency.Seconds())
	}
}

// CountRequests wraps a transport so that requests to the API server are counted by verb
// and resource.
func CountRequests(reg prometheus.Registerer) func(http.RoundTripper) http.RoundTripper {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "paths_controller_api_requests_total", Help: "Requests to the API server, by verb and resource.",
	}, []string{"verb", "resource"})
	reg.MustRegister(requests)
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			requests.WithLabelValues(verb(req)).Inc()
			return next.RoundTrip(req)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// verb names a request as RBAC does. Paths are /api/v1/... or /apis/GROUP/VERSION/..., and
// then [namespaces/NAMESPACE/]RESOURCE[/NAME].
func verb(req *http.Request) (verb, resource string) {
	p := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	switch {
	case p[0] == "api" && len(p) > 2:
		p = p[2:]
	case p[0] == "apis" && len(p) > 3:
		p = p[3:]
	default:
		return strings.ToLower(req.Method), "other"
	}
	if p[0] == "namespaces" && len(p) > 2 {
		p = p[2:]
	}
	switch {
	case req.Method == http.MethodGet && req.URL.Query().Get("watch") != "":
		return "watch", p[0]
	case req.Method == http.MethodGet && len(p) == 1:
		return "list", p[0]
	case req.Method == http.MethodPost:
		return "create", p[0]
	case req.Method == http.MethodPut:
		return "update", p[0]
	}
	return strings.ToLower(req.Method), p[0]
}
