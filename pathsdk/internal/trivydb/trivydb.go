// Package trivydb opens, checks, makes and publishes vulnerability databases in
// trivy-db's format (schema 2): a folder with trivy.db, a bbolt file, and
// metadata.json; in a registry, an artifact whose one layer is a gzipped tar of
// the two.
package trivydb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	bolt "go.etcd.io/bbolt"
)

// The names of the two files of a database.
const (
	DBFile       = "trivy.db"
	MetadataFile = "metadata.json"
)

// LayerMediaType is the media type of the layer that holds a database in a
// registry.
const LayerMediaType = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"

// MaxMetadata bounds metadata.json in bytes.
const MaxMetadata = 64 << 10

// ErrInvalid marks a folder that holds no usable database.
var ErrInvalid = errors.New("not a usable vulnerability database")

// Metadata says how old a database is.
type Metadata struct {
	// UpdatedAt is when its content was put together, NextUpdate when its
	// publisher expects to have a newer one.
	UpdatedAt  time.Time
	NextUpdate time.Time
}

// ReadMetadata reads and checks metadata.json of the database in dir.
func ReadMetadata(dir string) (Metadata, error) {
	f, err := os.Open(filepath.Join(dir, MetadataFile))
	if err != nil {
		return Metadata{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxMetadata+1))
	if err != nil {
		return Metadata{}, fmt.Errorf("read %s: %w", MetadataFile, err)
	}
	return ParseMetadata(b)
}

// ParseMetadata reads and checks the content of a metadata.json.
func ParseMetadata(b []byte) (Metadata, error) {
	if len(b) > MaxMetadata {
		return Metadata{}, fmt.Errorf("%w: %s is larger than %d bytes", ErrInvalid, MetadataFile, MaxMetadata)
	}
	var m metadata.Metadata
	if err := json.Unmarshal(b, &m); err != nil {
		return Metadata{}, fmt.Errorf("%w: %s: %w", ErrInvalid, MetadataFile, err)
	}
	if m.Version != db.SchemaVersion {
		return Metadata{}, fmt.Errorf("%w: %s says schema %d; only schema %d can be read", ErrInvalid, MetadataFile, m.Version, db.SchemaVersion)
	}
	if m.UpdatedAt.IsZero() {
		return Metadata{}, fmt.Errorf("%w: %s does not say when it was updated", ErrInvalid, MetadataFile)
	}
	return Metadata{UpdatedAt: m.UpdatedAt.UTC(), NextUpdate: m.NextUpdate.UTC()}, nil
}

// Info is what a database says about itself.
type Info struct {
	Metadata
	// Small is the number of advisories of a database that Make made; 0 for one
	// from elsewhere. A small one proves nothing about a release.
	Small int
}

// Check opens the database in dir for reading and checks that it is whole: its
// size, its schema and its buckets.
func Check(dir string) (info Info, err error) {
	if info.Metadata, err = ReadMetadata(dir); err != nil {
		return Info{}, err
	}
	// A truncated or overwritten file shows itself as a fault in mapped memory
	// or as a failed assertion in bbolt.
	defer guard(&err)()
	path := filepath.Join(dir, DBFile)
	b, err := bolt.Open(path, 0o400, readOnly())
	if err != nil {
		return Info{}, fmt.Errorf("%w: %s: %w", ErrInvalid, DBFile, err)
	}
	defer b.Close()
	err = b.View(func(tx *bolt.Tx) error {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if st.Size() < tx.Size() {
			return fmt.Errorf("%w: %s is cut short: %d of %d bytes", ErrInvalid, DBFile, st.Size(), tx.Size())
		}
		if tx.Bucket([]byte("vulnerability")) == nil {
			return fmt.Errorf("%w: %s has no vulnerabilities", ErrInvalid, DBFile)
		}
		info.Small, err = small(tx)
		return err
	})
	return info, err
}

// Use opens the database in dir for reading, runs f while trivy's packages can
// see it, and closes it. trivy-db keeps the open database in a variable of its
// package, so calls wait for each other; processes don't.
func Use(dir string, f func(Info) error) (err error) {
	info, err := Check(dir)
	if err != nil {
		return err
	}
	process.Lock()
	defer process.Unlock()
	silence()
	defer func() {
		if cerr := db.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close vulnerability database: %w", cerr)
		}
	}()
	if err := db.Init(dir, db.WithBoltOptions(readOnly())); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	defer guard(&err)()
	return f(info)
}

// process serialises the use of trivy-db's one open database.
var process sync.Mutex

// silence stops trivy and trivy-db from writing to standard error: they log to
// slog's default, which nothing of ours uses.
var silence = sync.OnceFunc(func() { slog.SetDefault(slog.New(slog.DiscardHandler)) })

func readOnly() *bolt.Options {
	return &bolt.Options{ReadOnly: true, Timeout: 5 * time.Second}
}

// guard turns panics and memory faults of the calling goroutine into an error
// until the returned function runs.
func guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%w: %s is garbled: %v", ErrInvalid, DBFile, r)
		}
	}
}
