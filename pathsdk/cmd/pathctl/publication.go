package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// publication is an image in its place, and the evidence that is to be signed and
// hung on it before its tag names it. It is data: it is written down before the first
// signature, so that whoever comes after a log that failed, a registry that did, or a
// process that was killed can end it.
type publication struct {
	// To is oci:DIR or HOST/REPO.
	To       string
	Tag      string
	Image    step.Digest
	Created  time.Time
	Evidence []statement
	// Layout is one of the layouts: how the evidence hangs on the image.
	Layout string
	// Run is the UID of the PipelineRun that it is about, of which there is one
	// publication, whoever attests it how often; empty for others.
	Run string `json:",omitempty"`
}

// signature is a bundle, and the file in which it is remembered.
type signature struct {
	file   string
	bundle []byte
	known  bool // not made in this run
}

// attesterFolder is a folder of what the attester keeps between runs.
func (a *app) attesterFolder(name string) string {
	return filepath.Join(a.host.Home, "cache", string(step.ZoneAttest), name)
}

// file is where the publication is written down until it has ended. A tag has one: the
// newest image that was to get it, so that nothing that is ended later moves it back.
func (p publication) file(a *app) string {
	name := p.Tag
	if name == "" {
		name = string(p.Image)
	}
	sum := sha256.Sum256([]byte(p.To + "\n" + name))
	return filepath.Join(a.attesterFolder("pending"), hex.EncodeToString(sum[:])+".json")
}

// publish signs what is new, hangs all evidence on the image, and tags it. dst is the
// place, if it is open already. It counts the new signatures.
func (a *app) publish(ctx context.Context, signer *attest.Signer, p publication, dst oci.Writer) (attested, int, error) {
	var res attested
	raw, err := json.Marshal(p)
	if err != nil {
		return res, 0, err
	}
	if len(raw) > maxPublication {
		return res, 0, fmt.Errorf("the evidence has %d bytes in all, more than the limit of %d", len(raw), maxPublication)
	}
	if err := writeFile(p.file(a), raw, 0o600); err != nil {
		return res, 0, fmt.Errorf("write down what is to be published: %w", err)
	}
	to, err := oci.ParseLocator(p.To)
	if err != nil {
		return res, 0, err
	}
	with := oci.WithTransport(a.transport())
	if dst == nil {
		if dst, err = oci.Open(ctx, to, with); err != nil {
			return res, 0, err
		}
	}
	tags, err := a.tags(ctx, signer, p, to)
	if err != nil {
		return res, 0, err
	}
	signatures, err := a.signEvidence(ctx, signer, p.Evidence)
	if err != nil {
		if unlogged := (errPending{}); errors.As(err, &unlogged) {
			err = fmt.Errorf("%w\n  fix: pathctl attest resume", err)
		}
		return res, 0, err
	}
	if p.Run != "" {
		theirs, first, err := a.intend(ctx, signer, p, signatures, dst)
		if err != nil {
			return res, 0, fmt.Errorf("write down what is to be published: %w", err)
		}
		if !first {
			// What was signed here stays in the log, and is published nowhere.
			p, res.Duplicate = theirs, true
			if signatures, err = a.signEvidence(ctx, signer, p.Evidence); err != nil {
				return res, 0, err
			}
		}
	}
	fresh, err := attachAll(ctx, p, signatures, dst, &res)
	if err != nil {
		return res, fresh, err
	}
	if err := oci.Settle(ctx, dst); err != nil {
		return res, fresh, err
	}
	if err := a.confirm(ctx, signer, p, res); err != nil {
		return res, fresh, err
	}
	for _, t := range tags {
		n, err := t.write(ctx, signer, p.Evidence, signatures, with)
		if err != nil {
			return res, fresh, fmt.Errorf("--layout %s: %w", p.Layout, err)
		}
		fresh += n
	}
	if err := oci.Tag(ctx, dst, p.Image, p.Tag); err != nil {
		return res, fresh, err
	}
	to.Digest = p.Image
	res.Reference = to.String()
	if err := os.Remove(p.file(a)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return res, fresh, err
	}
	return res, fresh, nil
}

// attaching bounds how many statements are on their way at once.
const attaching = 8

