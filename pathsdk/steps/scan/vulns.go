package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aquasecurity/trivy-db/pkg/db"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	detector "github.com/aquasecurity/trivy/pkg/detector/ospkg"
	"github.com/aquasecurity/trivy/pkg/sbom"
	"github.com/aquasecurity/trivy/pkg/scan/langpkg"
	"github.com/aquasecurity/trivy/pkg/scan/ospkg"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/aquasecurity/trivy/pkg/vulnerability"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/oci"
)

// trivyVersion is the version of the scanner that is compiled in; a test
// compares it with go.mod.
const trivyVersion = "0.70.0"

// maxSBOM bounds one SBOM in bytes.
const maxSBOM = 64 << 20

// vulnerabilities is what was found in all images.
type vulnerabilities struct {
	images []imageVulns // as the images given
	small  int
}

type imageVulns struct {
	findings []Finding
	os       *OS
	root     string // name of the SBOM's root component
	notes    []string
}

// detect matches the SBOM of every image against the database.
func detect(ctx context.Context, dir, sboms string, images []oci.Image) (vulnerabilities, error) {
	var v vulnerabilities
	err := trivydb.Use(dir, func(info trivydb.Info) error {
		v.small = info.Small
		for _, img := range images {
			name := strings.ReplaceAll(img.Platform, "/", "-") + ".cdx.json"
			found, err := detectOne(ctx, filepath.Join(sboms, name))
			if err != nil {
				return fmt.Errorf("scan %s: %w", name, err)
			}
			v.images = append(v.images, found)
		}
		return nil
	})
	return v, err
}

func detectOne(ctx context.Context, path string) (imageVulns, error) {
	bom, err := decode(ctx, path)
	if err != nil {
		return imageVulns{}, err
	}
	target := types.ScanTarget{Name: "image", Applications: bom.Applications}
	if bom.Metadata.OS != nil {
		target.OS = *bom.Metadata.OS
	}
	for _, p := range bom.Packages {
		target.Packages = append(target.Packages, p.Packages...)
	}
	opts := types.ScanOptions{
		Scanners: types.Scanners{types.VulnerabilityScanner},
		PkgTypes: []string{types.PkgTypeOS, types.PkgTypeLibrary},
	}
	v := imageVulns{findings: []Finding{}}
	if bom.BOM != nil && bom.BOM.Root() != nil {
		v.root = bom.BOM.Root().Name
	}
	var found []types.DetectedVulnerability
	result, eol, err := ospkg.NewScanner().Scan(ctx, target, opts)
	switch {
	case errors.Is(err, detector.ErrUnsupportedOS):
		v.notes = append(v.notes, fmt.Sprintf("the scanner does not know the distribution %s: its %d packages were not checked", target.OS.Family, len(target.Packages)))
	case err != nil:
		return imageVulns{}, err
	case !target.OS.Detected() && len(target.Packages) > 0:
		v.notes = append(v.notes, fmt.Sprintf("the SBOM names no distribution: %d packages of one were not checked", len(target.Packages)))
	}
	if target.OS.Detected() {
		v.os = &OS{Family: string(target.OS.Family), Name: target.OS.Name, EndOfLife: eol}
	}
	found = append(found, result.Vulnerabilities...)
	results, err := langpkg.NewScanner().Scan(ctx, target, opts)
	if err != nil {
		return imageVulns{}, err
	}
	for _, r := range results {
		found = append(found, r.Vulnerabilities...)
	}
	vulnerability.NewClient(db.Config{}).FillInfo(found, []dbtypes.SourceID{"auto"})
	v.findings = findings(found)
	return v, nil
}

func decode(ctx context.Context, path string) (types.SBOM, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return types.SBOM{}, fmt.Errorf("there is no SBOM for this platform: the step sbom makes one")
	}
	if err != nil {
		return types.SBOM{}, err
	}
	defer f.Close()
	return decodeFrom(ctx, f)
}

func decodeFrom(ctx context.Context, r io.Reader) (bom types.SBOM, err error) {
	// trivy's decoder trusts the shape of what it reads.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("not a CycloneDX document: %v", p)
		}
	}()
	raw, err := io.ReadAll(io.LimitReader(r, maxSBOM+1))
	if err != nil {
		return types.SBOM{}, err
	}
	if len(raw) > maxSBOM {
		return types.SBOM{}, fmt.Errorf("%w of %d bytes", errBounded, maxSBOM)
	}
	if raw, err = inImage(raw); err != nil {
		return types.SBOM{}, fmt.Errorf("not a CycloneDX document: %w", err)
	}
	bom, err = sbom.Decode(ctx, bytes.NewReader(raw), sbom.FormatCycloneDXJSON)
	if err != nil {
		return types.SBOM{}, fmt.Errorf("not a CycloneDX document: %w", err)
	}
	return bom, nil
}

// inImage drops the components of scope "excluded": the build had them among its
// inputs, the image does not contain them. trivy does not look at the scope.
func inImage(raw []byte) ([]byte, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	var components []json.RawMessage
	if list, ok := doc["components"]; ok {
		if err := json.Unmarshal(list, &components); err != nil {
			return nil, err
		}
	}
	kept := []json.RawMessage{}
	for _, c := range components {
		var scoped struct {
			Scope string `json:"scope"`
		}
		if err := json.Unmarshal(c, &scoped); err != nil {
			return nil, err
		}
		if scoped.Scope != "excluded" {
			kept = append(kept, c)
		}
	}
	if len(kept) == len(components) {
		return raw, nil
	}
	var err error
	if doc["components"], err = json.Marshal(kept); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}

// findings turns trivy's into ours: one for each vulnerability in each version
// of a package, however many places of the image have it.
func findings(found []types.DetectedVulnerability) []Finding {
	all := make([]Finding, 0, len(found))
	for _, d := range found {
		f := Finding{
			ID: d.VulnerabilityID, Package: d.PkgName, Version: d.InstalledVersion, FixedVersion: d.FixedVersion,
			Severity: strings.ToLower(d.Severity), SeveritySource: string(d.SeveritySource),
			Title: d.Title, URL: d.PrimaryURL,
		}
		if rank(f.Severity) == len(severities) {
			f.Severity = "unknown"
		}
		if d.PkgIdentifier.PURL != nil {
			f.PURL = d.PkgIdentifier.PURL.String()
		}
		for _, id := range d.VendorIDs {
			if id != f.ID && !slices.Contains(f.Aliases, id) {
				f.Aliases = append(f.Aliases, id)
			}
		}
		slices.Sort(f.Aliases)
		f.CVSS, f.CVSSVector = score(d)
		all = append(all, f)
	}
	slices.SortFunc(all, compareFindings)
	return slices.CompactFunc(all, func(a, b Finding) bool {
		return a.ID == b.ID && a.Package == b.Package && a.Version == b.Version
	})
}

// score takes the CVSS score of whoever rated the severity, or else the highest.
func score(d types.DetectedVulnerability) (float64, string) {
	if c, ok := d.CVSS[d.SeveritySource]; ok {
		if s, v := latest(c); s > 0 {
			return s, v
		}
	}
	var best float64
	var vector string
	for _, source := range slices.Sorted(maps.Keys(d.CVSS)) {
		if s, v := latest(d.CVSS[source]); s > best {
			best, vector = s, v
		}
	}
	return best, vector
}

func latest(c dbtypes.CVSS) (float64, string) {
	if c.V40Score > 0 {
		return c.V40Score, c.V40Vector
	}
	return c.V3Score, c.V3Vector
}
