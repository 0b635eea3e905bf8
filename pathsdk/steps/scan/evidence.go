package scan

import (
	"strconv"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// scannerURI identifies the scanner.
const scannerURI = "pkg:golang/github.com/aquasecurity/trivy@v" + trivyVersion

// SecretsScanned is the attribute of the SCAI evidence: the secret scan ran. Its
// conditions say what it looked at and what it found, without the secrets.
const SecretsScanned = "SECRETS_SCANNED"

// statements makes the evidence about each platform's manifest.
func statements(r Report, source step.Digest, updated, started, finished time.Time) ([]step.Evidence, error) {
	var all []step.Evidence
	for _, p := range r.Platforms {
		vulns, err := vulnsPredicate(p, updated, started, finished).Encode()
		if err != nil {
			return nil, err
		}
		secrets, err := secretsPredicate(p, source).Encode()
		if err != nil {
			return nil, err
		}
		subject := step.Subject{Name: p.Platform, Digest: p.Digest}
		all = append(all,
			step.Evidence{Type: evidence.Vulns.URI, Predicate: vulns, Subject: &subject},
			step.Evidence{Type: evidence.SCAI.URI, Predicate: secrets, Subject: &subject})
	}
	return all, nil
}

func vulnsPredicate(p Platform, updated, started, finished time.Time) evidence.VulnsV02 {
	v := evidence.VulnsV02{
		Scanner: evidence.VulnScanner{
			URI: scannerURI, Version: p.Scanner.Version,
			DB:     evidence.VulnDB{URI: dbURI(p.DB), Version: string(p.DB.Digest), LastUpdate: updated},
			Result: []evidence.VulnResult{},
		},
		Metadata: evidence.VulnMetadata{ScanStartedOn: started, ScanFinishedOn: finished},
	}
	for _, f := range p.Findings {
		source := f.SeveritySource
		if source == "" {
			source = "trivy"
		}
		severity := []evidence.VulnSeverity{{Method: source, Score: f.Severity}}
		if f.CVSS > 0 {
			severity = append(severity, evidence.VulnSeverity{Method: "cvss_score", Score: strconv.FormatFloat(f.CVSS, 'f', 1, 64)})
		}
		v.Scanner.Result = append(v.Scanner.Result, evidence.VulnResult{
			ID: f.ID, Severity: severity, Annotations: []map[string]any{annotations(f)},
		})
	}
	return v
}

// dbURI is the database's source as a URI. Its fragment tells a small database
// from a real one, for whoever has only the predicate.
func dbURI(db DB) string {
	uri := db.Source
	if !strings.HasPrefix(uri, "file:") && !strings.HasPrefix(uri, "oci:") && !strings.Contains(uri, "://") {
		uri = "oci://" + uri
	}
	if db.Small > 0 {
		uri += "#small"
	}
	return uri
}

// annotations repeat a finding in one map, under the names of Finding's JSON.
func annotations(f Finding) map[string]any {
	a := map[string]any{"severity": f.Severity, "package": f.Package, "version": f.Version}
	for key, value := range map[string]string{
		"purl": f.PURL, "fixedVersion": f.FixedVersion, "title": f.Title, "url": f.URL, "cvssVector": f.CVSSVector,
	} {
		if value != "" {
			a[key] = value
		}
	}
	if len(f.Aliases) > 0 {
		a["aliases"] = f.Aliases
	}
	if f.VEX != nil {
		a["vex"] = *f.VEX
	}
	return a
}

func secretsPredicate(p Platform, source step.Digest) evidence.SCAIV03 {
	return evidence.SCAIV03{
		Attributes: []evidence.Attribute{{
			Attribute: SecretsScanned,
			Conditions: map[string]any{
				"rules":        "built-in",
				"findings":     len(p.Secrets),
				"secrets":      p.Secrets,
				"image":        p.SecretScan.Image,
				"source":       p.SecretScan.Source,
				"sourceDigest": string(source),
			},
		}},
		Producer: &evidence.ResourceDescriptor{Name: p.Scanner.Name, URI: scannerURI},
	}
}
