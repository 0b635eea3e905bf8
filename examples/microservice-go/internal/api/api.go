// Package api is the HTTP interface of the service: JSON in and out, errors as
// problem details (RFC 9457).
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"example.com/orders/internal/order"
)

const (
	maxBody   = 64 << 10
	pageSize  = 20
	pageLimit = 100
)

// Handler serves the API on store; now is the clock.
func Handler(store order.Store, log *slog.Logger, now func() time.Time) http.Handler {
	a := api{store, log, now}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/orders", a.create)
	mux.HandleFunc("GET /v1/orders", a.list)
	mux.HandleFunc("GET /v1/orders/{id}", a.get)
	mux.HandleFunc("POST /v1/orders/{id}/ship", a.move(order.Shipped))
	mux.HandleFunc("POST /v1/orders/{id}/cancel", a.move(order.Cancelled))
	return mux
}

type api struct {
	store order.Store
	log   *slog.Logger
	now   func() time.Time
}

func (a api) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Customer string       `json:"customer"`
		Items    []order.Item `json:"items"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(&in)
	if err == nil && dec.More() {
		err = errors.New("more than one JSON value")
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		problem(w, http.StatusRequestEntityTooLarge, "the body is larger than 64 KiB")
		return
	}
	if err != nil {
		problem(w, http.StatusBadRequest, "the body is not an order: "+reason(err))
		return
	}
	o, err := order.New(in.Customer, in.Items, a.now())
	if err == nil {
		err = a.store.Create(r.Context(), o)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Location", "/v1/orders/"+o.ID)
	reply(w, http.StatusCreated, o)
}

func (a api) get(w http.ResponseWriter, r *http.Request) {
	o, err := a.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	reply(w, http.StatusOK, o)
}

func (a api) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := order.Filter{Status: order.Status(q.Get("status")), After: q.Get("after"), Limit: pageSize}
	if f.Status != "" && !f.Status.Valid() {
		problem(w, http.StatusBadRequest, "status is placed, shipped or cancelled")
		return
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > pageLimit {
			problem(w, http.StatusBadRequest, "limit is a number from 1 to "+strconv.Itoa(pageLimit))
			return
		}
		f.Limit = n
	}
	orders, err := a.store.List(r.Context(), f)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	page := struct {
		Orders []order.Order `json:"orders"`
		Next   string        `json:"next,omitempty"` // the after of the next page
	}{Orders: orders}
	if len(orders) == f.Limit {
		page.Next = orders[len(orders)-1].ID
	}
	reply(w, http.StatusOK, page)
}

func (a api) move(to order.Status) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o, err := a.store.Update(r.Context(), r.PathValue("id"), func(o *order.Order) error { return o.Move(to) })
		if err != nil {
			a.fail(w, r, err)
			return
		}
		reply(w, http.StatusOK, o)
	}
}

// fail maps an error to a problem. What the client can't mend is logged, and
// not shown to it.
func (a api) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, order.ErrNotFound):
		problem(w, http.StatusNotFound, err.Error())
	case errors.Is(err, order.ErrInvalid):
		problem(w, http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, order.ErrConflict):
		problem(w, http.StatusConflict, err.Error())
	case errors.Is(err, context.Canceled):
		// The client is gone: 499 is what proxies log for it.
		w.WriteHeader(499)
	default:
		a.log.ErrorContext(r.Context(), "request failed", "route", r.Pattern, "error", err)
		problem(w, http.StatusInternalServerError, "something went wrong on our side")
	}
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{
		"title": http.StatusText(status), "status": status, "detail": detail,
	})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func reason(err error) string {
	if errors.Is(err, io.EOF) {
		return "it is empty"
	}
	return err.Error()
}
