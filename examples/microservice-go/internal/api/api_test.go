package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/orders/internal/api"
	"example.com/orders/internal/boltstore"
	"example.com/orders/internal/order"
)

const tea = `{"customer":"ada","items":[{"sku":"TEA-01","quantity":2,"priceCents":450}]}`

// TestAPI walks through the life of an order over a real connection and a real
// database.
func TestAPI(t *testing.T) {
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "orders.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	srv := httptest.NewServer(api.Handler(store, slog.New(slog.DiscardHandler), time.Now))
	defer srv.Close()

	var placed order.Order
	call(t, srv.URL, "POST", "/v1/orders", tea, http.StatusCreated, &placed)
	if placed.TotalCents != 900 || placed.Status != order.Placed {
		t.Fatalf("placed %+v", placed)
	}
	var got order.Order
	call(t, srv.URL, "GET", "/v1/orders/"+placed.ID, "", http.StatusOK, &got)
	if got.ID != placed.ID || got.Customer != "ada" {
		t.Errorf("got %+v, want %+v", got, placed)
	}
	call(t, srv.URL, "POST", "/v1/orders", tea, http.StatusCreated, nil)

	var page struct {
		Orders []order.Order
		Next   string
	}
	call(t, srv.URL, "GET", "/v1/orders?limit=1", "", http.StatusOK, &page)
	if len(page.Orders) != 1 || page.Next != page.Orders[0].ID {
		t.Fatalf("first page %+v", page)
	}
	first := page.Orders[0].ID
	call(t, srv.URL, "GET", "/v1/orders?limit=1&after="+page.Next, "", http.StatusOK, &page)
	if len(page.Orders) != 1 || page.Orders[0].ID == first {
		t.Errorf("second page %+v repeats %s", page, first)
	}

	call(t, srv.URL, "POST", "/v1/orders/"+placed.ID+"/ship", "", http.StatusOK, &got)
	if got.Status != order.Shipped {
		t.Errorf("status %s after shipping", got.Status)
	}
	call(t, srv.URL, "POST", "/v1/orders/"+placed.ID+"/cancel", "", http.StatusConflict, nil)
	call(t, srv.URL, "GET", "/v1/orders?status=shipped", "", http.StatusOK, &page)
	if len(page.Orders) != 1 || page.Orders[0].ID != placed.ID {
		t.Errorf("shipped orders %+v", page.Orders)
	}
}

func call(t *testing.T, base, method, path, body string, status int, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", method, path, res.Status, status, b)
	}
	if status == http.StatusCreated && res.Header.Get("Location") == "" {
		t.Errorf("%s %s: created without a location", method, path)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, b)
	}
}

func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		method, path, body string
		status             int
		detail             string
	}{
		"no body":       {"POST", "/v1/orders", "", 400, "it is empty"},
		"not JSON":      {"POST", "/v1/orders", "tea, please", 400, "not an order"},
		"unknown field": {"POST", "/v1/orders", `{"discount":100}`, 400, "discount"},
		"two orders":    {"POST", "/v1/orders", tea + tea, 400, "more than one"},
		"too large":     {"POST", "/v1/orders", `{"customer":"` + strings.Repeat("a", 65<<10), 413, "64 KiB"},
		"no items":      {"POST", "/v1/orders", `{"customer":"ada"}`, 422, "items"},
		"unknown order": {"GET", "/v1/orders/nobody", "", 404, "not found"},
		"ship nothing":  {"POST", "/v1/orders/nobody/ship", "", 404, "not found"},
		"bad limit":     {"GET", "/v1/orders?limit=1000", "", 400, "limit"},
		"bad status":    {"GET", "/v1/orders?status=lost", "", 400, "status"},
		"broken store":  {"GET", "/v1/orders", "", 500, "our side"},
	}
	h := api.Handler(brokenStore{}, slog.New(slog.DiscardHandler), time.Now)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
			var p struct{ Detail string }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.status || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("%d %s, want %d with %q", w.Code, w.Body, tt.status, tt.detail)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the cause is shown to the client: %s", w.Body)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	var down error
	h := &api.Health{Ping: func(context.Context) error { return down }}
	probe := func(f http.HandlerFunc) int {
		w := httptest.NewRecorder()
		f(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
		return w.Code
	}
	if got := probe(h.Ready); got != 200 {
		t.Errorf("ready: %d, want 200", got)
	}
	down = errors.New("no disk")
	if got := probe(h.Ready); got != 503 {
		t.Errorf("ready without database: %d, want 503", got)
	}
	down = nil
	h.Drain()
	if got := probe(h.Ready); got != 503 {
		t.Errorf("ready while draining: %d, want 503", got)
	}
	if got := probe(h.Live); got != 200 {
		t.Errorf("live while draining: %d, want 200", got)
	}
}

// brokenStore knows no order and can't list.
type brokenStore struct{}

func (brokenStore) Create(context.Context, order.Order) error { return nil }

func (brokenStore) Get(context.Context, string) (order.Order, error) {
	return order.Order{}, order.ErrNotFound
}

func (brokenStore) List(context.Context, order.Filter) ([]order.Order, error) {
	return nil, errors.New("disk failure on secret-host")
}

func (brokenStore) Update(context.Context, string, func(*order.Order) error) (order.Order, error) {
	return order.Order{}, order.ErrNotFound
}
