package boltstore

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"example.com/orders/internal/order"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func place(t *testing.T, s *Store, at time.Time) order.Order {
	t.Helper()
	o, err := order.New("ada", []order.Item{{SKU: "TEA", Quantity: 1, PriceCents: 450}}, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOrdersSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.db")
	s := open(t, path)
	want := place(t, s, time.Now())
	if err := s.Create(t.Context(), want); !errors.Is(err, order.ErrConflict) {
		t.Errorf("the same order twice: %v, want a conflict", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	got, err := s.Get(t.Context(), want.ID)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if _, err := s.Get(t.Context(), "nobody"); !errors.Is(err, order.ErrNotFound) {
		t.Errorf("unknown id: %v, want ErrNotFound", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestListPages(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "orders.db"))
	start := time.Now()
	var ids []string
	for i := range 5 {
		ids = append(ids, place(t, s, start.Add(time.Duration(i)*time.Second)).ID)
	}
	if _, err := s.Update(t.Context(), ids[1], func(o *order.Order) error { return o.Move(order.Shipped) }); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		filter order.Filter
		want   []string
	}{
		"first page":  {order.Filter{Limit: 2}, ids[:2]},
		"second page": {order.Filter{Limit: 2, After: ids[1]}, ids[2:4]},
		"last page":   {order.Filter{Limit: 2, After: ids[3]}, ids[4:]},
		"past it":     {order.Filter{Limit: 2, After: ids[4]}, nil},
		"shipped":     {order.Filter{Limit: 9, Status: order.Shipped}, ids[1:2]},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := s.List(t.Context(), tt.filter)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range list {
				got = append(got, o.ID)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFailedUpdateChangesNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "orders.db"))
	o := place(t, s, time.Now())
	boom := errors.New("boom")
	_, err := s.Update(t.Context(), o.ID, func(o *order.Order) error {
		o.Customer = "eve"
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want boom", err)
	}
	if got, _ := s.Get(t.Context(), o.ID); got.Customer != "ada" {
		t.Errorf("customer is %s after a failed update", got.Customer)
	}
	if _, err := s.Update(t.Context(), "nobody", func(*order.Order) error { return nil }); !errors.Is(err, order.ErrNotFound) {
		t.Errorf("unknown id: %v, want ErrNotFound", err)
	}
}

func TestCancelledContext(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "orders.db"))
	o := place(t, s, time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, list := s.List(ctx, order.Filter{Limit: 1})
	_, get := s.Get(ctx, o.ID)
	_, update := s.Update(ctx, o.ID, func(*order.Order) error { return nil })
	for name, err := range map[string]error{"list": list, "get": get, "update": update, "create": s.Create(ctx, o), "ping": s.Ping(ctx)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
}

func TestOpenNamesTheFile(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder opened as a database")
	}
}
