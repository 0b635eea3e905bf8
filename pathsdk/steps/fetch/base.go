package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// fetchBase puts the base image into a layout in dir and returns its digest.
func fetchBase(ctx context.Context, env step.Env, base string, platforms []v1.Platform, dir string) (step.Digest, error) {
	out, err := oci.CreateLayout(dir)
	if err != nil {
		return "", err
	}
	if base == "scratch" {
		img, err := baseimage.Scratch(platforms)
		if err != nil {
			return "", fmt.Errorf("make the scratch base: %w", err)
		}
		desc, err := baseimage.Put(ctx, out, img)
		if err != nil {
			return "", fmt.Errorf("make the scratch base: %w", err)
		}
		return oci.Digest(desc), baseimage.WriteName(dir, base)
	}
	loc, err := oci.ParseLocator(base)
	if err != nil {
		return "", step.Usagef("input %q: %w", "base", err)
	}
	var opts []oci.Option
	if env.HTTP != nil && env.HTTP.Transport != nil {
		opts = append(opts, oci.WithTransport(env.HTTP.Transport))
	}
	if loc.Digest == "" {
		return "", unpinned(ctx, loc, opts)
	}
	if err := pull(ctx, env, loc, platforms, out, opts); err != nil {
		if errors.Is(err, step.ErrUsage) {
			return "", err
		}
		return "", fmt.Errorf("base image %s: %w", loc, err)
	}
	// People know a layout by its folder, which must not reach the image.
	name := loc.String()
	if loc.IsLayout() {
		name = "oci@" + string(loc.Digest)
	}
	return loc.Digest, baseimage.WriteName(dir, name)
}

// pull copies the base from the zone's cache, which it fills first if
// necessary. Every byte is checked against its digest on the way.
func pull(ctx context.Context, env step.Env, loc oci.Locator, platforms []v1.Platform, out oci.Writer, opts []oci.Option) error {
	dir := filepath.Join(env.Cache, "base")
	cache, err := oci.CreateLayout(dir)
	if err == nil {
		err = baseimage.Copy(ctx, out, cache, loc.Digest, platforms)
	}
	if err == nil || !errors.Is(err, oci.ErrNotFound) && !errors.Is(err, oci.ErrContent) {
		return err
	}
	if errors.Is(err, oci.ErrContent) {
		// A damaged cache is of no use to anybody.
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if cache, err = oci.CreateLayout(dir); err != nil {
		return err
	}
	src, err := oci.Open(ctx, loc, opts...)
	if err != nil {
		return err
	}
	if err := baseimage.Copy(ctx, cache, src, loc.Digest, platforms); err != nil {
		return err
	}
	return baseimage.Copy(ctx, out, cache, loc.Digest, platforms)
}

// unpinned is the error for a base without digest. It names the digest to pin,
// where that can be found out.
func unpinned(ctx context.Context, loc oci.Locator, opts []oci.Option) error {
	d, err := oci.Resolve(ctx, loc, opts...)
	if err != nil {
		return step.Usagef("input %q: %s names no digest, so it could be another image tomorrow: write %s@sha256:... (what it is now could not be found out: %v)", "base", loc, loc, err)
	}
	return step.Usagef("input %q: %s names no digest, so it could be another image tomorrow: write %s@%s, which is what it is now", "base", loc, loc, d)
}
