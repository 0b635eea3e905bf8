package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/run"
)

// An intent is what an attester of a run means to publish, signatures and all, written
// down before the first is published. Pods die, and their disks with them: whoever
// attests the run next takes the intent up, and so publishes the same bytes. It is an
// artifact in the image's repository, and a ConfigMap that can be written once says
// which. Two files in it are ours: the publication, and each statement's bundle.
const (
	intentFolder      = "intent"
	intentPublication = "publication.json"
	intentBundle      = "bundle-"
)

func intentName(uid string) string { return "intent-" + uid }

// takenUp ends what an earlier attempt at this run has begun to publish, if one has.
func (a *app) takenUp(ctx context.Context, f *attestFlags, r *run.Runner) (attested, bool, error) {
	ref, ok, err := a.host.Kubernetes.Claimed(ctx, intentName(f.uid))
	if err != nil || !ok {
		return attested{}, false, err
	}
	signer, err := a.signer(ctx, f.signer, true)
	if err != nil {
		return attested{}, true, err
	}
	p, err := a.readIntent(ctx, signer, ref, f.uid, r.Work())
	if err != nil {
		return attested{}, true, err
	}
	res, _, err := a.publish(ctx, signer, p, nil)
	return res, true, err
}

// intend claims the run for what was signed. If another attempt was first, it returns
// what that one has signed, and false.
func (a *app) intend(ctx context.Context, signer *attest.Signer, p publication, signatures []signature, dst oci.Writer) (publication, bool, error) {
	tmp, err := os.MkdirTemp("", "intent-*")
	if err != nil {
		return p, false, err
	}
	defer os.RemoveAll(tmp)
	raw, err := json.Marshal(p)
	if err != nil {
		return p, false, err
	}
	dir := filepath.Join(tmp, intentFolder)
	if err := writeFile(filepath.Join(dir, intentPublication), raw, 0o644); err != nil {
		return p, false, err
	}
	for i, s := range signatures {
		if err := writeFile(filepath.Join(dir, intentBundle+strconv.Itoa(i)), s.bundle, 0o644); err != nil {
			return p, false, err
		}
	}
	d, err := oci.PutFolders(ctx, dst, []string{dir})
	if err != nil {
		return p, false, err
	}
	mine := p.To + "@" + string(d)
	first, err := a.host.Kubernetes.Claim(ctx, intentName(p.Run), mine)
	if err != nil || first == mine {
		return p, err == nil, err
	}
	p, err = a.readIntent(ctx, signer, first, p.Run, tmp)
	return p, false, err
}

// readIntent fetches the intent for a run, and puts its signatures where sign finds them.
func (a *app) readIntent(ctx context.Context, signer *attest.Signer, ref, uid, work string) (publication, error) {
	var p publication
	from, err := oci.ParseLocator(ref)
	if err != nil || from.Digest == "" {
		return p, fmt.Errorf("the intent of an earlier attempt, %.300q, is not named by its digest", ref)
	}
	s, err := oci.Open(ctx, from, oci.WithTransport(a.transport()))
	if err != nil {
		return p, err
	}
	dirs, err := oci.TakeFolders(ctx, s, from.Digest, filepath.Join(work, "taken-up"))
	if err != nil {
		return p, fmt.Errorf("take up what an earlier attempt signed: %w", err)
	}
	raw, err := bounded.ReadFile(filepath.Join(dirs[0], intentPublication), maxPublication)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("%s: %w", ref, err)
	}
	if p.Run != uid {
		return p, fmt.Errorf("the intent %s is of run %.100q, not %s", ref, p.Run, uid)
	}
	for i, st := range p.Evidence {
		bundle, err := bounded.ReadFile(filepath.Join(dirs[0], intentBundle+strconv.Itoa(i)), attest.MaxBundle)
		if err != nil {
			return p, err
		}
		sig := a.remembered(signer, st.Bytes)
		sig.bundle = bundle
		if err := sig.keep(); err != nil {
			return p, err
		}
	}
	return p, nil
}
