package attest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

// covering bounds how long a log may take to publish a checkpoint over an entry that it
// says it has.
const covering = 20 * time.Second

// duplicate is how Rekor v2 says where it has an entry already.
var duplicate = regexp.MustCompile(`already exists in the transparency log with index ([0-9]{1,18})`)

// find rebuilds the entry with an index from what the log publishes: its checkpoint,
// the bundle with the entry, and tiles for the proof (https://c2sp.org/tlog-tiles).
// Nothing of it is verified here: Log verifies what it gets, the checkpoint's signature
// included, however it came about.
func (t *tiles) find(ctx context.Context, index uint64) (*protorekor.TransparencyLogEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, covering)
	defer cancel()
	var raw []byte
	var cp log.Checkpoint
	for cp.Size <= index {
		var err error
		if raw, err = t.get(ctx, "checkpoint"); err != nil {
			return nil, err
		}
		if _, err := cp.Unmarshal(raw); err != nil {
			return nil, fmt.Errorf("%s: unreadable checkpoint: %w", t.url, err)
		}
		if cp.Size > index {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: its checkpoint has no entry %d yet", t.url, index)
		case <-time.After(200 * time.Millisecond):
		}
	}
	entries, err := client.GetEntryBundle(ctx, func(ctx context.Context, n uint64, p uint8) ([]byte, error) {
		return t.get(ctx, layout.EntriesPath(n, p))
	}, index/layout.EntryBundleWidth, cp.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: entry %d: %w", t.url, index, err)
	}
	at := index % layout.EntryBundleWidth
	if at >= uint64(len(entries.Entries)) {
		return nil, fmt.Errorf("%s: entry %d is not in its bundle", t.url, index)
	}
	proof, err := client.NewProofBuilder(ctx, cp.Size, func(ctx context.Context, level, n uint64, p uint8) ([]byte, error) {
		return t.get(ctx, layout.TilePath(level, n, p))
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.url, err)
	}
	hashes, err := proof.InclusionProof(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("%s: proof of entry %d: %w", t.url, index, err)
	}
	id, err := t.logID(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.url, err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: int64(index), LogId: &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		CanonicalizedBody: entries.Entries[at],
		InclusionProof: &protorekor.InclusionProof{
			LogIndex: int64(index), TreeSize: int64(cp.Size), RootHash: cp.Hash, Hashes: hashes,
			Checkpoint: &protorekor.Checkpoint{Envelope: string(raw)},
		},
	}, nil
}

// logID is the trusted log that has signed a checkpoint, as it says: a note names keys
// by the first four bytes of their log's id.
func (t *tiles) logID(checkpoint []byte) ([]byte, error) {
	_, err := note.Open(checkpoint, note.VerifierList())
	unverified := (*note.UnverifiedNoteError)(nil)
	if !errors.As(err, &unverified) {
		return nil, fmt.Errorf("unreadable checkpoint: %w", err)
	}
	for _, sig := range unverified.Note.UnverifiedSigs {
		for _, l := range t.trusted.RekorLogs() {
			if len(l.ID) >= 4 && binary.BigEndian.Uint32(l.ID) == sig.Hash {
				return l.ID, nil
			}
		}
	}
	return nil, errors.New("its checkpoint is signed by no log of the trusted root")
}

// get reads one of the log's public files.
func (t *tiles) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+"/api/v2/"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	return io.ReadAll(resp.Body) // whole gives no more than maxAnswer
}

// duplicateOf is the index at which the log has an entry already.
func duplicateOf(answer []byte) (uint64, bool) {
	m := duplicate.FindSubmatch(answer)
	if m == nil {
		return 0, false
	}
	index, err := strconv.ParseUint(string(m[1]), 10, 63)
	return index, err == nil
}
