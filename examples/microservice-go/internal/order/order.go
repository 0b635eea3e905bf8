// Package order holds what an order is and what may be done with it. It knows
// no transport and no database.
package order

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Limits of one order. They bound what a single request can make us store.
const (
	MaxItems    = 100
	MaxQuantity = 10_000
	maxCustomer = 64
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("order not found")
	ErrInvalid  = errors.New("invalid order")
	ErrConflict = errors.New("order is in another state")
)

// Status is a point in an order's life.
type Status string

// The states: a new order is Placed, and ends as Shipped or Cancelled.
const (
	Placed    Status = "placed"
	Shipped   Status = "shipped"
	Cancelled Status = "cancelled"
)

// Valid reports whether s is a known status.
func (s Status) Valid() bool { return s == Placed || s == Shipped || s == Cancelled }

// Item is one line of an order.
type Item struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	// PriceCents is the price of one piece, in hundredths of the currency.
	PriceCents int64 `json:"priceCents"`
}

// Order is what a customer ordered.
type Order struct {
	ID         string    `json:"id"`
	Customer   string    `json:"customer"`
	Items      []Item    `json:"items"`
	TotalCents int64     `json:"totalCents"`
	Status     Status    `json:"status"`
	Created    time.Time `json:"created"`
}

// Store keeps orders. Implementations are safe for concurrent use.
type Store interface {
	// Create stores a new order.
	Create(ctx context.Context, o Order) error
	// Get returns ErrNotFound for an unknown id.
	Get(ctx context.Context, id string) (Order, error)
	// List returns at most limit orders after the id in f, oldest first.
	List(ctx context.Context, f Filter) ([]Order, error)
	// Update applies change to an order atomically; an error of change leaves
	// the order as it was.
	Update(ctx context.Context, id string, change func(*Order) error) (Order, error)
}

// Filter selects orders for List.
type Filter struct {
	Status Status // empty for all
	After  string // id of the last order of the page before
	Limit  int
}

var sku = regexp.MustCompile(`^[A-Z0-9][A-Z0-9-]{0,31}$`)

// New makes a placed order, or says what is wrong with it (ErrInvalid).
func New(customer string, items []Item, now time.Time) (Order, error) {
	customer = strings.TrimSpace(customer)
	switch {
	case customer == "" || len(customer) > maxCustomer:
		return Order{}, fmt.Errorf("%w: customer has 1 to %d characters", ErrInvalid, maxCustomer)
	case len(items) == 0 || len(items) > MaxItems:
		return Order{}, fmt.Errorf("%w: an order has 1 to %d items", ErrInvalid, MaxItems)
	}
	var total int64
	for i, it := range items {
		switch {
		case !sku.MatchString(it.SKU):
			return Order{}, fmt.Errorf("%w: item %d: sku %.40q is not capitals, digits and dashes", ErrInvalid, i+1, it.SKU)
		case it.Quantity < 1 || it.Quantity > MaxQuantity:
			return Order{}, fmt.Errorf("%w: item %d: quantity is 1 to %d", ErrInvalid, i+1, MaxQuantity)
		case it.PriceCents < 0 || it.PriceCents > 100_000_000:
			return Order{}, fmt.Errorf("%w: item %d: price is out of range", ErrInvalid, i+1)
		}
		total += int64(it.Quantity) * it.PriceCents
	}
	return Order{
		ID:         newID(now),
		Customer:   customer,
		Items:      items,
		TotalCents: total,
		Status:     Placed,
		Created:    now.UTC().Truncate(time.Millisecond),
	}, nil
}

// Move brings an order into its next state. Only a placed order moves.
func (o *Order) Move(to Status) error {
	if o.Status != Placed || (to != Shipped && to != Cancelled) {
		return fmt.Errorf("%w: %s, and can't become %s", ErrConflict, o.Status, to)
	}
	o.Status = to
	return nil
}

// newID sorts by time, so that a store which iterates by key lists by age.
func newID(now time.Time) string {
	return fmt.Sprintf("%011x%s", now.UnixMilli(), strings.ToLower(rand.Text()[:13]))
}
