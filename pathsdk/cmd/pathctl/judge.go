package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/internal/kev"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// judge is what a verifier brings along. None of it depends on an image, so it
// is read once for all of them; nothing learned from one image is kept for the
// next. Several goroutines may use it.
type judge struct {
	policy    *policy.Policy
	trust     *attest.Trust
	params    map[string]any
	kev       policy.KEV
	kevSource string
	waivers   []policy.Waiver // nil: those in the provenance count
	signer    *attest.Signer  // nil: no VSA is asked for
	svr       bool            // an SVR is asked for, too
	// also is what a signer signs besides of an image that passed; nil for nothing.
	also      func(examined) ([]step.Evidence, error)
	second    string // where a second builder's image is; empty if none is asked for
	transport http.RoundTripper
	deep      bool
}

func (a *app) newJudge(ctx context.Context, f *verifyFlags) (*judge, error) {
	j := &judge{transport: a.transport(), deep: f.deep, svr: f.svr, second: f.reproducedBy}
	name := f.policy.name
	if name == "" {
		name = "microservice"
	}
	var err error
	if j.policy, err = policy.Load(name); err != nil {
		return nil, err
	}
	if j.trust, err = a.loadTrust(f.trust); err != nil {
		return nil, err
	}
	if j.params, err = f.policy.values(); err != nil {
		return nil, err
	}
	if j.kev, j.kevSource, err = loadKEV(ctx, f.policy.kev); err != nil {
		return nil, err
	}
	if f.waivers != "" {
		if j.waivers, err = loadWaivers(f.waivers); err != nil {
			return nil, err
		}
	}
	if f.attest {
		if j.signer, err = a.signer(ctx, f.signer, false); err != nil {
			return nil, err
		}
	}
	return j, nil
}

func (a *app) loadTrust(file string) (*attest.Trust, error) {
	if file == "" {
		file = filepath.Join(a.host.Home, attest.TrustFile)
	}
	return attest.LoadTrust(file)
}

// examined is an image with all its evidence, checked against a trust root.
type examined struct {
	place  oci.Locator
	store  oci.Writer
	digest step.Digest
	images []oci.Image
	found  []attest.Found
}

// examine reads the image that a reference names and verifies what hangs on it.
func (a *app) examine(ctx context.Context, reference, trustFile string, deep bool) (examined, error) {
	trust, err := a.loadTrust(trustFile)
	if err != nil {
		return examined{}, err
	}
	return (&judge{trust: trust, transport: a.transport(), deep: deep}).examine(ctx, reference)
}

func (j *judge) examine(ctx context.Context, reference string) (examined, error) {
	var e examined
	var err error
	if e.place, err = oci.ParseLocator(reference); err != nil {
		return e, err
	}
	with := oci.WithTransport(j.transport)
	if e.digest, err = oci.Resolve(ctx, e.place, with); err != nil {
		return e, damaged(e.place, err)
	}
	if e.store, err = oci.Open(ctx, e.place, with); err != nil {
		return e, damaged(e.place, err)
	}
	if err := oci.Check(ctx, e.store, e.digest, j.deep); err != nil {
		if errors.Is(err, oci.ErrNotFound) {
			return e, &step.GateError{Gate: "image", Findings: []string{err.Error()}, Fix: "the image, or a part of it, is not there: check the reference, push it again, or ship again"}
		}
		return e, damaged(e.place, err)
	}
	if e.images, err = oci.Images(ctx, e.store, e.digest); err != nil {
		return e, damaged(e.place, err)
	}
	if e.found, err = attest.Collect(ctx, e.store, e.images, j.trust); err != nil {
		return e, damaged(e.place, err)
	}
	platforms, err := attest.CollectPlatforms(ctx, e.place, e.store, e.images, j.trust, with)
	e.found = append(e.found, platforms...)
	return e, damaged(e.place, err)
}

