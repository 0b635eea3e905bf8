// Package vulndb is the step that makes a vulnerability database available: from
// the first of several mirrors that has it, from a folder, or from an archive.
package vulndb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

type input struct {
	From []string `json:"from" help:"where the database comes from, tried in turn: OCI references of mirrors or layouts, a folder with trivy.db and metadata.json, or a .tar.gz of the two"`
}

type output struct {
	DB      step.Dir    `json:"db" key:"-" help:"the folder with trivy.db and metadata.json"`
	Digest  step.Digest `json:"digest" help:"digest of the database: of the layer in a registry, of the archive, or of trivy.db in a folder"`
	Updated string      `json:"updated" help:"when the database was last updated, in RFC 3339"`
	Source  string      `json:"source" help:"the reference that served the database; file:trivy-db, file:trivy-db.tar.gz or file:trivy-db-layout for a local one"`
}

func (o output) Subject() step.Subject {
	return step.Subject{Name: "vulnerability database", Digest: o.Digest}
}

// The sources of local databases: where they lie is nobody's business.
const (
	sourceFolder  = "file:trivy-db"
	sourceArchive = "file:trivy-db.tar.gz"
	sourceLayout  = "file:trivy-db-layout"
)

// maxSkew is how far in the future a database may claim to be made; beyond it
// the claim would only serve to look fresh for ever.
const maxSkew = time.Hour

// New returns the step vulndb.
func New() step.Step {
	return define(limits{
		layer: 2 << 30, db: 6 << 30,
		oci: []oci.Option{
			// There are other mirrors: don't wait too long for one.
			oci.WithRetry(oci.Retry{Attempts: 4, Base: 500 * time.Millisecond, Max: 8 * time.Second, Budget: 30 * time.Second}),
			oci.WithIdleTimeout(30 * time.Second),
		},
	})
}

// limits are what tests set otherwise.
type limits struct {
	// layer bounds a packed database, db an unpacked one, in bytes. The real one
	// has about a tenth of either.
	layer, db int64
	oci       []oci.Option
}

func define(l limits) step.Step {
	return step.Define(step.Meta{
		Name:    "vulndb",
		Version: "1.0.0",
		Summary: "Makes a vulnerability database in trivy-db's format available, from mirrors or from disk.",
		Zone:    step.ZoneAttest,
		Needs:   step.Needs{Network: true, Fresh: true},
	}, func(ctx context.Context, env step.Env, in input) (output, []step.Evidence, error) {
		out, err := provide(ctx, env, l, in.From)
		return out, nil, err
	})
}

// database is one that is at hand, checked.
type database struct {
	dir     string
	digest  step.Digest
	updated time.Time
	next    time.Time
	source  string
}

func provide(ctx context.Context, env step.Env, l limits, from []string) (output, error) {
	if err := ctx.Err(); err != nil {
		return output{}, err
	}
	c := cache{dir: env.Cache, limit: l.db}
	var failed []error
	kept := map[string]database{}
	sources := make([]source, len(from))
	for i, text := range from {
		s, err := parseSource(text)
		if err != nil {
			return output{}, err
		}
		sources[i] = s
		// A copy that its publisher calls current needs no network.
		if db, ok := c.byReference(s); ok {
			if env.Now().Before(db.next) {
				return finish(env, db)
			}
			kept[s.text] = db
		}
	}
	for _, s := range sources {
		db, err := s.get(ctx, env, l, c)
		if err == nil {
			var out output
			if out, err = finish(env, db); err == nil {
				c.prune(env.Now(), db.dir)
				return out, nil
			}
		}
		if ctx.Err() != nil {
			return output{}, context.Cause(ctx)
		}
		env.Log.Warn("vulnerability database not available", "from", s.text, "error", err)
		failed = append(failed, fmt.Errorf("%s: %w", s.text, err))
	}
	for _, s := range sources {
		// Better an old one than none: its age is judged with every verdict.
		if db, ok := kept[s.text]; ok {
			env.Log.Warn("no mirror answered: using the vulnerability database of an earlier run", "from", s.text, "updated", db.updated)
			return finish(env, db)
		}
	}
	return output{}, noDatabase(failed)
}

func finish(env step.Env, db database) (output, error) {
	if db.updated.After(env.Now().Add(maxSkew)) {
		return output{}, fmt.Errorf("it says that it was updated at %s, which is in the future: check this machine's clock, or take another one",
			db.updated.Format(time.RFC3339))
	}
	return output{
		DB: step.Dir(db.dir), Digest: db.digest,
		Updated: db.updated.UTC().Format(time.RFC3339), Source: db.source,
	}, nil
}

func noDatabase(failed []error) error {
	var lines []string
	for _, err := range failed {
		lines = append(lines, "  "+strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return &noDatabaseError{errors.Join(failed...), "no vulnerability database, and none from an earlier run:\n" + strings.Join(lines, "\n") +
		"\n  fix: make one of these mirrors reachable, or name another with --vuln-db: an OCI reference, a folder with " +
		trivydb.DBFile + " and " + trivydb.MetadataFile + ", or a .tar.gz of the two"}
}

type noDatabaseError struct {
	error
	text string
}

func (e *noDatabaseError) Error() string { return e.text }
func (e *noDatabaseError) Unwrap() error { return e.error }