// signEvidence signs every statement, then logs it, several at once. All are signed, and
// have their timestamps, before the first goes to a log: certificates live for minutes,
// and an outage of a log may last longer.
func (a *app) signEvidence(ctx context.Context, signer *attest.Signer, statements []statement) ([]signature, error) {
	signatures := make([]signature, len(statements))
	err := each(ctx, statements, func(ctx context.Context, i int, s statement) (err error) {
		signatures[i], err = a.sign(ctx, signer, s.Bytes, attest.Sign)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = each(ctx, statements, func(ctx context.Context, i int, s statement) error { return signatures[i].log(ctx, signer) })
	if err != nil {
		return nil, fmt.Errorf("%w\n  the evidence is signed, and kept until a log has it: nothing of it is published before", errPending{err})
	}
	return signatures, nil
}

// errPending is the failure of a log, after everything was signed.
type errPending struct{ error }

func (e errPending) Unwrap() error { return e.error }

// attachAll hangs every statement on its images.
func attachAll(ctx context.Context, p publication, signatures []signature, dst oci.Writer, res *attested) (int, error) {
	items := make([][]attestedItem, len(p.Evidence))
	err := each(ctx, p.Evidence, func(ctx context.Context, i int, s statement) error {
		for _, on := range s.On {
			if s.Apart != nil { // first: nothing refers to what is not there
				if err := attest.AttachPredicate(ctx, dst, on, s.Type, s.Apart, p.Created); err != nil {
					return err
				}
			}
			d, err := attest.Attach(ctx, dst, on, signatures[i].bundle, s.signed().URI, p.Created)
			if err != nil {
				return err
			}
			items[i] = append(items[i], attestedItem{Type: s.Type.URI, Subject: oci.Digest(on), Tier: string(s.Tier), Digest: d, Cached: signatures[i].known})
		}
		return nil
	})
	fresh := 0
	for i, list := range items {
		if len(list) > 0 && !signatures[i].known {
			fresh++
		}
		res.Evidence = append(res.Evidence, list...)
	}
	return fresh, err
}

// confirm reads all that hangs on the image now, before its tag names it.
func (a *app) confirm(ctx context.Context, signer *attest.Signer, p publication, res attested) error {
	to, err := oci.ParseLocator(p.To)
	if err != nil {
		return err
	}
	place, err := oci.Open(ctx, to, oci.WithTransport(a.transport())) // without what the writer knows
	if err != nil {
		return err
	}
	items := make([][]attestedItem, len(p.Evidence)) // of each statement, in the order of its images
	rest := res.Evidence
	for i, s := range p.Evidence {
		items[i], rest = rest[:len(s.On)], rest[len(s.On):]
	}
	err = each(ctx, p.Evidence, func(ctx context.Context, i int, s statement) error {
		for _, item := range items[i] {
			if err := signer.Confirm(ctx, place, item.Subject, item.Digest, s.Bytes); err != nil {
				return fmt.Errorf("%s: %w", s.Type.Name, err)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, oci.ErrContent):
		return damaged(to, err)
	case err != nil:
		return fmt.Errorf("what was published to %s does not read back: %w\n  fix: run the same command again; the tag stays where it was", p.To, err)
	}
	return nil
}

// each does something with every statement, several at once, and stops at the first
// failure.
func each(ctx context.Context, statements []statement, do func(context.Context, int, statement) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(attaching)
	for i, s := range statements {
		g.Go(func() error { return do(ctx, i, s) })
	}
	return g.Wait()
}

// sign signs one statement or message as by does, or finds the bundle that an earlier
// run signed with the same key or identity. A remembered bundle is verified like any
// other. It is kept before it goes to any log, so that a log that fails, or this
// process, costs no second signature.
func (a *app) sign(ctx context.Context, signer *attest.Signer, text []byte, by func(context.Context, *attest.Signer, []byte) ([]byte, error)) (signature, error) {
	s := a.remembered(signer, text)
	var err error
	if s.bundle, err = bounded.ReadFile(s.file, attest.MaxBundle); err == nil && signer.Made(s.bundle, text) {
		s.known = true
		return s, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if s.bundle, err = by(ctx, signer, text); err != nil {
		return s, err
	}
	forget(filepath.Dir(s.file), keepBundles)
	return s, s.keep()
}

// remembered is where the signature of a text by this signer is kept.
func (a *app) remembered(signer *attest.Signer, text []byte) signature {
	sum := sha256.Sum256(append([]byte(signer.ID()+"\n"), text...))
	return signature{file: filepath.Join(a.attesterFolder("bundles"), hex.EncodeToString(sum[:])+".json")}
}

func (s *signature) keep() error {
	if err := writeFile(s.file, s.bundle, 0o600); err != nil {
		return fmt.Errorf("keep the signature: %w", err)
	}
	return nil
}

// log adds what logs owe the bundle.
func (s *signature) log(ctx context.Context, signer *attest.Signer) error {
	logged, err := attest.Log(ctx, signer, s.bundle)
	if err != nil || bytes.Equal(logged, s.bundle) {
		return err
	}
	s.bundle, s.known = logged, false
	return s.keep()
}

// keepBundles is how many signatures are remembered.
const keepBundles = 512

// forget removes the oldest files of a folder beyond a number.
func forget(dir string, keep int) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= keep {
		return
	}
	age := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return age[y.Name()].Compare(age[x.Name()]) })
	for _, e := range entries[keep:] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}
