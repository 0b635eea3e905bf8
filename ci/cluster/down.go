package main

import (
	"errors"
	"os"
)

// down stops what was started, and leaves nothing of it but programs and keys. It may
// be called at any time.
func down(c *config) error {
	// The link first: it has the node's network open, which goes with the last who has.
	if err := errors.Join(kill(c, verbLink), kill(c, verbNode)); err != nil {
		return err
	}
	if err := removeCgroups(c); err != nil {
		return err
	}
	return os.RemoveAll(c.run())
}

func purge(c *config) error {
	if err := down(c); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	return os.Remove(c.dir + ".lock")
}
