package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// likeness is how the results of both sides compare.
type likeness struct {
	PackagesOurs  int      `json:"packagesOurs"`
	PackagesPeers int      `json:"packagesPeers"`
	Vulns         []string `json:"vulnerabilities"`
}

// spdx is what is needed of an SPDX document.
type spdx struct {
	Packages []struct {
		ExternalRefs []struct {
			ReferenceType    string `json:"referenceType"`
			ReferenceLocator string `json:"referenceLocator"`
		} `json:"externalRefs"`
	} `json:"packages"`
}

// modules lists the Go modules of a document as module@version.
func (d spdx) modules() map[string]bool {
	found := map[string]bool{}
	for _, p := range d.Packages {
		for _, r := range p.ExternalRefs {
			if m, ok := strings.CutPrefix(r.ReferenceLocator, "pkg:golang/"); ok && r.ReferenceType == "purl" {
				m, _, _ = strings.Cut(m, "?")
				m, _, _ = strings.Cut(m, "#")
				found[strings.ToLower(m)] = true
			}
		}
	}
	return found
}

// alike checks that both sides found the same in the image that each made last:
// a comparison with a tool that did less is void. Ours looks at the inputs of
// the build as well, so it may name more packages than syft does in the image
// alone; it may not name fewer, and the vulnerabilities must be the same.
func alike(ctx context.Context, o *ours, p *peers, a shipRun) (likeness, error) {
	var mine, theirs spdx
	if err := o.predicate(ctx, a.reference, "spdx", &mine); err != nil {
		return likeness{}, err
	}
	if err := readJSON(filepath.Join(p.work, "sbom.spdx.json"), &theirs); err != nil {
		return likeness{}, err
	}
	mods, others := mine.modules(), theirs.modules()
	l := likeness{PackagesOurs: len(mods), PackagesPeers: len(others), Vulns: []string{}}
	var missing []string
	for m := range others {
		// The program itself has no version that the two sides agree on.
		if !mods[m] && !strings.HasPrefix(m, "example.com/") {
			missing = append(missing, m)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 || len(others) == 0 {
		return l, fmt.Errorf("the SBOMs differ, so there is nothing to compare: syft found %d modules, ours lacks %v", len(others), missing)
	}
	var vulns struct {
		Scanner struct {
			Result []struct{ ID string }
		}
	}
	if err := o.predicate(ctx, a.reference, "vulns", &vulns); err != nil {
		return l, err
	}
	var scanned struct {
		Scanner struct {
			Result struct {
				Results []struct {
					Vulnerabilities []struct{ VulnerabilityID string }
				}
			}
		}
	}
	if err := readJSON(filepath.Join(p.work, "vuln.json"), &scanned); err != nil {
		return l, err
	}
	for _, v := range vulns.Scanner.Result {
		l.Vulns = append(l.Vulns, v.ID)
	}
	found := []string{}
	for _, r := range scanned.Scanner.Result.Results {
		for _, v := range r.Vulnerabilities {
			found = append(found, v.VulnerabilityID)
		}
	}
	slices.Sort(l.Vulns)
	slices.Sort(found)
	l.Vulns, found = slices.Compact(l.Vulns), slices.Compact(found)
	if !slices.Equal(l.Vulns, found) {
		return l, fmt.Errorf("the scans differ, so there is nothing to compare: ours found %v, trivy %v", l.Vulns, found)
	}
	return l, nil
}

func readJSON(file string, into any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
