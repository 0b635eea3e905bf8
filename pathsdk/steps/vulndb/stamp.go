package vulndb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// stamp is how a file looked when its digest was known.
type stamp struct {
	Digest  step.Digest `json:"digest"`
	Size    int64       `json:"size"`
	ModTime int64       `json:"modTime"`
	Change  int64       `json:"change"`
	Inode   uint64      `json:"inode"`
}

func (s stamp) looksLike(o stamp) bool {
	s.Digest, o.Digest = "", ""
	return s == o
}

func look(path string) (stamp, error) {
	st, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	if !st.Mode().IsRegular() {
		return stamp{}, fmt.Errorf("%s is not a regular file", path)
	}
	s := stamp{Size: st.Size(), ModTime: st.ModTime().UnixNano()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		s.Inode = sys.Ino
		s.Change = sys.Ctim.Nano()
	}
	return s, nil
}

// racy is how recent a change must be for another one to go unnoticed by the
// file system's clock.
const racy = 2 * time.Second

// digestOf returns the SHA-256 of a user's file; one that looks as it did last
// time is not read.
func (c cache) digestOf(ctx context.Context, path string, now time.Time) (step.Digest, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	key := sum([]byte(abs))
	before, err := look(abs)
	if err != nil {
		return "", err
	}
	var known stamp
	if c.read("seen", key, &known) && known.looksLike(before) {
		if _, err := step.ParseDigest(string(known.Digest)); err == nil {
			return known.Digest, nil
		}
	}
	d, err := digestFile(ctx, abs)
	if err != nil {
		return "", err
	}
	after, err := look(abs)
	if err != nil {
		return "", err
	}
	if !after.looksLike(before) {
		return "", fmt.Errorf("%s changed while it was read: run again", path)
	}
	if now.Sub(time.Unix(0, max(before.ModTime, before.Change))) > racy {
		before.Digest = d
		_ = c.write("seen", key, before)
	}
	return d, nil
}

func newHash() hash.Hash { return sha256.New() }

func asDigest(h hash.Hash) step.Digest {
	return step.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

func digestFile(ctx context.Context, path string) (step.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := newHash()
	if _, err := io.CopyBuffer(h, &ctxReader{ctx, f}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return asDigest(h), nil
}

// ctxReader ends a long read when its work is cancelled.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
