package trivydb

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/aquasecurity/trivy-db/pkg/vulnsrc/vulnerability"
	bolt "go.etcd.io/bbolt"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Made describes a database that Make wrote.
type Made struct {
	// Advisories is the number of records in it.
	Advisories int
	// Digest is the SHA-256 of trivy.db. The same records always give the same:
	// the time stands in metadata.json only.
	Digest step.Digest
}

// interval is how long a made database says that it stays current; trivy-db's
// publisher uses the same.
const interval = 24 * time.Hour

// Make writes a database with the advisory records (*.yaml) of a folder to the
// folder out, stamped with now. It has trivy-db's real format, and is marked as
// a small one.
func Make(advisories, out string, now time.Time) (Made, error) {
	records, err := ReadRecords(advisories)
	if err != nil {
		return Made{}, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return Made{}, fmt.Errorf("make vulnerability database: %w", err)
	}
	tmp, err := os.MkdirTemp(out, ".make-")
	if err != nil {
		return Made{}, fmt.Errorf("make vulnerability database: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp, records); err != nil {
		return Made{}, fmt.Errorf("make vulnerability database: %w", err)
	}
	now = now.UTC().Truncate(time.Second)
	err = metadata.NewClient(tmp).Update(metadata.Metadata{
		Version: db.SchemaVersion, UpdatedAt: now, NextUpdate: now.Add(interval),
	})
	if err != nil {
		return Made{}, fmt.Errorf("make vulnerability database: %w", err)
	}
	d, err := fileDigest(filepath.Join(tmp, DBFile))
	if err != nil {
		return Made{}, fmt.Errorf("make vulnerability database: %w", err)
	}
	for _, name := range []string{DBFile, MetadataFile} {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(out, name)); err != nil {
			return Made{}, fmt.Errorf("make vulnerability database: %w", err)
		}
	}
	return Made{Advisories: len(records), Digest: d}, nil
}

// ReadRecords reads every *.yaml of a folder, sorted by the id that scanners
// list.
func ReadRecords(dir string) ([]Record, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read advisories: %w", err)
	}
	if len(names) == 0 {
		return nil, step.Usagef("no advisory records (*.yaml) in %s: give a folder that has some, such as examples/vulndb", dir)
	}
	var records []Record
	seen := map[string]string{}
	for _, name := range names {
		r, err := readRecord(name)
		if err != nil {
			return nil, step.Usagef("advisory %s: %w", filepath.Base(name), err)
		}
		for _, a := range r.Affected {
			k := r.key() + " " + a.ecosystem() + " " + a.Package
			if other, ok := seen[k]; ok {
				return nil, step.Usagef("advisory %s: %s is in %s too: keep one of them", filepath.Base(name), k, other)
			}
			seen[k] = filepath.Base(name)
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.key(), b.key()), cmp.Compare(a.ID, b.ID))
	})
	return records, nil
}

func readRecord(name string) (Record, error) {
	f, err := os.Open(name)
	if err != nil {
		return Record{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return Record{}, err
	}
	return ParseRecord(b)
}

const (
	markBucket  = "pavedpaths"
	markKey     = "small"
	goDatabase  = "GitHub Security Advisory Go"
	goSourceURL = "https://github.com/advisories?query=type%3Areviewed+ecosystem%3Ago"
)

// fill writes trivy.db through trivy-db's own API, one transaction for each
// entry: bbolt writes nested buckets in random order within a transaction, and
// the bytes must depend on nothing but the records.
func fill(dir string, records []Record) (err error) {
	process.Lock()
	defer process.Unlock()
	silence()
	if err := db.Init(dir, db.WithBoltOptions(&bolt.Options{NoSync: true, PageSize: 4096})); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	dbc := db.Config{}
	var errs []error
	put := func(f func(*bolt.Tx) error) { errs = append(errs, dbc.Connection().Update(f)) }

	sources := map[string]bool{}
	for _, r := range records {
		put(func(tx *bolt.Tx) error { return dbc.PutVulnerability(tx, r.key(), r.vulnerability()) })
		for _, a := range r.Affected {
			bucket, source := a.bucket()
			if !sources[bucket] {
				sources[bucket] = true
				put(func(tx *bolt.Tx) error { return dbc.PutDataSource(tx, bucket, source) })
			}
			put(func(tx *bolt.Tx) error {
				return dbc.PutAdvisory(tx, []string{bucket, a.Package}, r.key(), r.advisory(a))
			})
		}
	}
	put(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(markBucket))
		if err != nil {
			return err
		}
		n, err := json.Marshal(len(records))
		if err != nil {
			return err
		}
		return b.Put([]byte(markKey), n)
	})
	errs = append(errs, dbc.Connection().Sync())
	return errors.Join(errs...)
}

// small reads the mark that Make leaves; 0 without one.
func small(tx *bolt.Tx) (int, error) {
	b := tx.Bucket([]byte(markBucket))
	if b == nil {
		return 0, nil
	}
	var n int
	if err := json.Unmarshal(b.Get([]byte(markKey)), &n); err != nil || n <= 0 {
		return 0, fmt.Errorf("%w: its mark of a small database is garbled", ErrInvalid)
	}
	return n, nil
}

func (a Affected) bucket() (string, types.DataSource) {
	if a.ecosystem() == "go" {
		return "go::" + goDatabase, types.DataSource{ID: vulnerability.GHSA, Name: goDatabase, URL: goSourceURL}
	}
	id, _, _ := strings.Cut(a.Ecosystem, " ")
	return a.Ecosystem, types.DataSource{ID: types.SourceID(id), Name: a.Ecosystem}
}

func (r Record) advisory(a Affected) *types.Advisory {
	adv := &types.Advisory{}
	if r.key() != r.ID {
		adv.VendorIDs = []string{r.ID}
	}
	if a.ecosystem() != "go" {
		adv.FixedVersion = a.Fixed[0]
		return adv
	}
	adv.VulnerableVersions, adv.PatchedVersions = a.Vulnerable, a.Fixed
	return adv
}

func (r Record) vulnerability() types.Vulnerability {
	v := types.Vulnerability{Title: r.Title, References: r.References}
	severity := types.Severity(slices.Index(severities, r.Severity))
	v.Severity = severity.String()
	if severity != types.SeverityUnknown {
		v.VendorSeverity = types.VendorSeverity{vulnerability.GHSA: severity}
	}
	if r.CVSS != nil {
		v.CVSS = types.VendorCVSS{vulnerability.GHSA: {V3Vector: r.CVSS.Vector, V3Score: r.CVSS.Score}}
	}
	if t, err := time.Parse(time.DateOnly, r.Published); err == nil {
		v.PublishedDate = &t
	}
	return v
}

func fileDigest(path string) (step.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return step.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}
