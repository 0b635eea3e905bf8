package main

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// koLayers are what ko adds to a base: its data folder and the program.
const koLayers = 2

// pushBase takes the base layers of an image that ours made and pushes them as
// an image of their own, so that the peers' ko builds on the same bytes.
func pushBase(ctx context.Context, base, image string) error {
	from, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	to, err := name.ParseReference(base)
	if err != nil {
		return err
	}
	img, err := remote.Image(from, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	if len(layers) <= koLayers {
		return fmt.Errorf("base image: %s has %d layers, want more than %d", image, len(layers), koLayers)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	out, err := mutate.AppendLayers(empty.Image, layers[:len(layers)-koLayers]...)
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	made, err := out.ConfigFile()
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	made.OS, made.Architecture, made.Config.User = cfg.OS, cfg.Architecture, cfg.Config.User
	if out, err = mutate.ConfigFile(out, made); err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	if err := remote.Write(to, out, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push base image: %w", err)
	}
	return nil
}
