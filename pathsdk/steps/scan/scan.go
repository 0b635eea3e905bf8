// Package scan is the step that looks for known vulnerabilities in an image's
// SBOMs, and for secrets in the image and its source. It judges nothing: what is
// too severe, too old or waived is for the policy to say, every time.
package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

type input struct {
	Layout       step.Dir    `json:"layout" help:"the OCI layout that holds the image"`
	Image        step.Digest `json:"image" help:"digest of the image or index to scan"`
	Source       step.Dir    `json:"source" help:"the source that the image was built from"`
	SourceDigest step.Digest `json:"sourceDigest" help:"digest of the source"`
	SBOMs        step.Dir    `json:"sboms" help:"the folder with a CycloneDX document for each platform"`
	VEX          []string    `json:"vex,omitempty" help:"OpenVEX documents in the source, by relative path"`
	DB           step.Dir    `json:"db" key:"-" help:"the folder with the vulnerability database"`
	DBDigest     step.Digest `json:"dbDigest" help:"digest of the vulnerability database"`
	DBUpdated    string      `json:"dbUpdated" help:"when the vulnerability database was last updated, in RFC 3339"`
	DBSource     string      `json:"dbSource" help:"where the vulnerability database came from"`
}

type output struct {
	Digest   step.Digest `json:"digest" help:"digest of the image that was scanned"`
	Findings step.File   `json:"findings" help:"everything that was found, as JSON"`
	Critical int         `json:"critical" help:"critical vulnerabilities that no VEX statement rules out"`
	High     int         `json:"high" help:"vulnerabilities of high severity that no VEX statement rules out"`
	Medium   int         `json:"medium" help:"vulnerabilities of medium severity that no VEX statement rules out"`
	Low      int         `json:"low" help:"vulnerabilities of low severity that no VEX statement rules out"`
	Unknown  int         `json:"unknown" help:"vulnerabilities of unknown severity that no VEX statement rules out"`
	Secrets  int         `json:"secrets" help:"places in image and source that look like secrets"`
}

func (o output) Subject() step.Subject { return step.Subject{Name: "image", Digest: o.Digest} }

// New returns the step scan.
func New() step.Step { return define(defaults()) }

func define(l limits) step.Step {
	return step.Define(step.Meta{
		Name:     "scan",
		Version:  "1.0.0",
		Summary:  "Looks for known vulnerabilities in the image's SBOMs, and for secrets in the image and its source.",
		Proves:   "Which known vulnerabilities and which secrets the image had, by the scanner and the database that are named.",
		Zone:     step.ZoneAttest,
		Evidence: []string{evidence.Vulns.URI, evidence.SCAI.URI},
	}, func(ctx context.Context, env step.Env, in input) (output, []step.Evidence, error) {
		return run(ctx, env, l, in)
	})
}

func run(ctx context.Context, env step.Env, l limits, in input) (output, []step.Evidence, error) {
	if err := ctx.Err(); err != nil {
		return output{}, nil, err
	}
	started := env.Now()
	updated, err := step.Time("dbUpdated", in.DBUpdated)
	if err != nil {
		return output{}, nil, err
	}
	store, err := oci.OpenLayout(string(in.Layout))
	if err != nil {
		return output{}, nil, err
	}
	images, err := manifests(ctx, store, in.Image)
	if err != nil {
		return output{}, nil, err
	}
	vex, err := readVEX(string(in.Source), in.VEX)
	if err != nil {
		return output{}, nil, err
	}
	module := modulePath(string(in.Source))

	var vulns vulnerabilities
	var source, image secretResults
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		vulns, err = detect(gctx, string(in.DB), string(in.SBOMs), images)
		return err
	})
	g.Go(func() (err error) {
		source, err = scanSource(gctx, string(in.Source), l, env.Jobs)
		return err
	})
	g.Go(func() (err error) {
		image, err = scanImages(gctx, store, images, l, env.Jobs)
		return err
	})
	if err := g.Wait(); err != nil {
		return output{}, nil, err
	}
	if vulns.small > 0 {
		env.Log.Warn("the vulnerability database is a small one for tests and demos: this scan proves nothing about a release", "advisories", vulns.small)
	}

	r := Report{}
	for i, img := range images {
		p := Platform{
			Platform: img.Platform, Digest: img.Digest,
			Scanner: Scanner{Name: "trivy", Version: trivyVersion},
			DB:      DB{Source: in.DBSource, Digest: in.DBDigest, Updated: updated.Format(time.RFC3339), Small: vulns.small},
			OS:      vulns.images[i].os, Findings: vulns.images[i].findings, Notes: vulns.images[i].notes,
			Secrets:    sortSecrets(append(append([]Secret{}, image.of(img.Digest).secrets...), source.of("").secrets...)),
			SecretScan: SecretScan{Image: image.of(img.Digest).coverage, Source: source.of("").coverage},
		}
		for j := range p.Findings {
			p.Findings[j].VEX = vex.statement(p.Findings[j], product{
				index: in.Image, manifest: img.Digest, module: module, name: vulns.images[i].root,
			})
		}
		r.Platforms = append(r.Platforms, p)
	}
	ev, err := statements(r, in.SourceDigest, updated, started, env.Now())
	if err != nil {
		return output{}, nil, err
	}
	out, err := write(env, in.Image, r)
	return out, ev, err
}

// manifests lists the platforms of an image.
func manifests(ctx context.Context, s oci.Store, d step.Digest) ([]oci.Image, error) {
	all, err := oci.Images(ctx, s, d)
	if err != nil {
		return nil, err
	}
	images := slices.DeleteFunc(all, func(i oci.Image) bool { return i.Descriptor.MediaType.IsIndex() })
	if len(images) == 0 {
		return nil, fmt.Errorf("image %s is an index without images: build it for at least one platform", d)
	}
	for _, i := range images {
		if i.Platform == "" {
			return nil, fmt.Errorf("manifest %s does not say for which platform it is: it is no image that the step sbom described", i.Digest)
		}
	}
	return images, nil
}

func write(env step.Env, image step.Digest, r Report) (output, error) {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return output{}, fmt.Errorf("encode findings: %w", err)
	}
	o := output{Digest: image, Findings: step.File(filepath.Join(env.Out, "findings.json"))}
	if err := os.WriteFile(string(o.Findings), append(b, '\n'), 0o644); err != nil {
		return output{}, fmt.Errorf("write findings: %w", err)
	}
	// What several platforms share counts once.
	vulns := map[string]bool{}
	secrets := map[Secret]bool{}
	counts := map[string]*int{"critical": &o.Critical, "high": &o.High, "medium": &o.Medium, "low": &o.Low, "unknown": &o.Unknown}
	for _, p := range r.Platforms {
		for _, f := range p.Findings {
			key := strings.Join([]string{f.ID, f.Package, f.Version}, "\x00")
			if f.Open() && !vulns[key] {
				vulns[key] = true
				*counts[f.Severity]++
			}
		}
		for _, s := range p.Secrets {
			secrets[s] = true
		}
	}
	o.Secrets = len(secrets)
	return o, nil
}

// errBounded is what reading past a limit gives.
var errBounded = errors.New("larger than the limit")
