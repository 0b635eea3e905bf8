package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"dagger/microservice/internal/dagger"
)

// Verdict is what a policy says of an image, and why.
type Verdict struct {
	// PASSED or FAILED.
	Verdict string
	// Digest of the image.
	Digest string
	// SLSA Build level, computed from observed facts, never claimed.
	Level int
	// Why it is that level, and what is missing for the next.
	Reasons []string
	// What the policy found, with what to do about it.
	Findings []string
	// Where the image is, by digest.
	Reference string
	// The vulnerability database of the scan.
	Database string
	// HTML report: one file, no network.
	Report *dagger.File
	// The evidence that the verdict rests on, one file each.
	Evidence *dagger.Directory
	// The whole verdict, as JSON.
	Json *dagger.File
	// The image with its evidence as an OCI layout, if it went into no registry.
	Store *dagger.Directory
}

// Ship takes a service from source to a tested, signed, verified image, and ends
// with its digest, the verdict and the level. It fails if the policy refuses the
// image; what was signed until then is kept with it.
//
// +cache="never"
func (m *Microservice) Ship(
	ctx context.Context,
	// the folder with the service's source, the root of a Go module
	// +ignore=[".git", ".paths"]
	source *dagger.Directory,
	// commit of the source, such as $(git rev-parse HEAD)
	// +optional
	revision string,
	// URL of the source's repository
	// +optional
	repository string,
	// time of the commit, such as $(git log -1 --format=%cI)
	// +optional
	created string,
	// the source differs from its revision
	// +optional
	dirty bool,
	// registry for the image, HOST[:PORT][/PREFIX]: the image's name becomes the repository
	// +optional
	registry string,
	// exact place for the image, HOST/REPO[:TAG]; without registry and to it goes into the result's store
	// +optional
	to string,
	// a way to a registry that only you can reach, such as tcp://127.0.0.1:5000
	// +optional
	tunnel *dagger.Service,
	// Docker's config.json with credentials for the registry, such as file://$HOME/.docker/config.json
	// +optional
	registryConfig *dagger.Secret,
	// the attester's private key, such as file://$HOME/.paths/keys/attester.key
	attesterKey *dagger.Secret,
	// the verifier's private key; another one than the attester's
	verifierKey *dagger.Secret,
	// passphrase of both keys, such as env://PASSPHRASE
	// +optional
	passphrase *dagger.Secret,
	// folder with trust.yaml, and what it names: public keys beside it or in keys/, and Sigstore's trusted roots (trusted_root*.json) beside it, such as ~/.paths; nothing else of it is read
	// +ignore=["**", "!trust.yaml", "!*.pub", "!keys/*.pub", "!trusted_root*.json"]
	trust *dagger.Directory,
	// folder with a vulnerability database in trivy-db's format; public mirrors are asked when empty
	// +optional
	vulnDB *dagger.Directory,
	// a policy's name; the path's own when empty
	// +optional
	policy string,
	// parameters of the policy as NAME=VALUE
	// +optional
	param []string,
	// CISA's list of known exploited vulnerabilities, by URL; not checked when empty
	// +optional
	kev string,
	// also write a cosign v2 signature tag
	// +optional
	legacySignature bool,
	// give the result even if the policy refuses the image, for example to export the report
	// +optional
	allowRefused bool,
) (*Verdict, error) {
	switch {
	case registry != "" && to != "":
		return nil, errors.New("registry and to both say where the image goes: leave one out")
	case registry != "":
		to = strings.TrimSuffix(registry, "/") + "/"
	}
	how := judging{policy, param, kev, allowRefused}
	j, err := once(ctx, m.Step.Ship(source, attesterKey, verifierKey, trust, dagger.StepShipOpts{
		Revision: revision, Repository: repository, Created: created, Dirty: dirty, Inputs: m.Inputs,
		Passphrase: passphrase, To: to, Tunnel: tunnel, RegistryConfig: registryConfig,
		VulnDb: vulnDB, LegacySignature: legacySignature, Policy: policy, Flags: how.flags(),
	}))
	if err != nil {
		return nil, err
	}
	v, err := how.verdict(ctx, j, registry == "" && to == "")
	if err != nil {
		return nil, err
	}
	fmt.Print(v.Summary())
	return v, nil
}

