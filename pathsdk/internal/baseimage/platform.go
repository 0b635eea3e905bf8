// Package baseimage makes and reads the base of an image: the folder that fetch
// fills and build reads, an OCI layout with one image or index, of which only
// the platforms that were asked for are complete.
package baseimage

import (
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// MaxPlatforms bounds the platforms of one image.
const MaxPlatforms = 16

// Platforms parses the platforms that a consumer asks for, such as linux/amd64
// or linux/arm/v7, and returns them sorted. Errors are step.ErrUsage.
func Platforms(texts []string) ([]v1.Platform, error) {
	if len(texts) == 0 || len(texts) > MaxPlatforms {
		return nil, step.Usagef("input %q: want 1 to %d platforms, got %d", "platforms", MaxPlatforms, len(texts))
	}
	var ps []v1.Platform
	for _, t := range texts {
		p, err := v1.ParsePlatform(t)
		if err != nil || p.Architecture == "" || p.OSVersion != "" || len(p.OSFeatures) > 0 {
			return nil, step.Usagef("input %q: %q is no platform such as linux/amd64 or linux/arm/v7", "platforms", t)
		}
		if p.OS != "linux" {
			return nil, step.Usagef("input %q: %q is not supported: images are made for linux", "platforms", t)
		}
		ps = append(ps, *p)
	}
	slices.SortFunc(ps, func(a, b v1.Platform) int { return strings.Compare(a.String(), b.String()) })
	for i := 1; i < len(ps); i++ {
		if ps[i].String() == ps[i-1].String() {
			return nil, step.Usagef("input %q: %s is given twice", "platforms", ps[i])
		}
	}
	return ps, nil
}

// Select picks from the manifests of an index the one for each platform, in
// the order of the platforms. A platform without variant takes the index's only
// manifest for that architecture.
func Select(manifests []v1.Descriptor, platforms []v1.Platform) ([]v1.Descriptor, error) {
	var picked []v1.Descriptor
	var missing []string
	for _, p := range platforms {
		var exact, loose []v1.Descriptor
		for _, m := range manifests {
			if m.Platform == nil || m.Platform.OS != p.OS || m.Platform.Architecture != p.Architecture || !m.MediaType.IsImage() {
				continue
			}
			if m.Platform.Variant == p.Variant {
				exact = append(exact, m)
			} else if p.Variant == "" {
				loose = append(loose, m)
			}
		}
		found := exact
		if len(found) == 0 {
			found = loose
		}
		switch len(found) {
		case 0:
			missing = append(missing, p.String())
		case 1:
			picked = append(picked, found[0])
		default:
			return nil, step.Usagef("input %q: the base image has %d images for %s: name the variant, one of %s",
				"platforms", len(found), p, strings.Join(names(found), ", "))
		}
	}
	if len(missing) > 0 {
		return nil, step.Usagef("input %q: the base image has nothing for %s, only for %s: choose other platforms or another base",
			"base", strings.Join(missing, ", "), strings.Join(names(manifests), ", "))
	}
	return picked, nil
}

// Fits checks that a base image without an index is for the one platform that
// was asked for.
func Fits(config *v1.ConfigFile, platforms []v1.Platform) error {
	has := v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	var missing []string
	for _, p := range platforms {
		if has.OS != p.OS || has.Architecture != p.Architecture || p.Variant != "" && has.Variant != p.Variant {
			missing = append(missing, p.String())
		}
	}
	if len(missing) > 0 {
		return step.Usagef("input %q: the base image is for %s alone, not for %s: choose other platforms, or a base that is an index",
			"base", has, strings.Join(missing, ", "))
	}
	return nil
}

func names(manifests []v1.Descriptor) []string {
	var s []string
	for _, m := range manifests {
		if m.Platform != nil && m.Platform.OS != "unknown" {
			s = append(s, m.Platform.String())
		}
	}
	slices.Sort(s)
	if len(s) == 0 {
		return []string{"no platform at all"}
	}
	return s
}
