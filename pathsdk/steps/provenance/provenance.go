// Package provenance is the step that observes how an image was built in the
// runner's own record of the run, and says so as SLSA Provenance v1.
package provenance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// In are the inputs.
type In struct {
	Image        step.Digest `json:"image" help:"digest of the image or index that was received"`
	Name         string      `json:"name" help:"name of the image"`
	Layout       step.Dir    `json:"layout" help:"OCI layout that holds it"`
	Modules      step.File   `json:"modules" help:"the modules of the build list with their sums, as they were received"`
	SourceDigest step.Digest `json:"sourceDigest" help:"digest of the source that was received"`
	DBDigest     step.Digest `json:"dbDigest,omitempty" help:"digest of the vulnerability database"`
	DBSource     string      `json:"dbSource,omitempty" help:"the reference that served the vulnerability database"`
	Run          step.File   `json:"run" help:"the runner's own record of the producer's nodes"`
}

// Out is the output.
type Out struct {
	Digest step.Digest `json:"digest" help:"digest of the image that provenance was observed for"`

	name string
}

// Subject is the image.
func (o Out) Subject() step.Subject { return step.Subject{Name: o.name, Digest: o.Digest} }

// New returns the step.
func New() step.Step {
	return step.Define(step.Meta{
		Name:     "provenance",
		Version:  "0.1.0",
		Summary:  "Observes how the image was built in the runner's record of the run.",
		Proves:   "From which source, modules, base image and toolchain, by which builder and with which inputs the image was built, and what the runner established about the build's isolation.",
		Zone:     step.ZoneAttest,
		Evidence: []string{evidence.Provenance.URI},
	}, run)
}

func run(ctx context.Context, _ step.Env, in In) (Out, []step.Evidence, error) {
	if err := ctx.Err(); err != nil {
		return Out{}, nil, err
	}
	text, err := read(in.Run, provenance.MaxRecord)
	if err != nil {
		return Out{}, nil, fmt.Errorf("run record: %w", err)
	}
	record, err := provenance.ParseRecord(text)
	if err != nil {
		return Out{}, nil, err
	}
	list, err := read(in.Modules, gomod.MaxFile)
	if err != nil {
		return Out{}, nil, fmt.Errorf("modules: %w", err)
	}
	modules, err := gomod.Read(bytes.NewReader(list))
	if err != nil {
		return Out{}, nil, fmt.Errorf("modules: %w", err)
	}
	sum := sha256.Sum256(list)
	p, err := provenance.Predicate(provenance.Build{
		Record: record, Image: in.Image, Source: in.SourceDigest,
		Modules: modules, ModulesDigest: step.Digest("sha256:" + hex.EncodeToString(sum[:])),
		DBDigest: in.DBDigest, DBSource: in.DBSource,
	})
	if err != nil {
		return Out{}, nil, err
	}
	raw, err := p.Encode()
	if err != nil {
		return Out{}, nil, err
	}
	layout, err := oci.OpenLayout(string(in.Layout))
	if err != nil {
		return Out{}, nil, err
	}
	images, err := oci.Images(ctx, layout, in.Image)
	if err != nil {
		return Out{}, nil, err
	}
	// The index and every manifest below it came out of the same build: who pulls
	// one platform by digest finds its provenance, too.
	var ev []step.Evidence
	for _, im := range images {
		ev = append(ev, step.Evidence{
			Type:      evidence.Provenance.URI,
			Predicate: raw,
			Subject:   &step.Subject{Name: in.Name, Digest: im.Digest},
		})
	}
	return Out{Digest: in.Image, name: in.Name}, ev, nil
}

func read(f step.File, limit int64) ([]byte, error) {
	r, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return b, nil
}
