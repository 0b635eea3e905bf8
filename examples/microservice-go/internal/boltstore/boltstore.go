// Package boltstore keeps orders in one file with bbolt. It is the default for
// one replica; a service that needs more implements order.Store for its
// database.
package boltstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/orders/internal/order"

	"go.etcd.io/bbolt"
)

var bucket = []byte("orders")

// Store is an order.Store in a bbolt file.
type Store struct{ db *bbolt.DB }

var _ order.Store = (*Store)(nil)

// Open opens or creates the file. Only one process can have it open.
func Open(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 2 * time.Second})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	return &Store{db}, nil
}

// Close waits for running transactions and closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Ping checks that the file can be read.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucket) == nil {
			return errors.New("bucket orders is gone")
		}
		return nil
	})
}

// Create implements order.Store.
func (s *Store) Create(ctx context.Context, o order.Order) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucket).Get([]byte(o.ID)) != nil {
			return fmt.Errorf("%w: %s exists", order.ErrConflict, o.ID)
		}
		return put(tx, o)
	})
}

// Get implements order.Store.
func (s *Store) Get(ctx context.Context, id string) (o order.Order, err error) {
	if err := ctx.Err(); err != nil {
		return o, err
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		o, err = get(tx, id)
		return err
	})
	return o, err
}

// List implements order.Store.
func (s *Store) List(ctx context.Context, f order.Filter) ([]order.Order, error) {
	list := []order.Order{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		k, v := c.Seek([]byte(f.After))
		if bytes.Equal(k, []byte(f.After)) && k != nil {
			k, v = c.Next()
		}
		for ; k != nil && len(list) < f.Limit; k, v = c.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			var o order.Order
			if err := json.Unmarshal(v, &o); err != nil {
				return fmt.Errorf("order %s: %w", k, err)
			}
			if f.Status == "" || o.Status == f.Status {
				list = append(list, o)
			}
		}
		return nil
	})
	return list, err
}

// Update implements order.Store.
func (s *Store) Update(ctx context.Context, id string, change func(*order.Order) error) (o order.Order, err error) {
	if err := ctx.Err(); err != nil {
		return o, err
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		if o, err = get(tx, id); err != nil {
			return err
		}
		if err := change(&o); err != nil {
			return err
		}
		return put(tx, o)
	})
	return o, err
}

func get(tx *bbolt.Tx, id string) (o order.Order, err error) {
	v := tx.Bucket(bucket).Get([]byte(id))
	if v == nil {
		return o, fmt.Errorf("%w: %.64q", order.ErrNotFound, id)
	}
	return o, json.Unmarshal(v, &o)
}

func put(tx *bbolt.Tx, o order.Order) error {
	v, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put([]byte(o.ID), v)
}