// damaged makes content that is not what its digest says a gate that refuses:
// whoever tampers must not get another answer than the policy's. A store that
// can't be reached stays an error.
func damaged(place oci.Locator, err error) error {
	if !errors.Is(err, oci.ErrContent) {
		return err
	}
	text := err.Error()
	if host, _, _ := strings.Cut(place.Place(), "/"); !strings.Contains(text, host) {
		text = place.Place() + ": " + text
	}
	return &step.GateError{Gate: "image", Findings: []string{text}, Fix: "what is stored is not what its digest says: push it again, or ship again"}
}

// judge judges one image, and hangs the verdict on it if there is a signer.
func (j *judge) judge(ctx context.Context, reference string) (policy.Verdict, error) {
	e, err := j.examine(ctx, reference)
	if err != nil {
		return policy.Verdict{}, err
	}
	in := e.input(time.Now().UTC())
	in.Params, in.KEV, in.KEVSource, in.Waivers = j.params, j.kev, j.kevSource, j.waivers
	if in.Reproduction, err = j.reproduction(ctx, e.digest); err != nil {
		return policy.Verdict{}, err
	}
	v, err := policy.Judge(j.policy, in)
	if err != nil || j.signer == nil {
		return v, err
	}
	return v, j.attachVerdict(ctx, e, v)
}

// input is what a policy sees of the image.
func (e examined) input(now time.Time) policy.Input {
	e.place.Tag, e.place.Digest = "", e.digest
	in := policy.Input{Reference: e.place.String(), Digest: e.digest, Now: now}
	for _, im := range e.images {
		in.Images = append(in.Images, policy.Image{Digest: im.Digest, Index: im.Descriptor.MediaType.IsIndex(), Platform: im.Platform})
	}
	for _, found := range e.found {
		in.Attestations = append(in.Attestations, attestation(found))
	}
	return in
}

// reproduction reads what a second builder says of the same image in its own place.
func (j *judge) reproduction(ctx context.Context, want step.Digest) (*policy.Reproduction, error) {
	if j.second == "" {
		return nil, nil
	}
	e, err := j.examine(ctx, j.second)
	if err != nil {
		return nil, fmt.Errorf("--reproduced-by: %w", err)
	}
	if e.digest != want {
		return nil, &step.GateError{Gate: "reproduced", Findings: []string{fmt.Sprintf("%s is %s, not %s: the second builder made another image", j.second, e.digest, want)},
			Fix: "build the same revision with the same inputs and time (pathctl explain lists what decides a digest), or look for what differs between the two builders"}
	}
	e.place.Tag, e.place.Digest = "", e.digest
	r := &policy.Reproduction{Reference: e.place.String()}
	for _, found := range e.found {
		r.Attestations = append(r.Attestations, attestation(found))
	}
	return r, nil
}

// attestation is a referrer as policies see it.
func attestation(f attest.Found) policy.Attestation {
	at := policy.Attestation{Digest: f.Digest, Image: f.Image, Type: f.PredicateType, Err: f.Err, Code: string(attest.CodeOf(f.Err)), Foreign: f.Foreign()}
	if v := f.Verified; v != nil {
		at.Subject = v.Statement.Subject.Digest
		at.Signer, at.Roles = v.Signer.Name, v.Signer.Roles
		at.MaxTier, at.MaxBuildLevel, at.RunIssuers = v.Signer.MaxTier, v.Signer.MaxBuildLevel, v.Signer.Issuers()
		at.Tier, at.Predicate = v.Statement.Tier, v.Statement.Predicate
		if c := v.Certified; c != nil {
			at.Identity = &policy.Identity{Issuer: c.Issuer, Subject: c.Subject, Run: c.Run}
		}
	}
	return at
}

