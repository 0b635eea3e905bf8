package order

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.FixedZone("CET", 3600))

func TestNew(t *testing.T) {
	ok := Item{SKU: "TEA-01", Quantity: 2, PriceCents: 450}
	tests := map[string]struct {
		customer string
		items    []Item
		total    int64
		err      string
	}{
		"one item":        {"ada", []Item{ok}, 900, ""},
		"two items":       {" ada ", []Item{ok, {SKU: "CUP", Quantity: 1, PriceCents: 1200}}, 2100, ""},
		"a gift":          {"ada", []Item{{SKU: "CUP", Quantity: 1}}, 0, ""},
		"no customer":     {"  ", []Item{ok}, 0, "customer"},
		"long customer":   {strings.Repeat("a", 65), []Item{ok}, 0, "customer"},
		"no items":        {"ada", nil, 0, "items"},
		"too many items":  {"ada", make([]Item, MaxItems+1), 0, "items"},
		"bad sku":         {"ada", []Item{{SKU: "tea", Quantity: 1}}, 0, "item 1: sku"},
		"no quantity":     {"ada", []Item{ok, {SKU: "TEA"}}, 0, "item 2: quantity"},
		"huge quantity":   {"ada", []Item{{SKU: "TEA", Quantity: MaxQuantity + 1}}, 0, "quantity"},
		"negative amount": {"ada", []Item{{SKU: "TEA", Quantity: 1, PriceCents: -1}}, 0, "price"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := New(tt.customer, tt.items, noon)
			if tt.err != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want ErrInvalid about %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if o.TotalCents != tt.total || o.Status != Placed || o.Customer != "ada" {
				t.Errorf("got %+v, want total %d", o, tt.total)
			}
			if want := "2026-03-01T11:00:00.123Z"; o.Created.Format(time.RFC3339Nano) != want {
				t.Errorf("created %s, want %s", o.Created.Format(time.RFC3339Nano), want)
			}
		})
	}
}

func TestIDsSortByTime(t *testing.T) {
	last := ""
	for i := range 100 {
		o, err := New("ada", []Item{{SKU: "TEA", Quantity: 1}}, noon.Add(time.Duration(i)*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if o.ID <= last {
			t.Fatalf("id %s does not follow %s", o.ID, last)
		}
		last = o.ID
	}
}

func TestMove(t *testing.T) {
	tests := []struct {
		from, to Status
		ok       bool
	}{
		{Placed, Shipped, true},
		{Placed, Cancelled, true},
		{Placed, Placed, false},
		{Placed, "lost", false},
		{Shipped, Cancelled, false},
		{Cancelled, Shipped, false},
	}
	for _, tt := range tests {
		o := Order{Status: tt.from}
		err := o.Move(tt.to)
		if tt.ok && (err != nil || o.Status != tt.to) {
			t.Errorf("%s to %s: %v, now %s", tt.from, tt.to, err, o.Status)
		}
		if !tt.ok && (!errors.Is(err, ErrConflict) || o.Status != tt.from) {
			t.Errorf("%s to %s: %v, now %s; want a conflict", tt.from, tt.to, err, o.Status)
		}
	}
}