// Verify judges an image by its evidence, a trust root and a policy. It fails if
// the policy refuses the image.
//
// +cache="never"
func (m *Microservice) Verify(
	ctx context.Context,
	// the image, HOST/REPO:TAG or HOST/REPO@DIGEST
	// +optional
	reference string,
	// an OCI layout with the image and its evidence, in place of a reference
	// +optional
	store *dagger.Directory,
	// folder with trust.yaml, and what it names: public keys beside it or in keys/, and Sigstore's trusted roots (trusted_root*.json) beside it, such as ~/.paths; nothing else of it is read
	// +ignore=["**", "!trust.yaml", "!*.pub", "!keys/*.pub", "!trusted_root*.json"]
	trust *dagger.Directory,
	// a way to a registry that only you can reach, such as tcp://127.0.0.1:5000
	// +optional
	tunnel *dagger.Service,
	// Docker's config.json with credentials for the registry
	// +optional
	registryConfig *dagger.Secret,
	// a policy's name; the path's own when empty
	// +optional
	policy string,
	// parameters of the policy as NAME=VALUE
	// +optional
	param []string,
	// CISA's list of known exploited vulnerabilities, by URL; not checked when empty
	// +optional
	kev string,
	// give the result even if the policy refuses the image, for example to export the report
	// +optional
	allowRefused bool,
) (*Verdict, error) {
	how := judging{policy, param, kev, allowRefused}
	j, err := once(ctx, m.Step.Judge(trust, dagger.StepJudgeOpts{
		Reference: reference, Store: store, Tunnel: tunnel, RegistryConfig: registryConfig, Policy: policy, Flags: how.flags(),
	}))
	if err != nil {
		return nil, err
	}
	v, err := how.verdict(ctx, j, store != nil)
	if err != nil {
		return nil, err
	}
	fmt.Print(v.Summary())
	return v, nil
}

// The verdict for people: outcome, level with its reasons, findings.
func (v *Verdict) Summary() string {
	var b strings.Builder
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-10s %s\n", what, strings.ReplaceAll(text, "\n", "\n           "))
		}
	}
	line("image", v.Reference)
	line("digest", v.Digest)
	line("database", v.Database)
	line("verdict", v.Verdict)
	line("level", fmt.Sprintf("SLSA Build L%d, computed from observed facts", v.Level))
	for _, r := range v.Reasons {
		fmt.Fprintf(&b, "           %s\n", r)
	}
	for _, f := range v.Findings {
		severity, rest, _ := strings.Cut(f, " ")
		line(severity, rest)
	}
	return b.String()
}

// judging is how an image is judged.
type judging struct {
	policy       string
	params       []string
	kev          string
	allowRefused bool
}

// flags are those of pathctl verify.
func (how judging) flags() []string {
	var flags []string
	for _, p := range how.params {
		flags = append(flags, "--param="+p)
	}
	if how.kev != "" {
		flags = append(flags, "--kev="+how.kev)
	}
	return flags
}

// verdict is what a judgement says, or the error of a refusal. stored tells that
// the image is in the result's store, and in no registry.
func (how judging) verdict(ctx context.Context, j *dagger.StepJudgement, stored bool) (*Verdict, error) {
	v := &Verdict{Report: j.Report(), Evidence: j.Evidence(), Json: j.Verdict()}
	if stored {
		v.Store = j.Store()
	}
	// Each is a question to the engine: all at once.
	var passed bool
	var ask asking
	answer(ctx, &ask, &passed, j.Passed)
	answer(ctx, &ask, &v.Digest, j.Digest)
	answer(ctx, &ask, &v.Level, j.Level)
	answer(ctx, &ask, &v.Reasons, j.Reasons)
	answer(ctx, &ask, &v.Findings, j.Findings)
	answer(ctx, &ask, &v.Reference, j.Reference)
	answer(ctx, &ask, &v.Database, j.Database)
	if err := ask.wait(); err != nil {
		return nil, err
	}
	v.Verdict = "PASSED"
	if passed {
		return v, nil
	}
	v.Verdict = "FAILED"
	if how.allowRefused {
		return v, nil
	}
	kept := "at " + v.Reference + "; its evidence is kept there"
	fix := "verify --allow-refused … report export --path report.html gives the report"
	if stored {
		kept = "which is in no registry, and not kept"
		fix = "ship --allow-refused … store export --path DIR keeps it with its evidence"
	}
	return nil, fmt.Errorf("the policy refuses %s, %s\n%s\n  fix: see above; %s", v.Digest, kept, strings.Join(v.Findings, "\n"), fix)
}

// asking are questions to the engine that are on their way.
type asking struct {
	all  sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func answer[T any](ctx context.Context, a *asking, to *T, question func(context.Context) (T, error)) {
	a.all.Go(func() {
		var err error
		if *to, err = question(ctx); err != nil {
			a.mu.Lock()
			a.errs = append(a.errs, err)
			a.mu.Unlock()
		}
	})
}

func (a *asking) wait() error {
	a.all.Wait()
	return errors.Join(a.errs...)
}

// once runs a function that is never cached a single time, and gives its result:
// every use of the call itself would run it again.
func once[T dagger.Loadable[T]](ctx context.Context, call T) (T, error) {
	id, err := call.ID(ctx)
	if err != nil {
		return call, err
	}
	return dagger.Ref[T](dag, id), nil
}