// attachVerdict signs the verdict as a VSA, and as an SVR if one is asked for and the
// image passed. What says nothing new is not signed again.
func (j *judge) attachVerdict(ctx context.Context, e examined, v policy.Verdict) error {
	name := imageName(e)
	opts := policy.VSAOptions{Version: version}
	if e.place.IsLayout() {
		// Where a layout lies on this machine means nothing to who reads the VSA.
		opts.ResourceURI = "pkg:oci/" + name + "@" + url.QueryEscape(string(e.digest))
	}
	vsa, err := policy.VSA(v, opts)
	if err != nil {
		return err
	}
	signed := []step.Evidence{{Type: evidence.VSA.URI, Predicate: vsa}}
	if j.svr && v.Passed {
		svr, err := policy.SVR(v, opts)
		if err != nil {
			return err
		}
		signed = append(signed, step.Evidence{Type: evidence.SVR.URI, Predicate: svr})
	}
	if j.also != nil && v.Passed {
		more, err := j.also(e)
		if err != nil {
			return err
		}
		signed = append(signed, more...)
	}
	for _, s := range signed {
		if slices.ContainsFunc(e.found, func(f attest.Found) bool {
			return f.Verified != nil && f.Image == e.digest && f.PredicateType == s.Type &&
				slices.Contains(f.Verified.Signer.Roles, attest.RoleVerifier) && sameVerdict(f.Verified.Statement.Predicate, s.Predicate)
		}) {
			continue
		}
		t, _ := evidence.Lookup(s.Type)
		// The verifier computed this itself from what it verified.
		st, err := evidence.New(t, s.Predicate, step.Subject{Name: name, Digest: e.digest}, evidence.Derived)
		if err != nil {
			return err
		}
		bundle, err := attest.SignAndLog(ctx, j.signer, st)
		if err != nil {
			return err
		}
		if _, err := attest.Attach(ctx, e.store, e.images[0].Descriptor, bundle, s.Type, v.VerifiedOn); err != nil {
			return err
		}
	}
	return oci.Settle(ctx, e.store)
}

// imageName is what the attester called the image.
func imageName(e examined) string {
	for _, f := range e.found {
		if f.Verified != nil && f.Image == e.digest && f.PredicateType == evidence.Signature.URI {
			return f.Verified.Statement.Subject.Name
		}
	}
	return "image"
}

// sameVerdict compares two summaries but for the time.
func sameVerdict(a, b json.RawMessage) bool {
	timeless := func(raw json.RawMessage) any {
		var m map[string]any
		if json.Unmarshal(raw, &m) != nil {
			return nil
		}
		delete(m, "timeVerified") // of a VSA
		delete(m, "timeCreated")  // of an SVR
		return m
	}
	x := timeless(a)
	return x != nil && reflect.DeepEqual(x, timeless(b))
}

// maxKEV bounds the list; CISA's has about 1.5 MB.
const maxKEV = 64 << 20

// loadKEV reads the list from a file or a URL that the user named.
func loadKEV(ctx context.Context, from string) (policy.KEV, string, error) {
	if from == "" {
		return nil, "", nil
	}
	var r io.ReadCloser
	if strings.HasPrefix(from, "https://") || strings.HasPrefix(from, "http://") {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
		if err != nil {
			return nil, "", step.Usagef("--kev %s: %w", from, err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, "", fmt.Errorf("--kev: %w; give a file that you downloaded instead", err)
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, "", fmt.Errorf("--kev %s: the server answered %s; give a file that you downloaded instead", from, resp.Status)
		}
		r = resp.Body
	} else {
		file, err := os.Open(from)
		if err != nil {
			return nil, "", step.Usagef("--kev: %w", err)
		}
		r = file
	}
	defer r.Close()
	c, err := kev.Parse(io.LimitReader(r, maxKEV))
	if err != nil {
		return nil, "", fmt.Errorf("--kev %s: %w", from, err)
	}
	return c, fmt.Sprintf("%s, version %s", filepath.Base(from), c.Version), nil
}

// loadWaivers reads waivers from a local paths.yaml.
func loadWaivers(file string) ([]policy.Waiver, error) {
	raw, err := bounded.ReadFile(file, service.MaxSize)
	if err != nil {
		return nil, step.Usagef("--waivers: %w", err)
	}
	s, err := service.Parse(raw)
	if err != nil {
		return nil, err
	}
	waivers := []policy.Waiver{}
	for _, w := range s.Waivers {
		waivers = append(waivers, policy.Waiver{ID: w.ID, Reason: w.Reason, Expires: w.Expires})
	}
	return waivers, nil
}
