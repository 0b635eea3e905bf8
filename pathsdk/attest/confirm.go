package attest

import (
	"context"
	"fmt"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Confirm reads back what was published, as those will who verify it: the referrer is
// listed for its image, and holds the statement in a bundle that this signer made,
// whole, with its timestamp and the entries of logs; what it refers to can be read.
func (s *Signer) Confirm(ctx context.Context, store oci.Store, image, referrer step.Digest, statement []byte) error {
	listed, err := store.Referrers(ctx, image)
	if err != nil {
		return fmt.Errorf("list referrers of %s: %w", image, err)
	}
	for _, d := range listed {
		if oci.Digest(d) != referrer {
			continue
		}
		layer, err := bundleOf(ctx, store, referrer, image)
		if err != nil {
			return fmt.Errorf("referrer %s: %w", referrer, err)
		}
		b, err := oci.ReadBlob(ctx, store, layer, MaxBundle)
		if err != nil {
			return fmt.Errorf("referrer %s: %w", referrer, err)
		}
		bun, payload, err := parseBundle(b)
		if err != nil {
			return fmt.Errorf("referrer %s: %w", referrer, err)
		}
		v := Verified{}
		if v.Statement, err = evidence.ParseStatement(payload); err == nil && v.Statement.PredicateType == evidence.Reference.URI {
			err = v.follow(ctx, store)
		}
		if err != nil {
			return fmt.Errorf("referrer %s: %w", referrer, err)
		}
		if !s.logged(bun) || !s.Made(b, statement) {
			return fmt.Errorf("referrer %s does not hold what was signed", referrer)
		}
		return nil
	}
	return fmt.Errorf("referrer %s is not listed for %s", referrer, image)
}
