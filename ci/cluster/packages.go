package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// What no Go module builds, or builds only with a C compiler.
var debianPackages = []string{"containerd", "runc", "containernetworking-plugins", "busybox-static", "tini"}

// unpack takes Debian packages apart in a folder, rather than to install them: that
// would start services, which nobody asked for.
func unpack(ctx context.Context, dir string) error {
	archives := dir + ".archives"
	if err := os.MkdirAll(archives, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(archives)
	apt := func(args ...string) ([]byte, error) {
		// One at a time, as scripts/e2e.sh: apt-get does not wait for another one's locks.
		cmd := exec.CommandContext(ctx, "flock", append([]string{"-o", "-w", "600", "/etc/debian_version", "apt-get"}, args...)...)
		cmd.Dir = archives
		return cmd.CombinedOutput()
	}
	download := append([]string{"download", "-qq"}, debianPackages...)
	out, err := apt(download...)
	if err != nil { // the lists may be older than the archive, or missing
		if out, err = apt("update", "-qq"); err == nil {
			out, err = apt(download...)
		}
	}
	if err != nil {
		return fmt.Errorf("get %v from Debian: %w\n%s\n  fix: see whether apt-get update works", debianPackages, err, tail(string(out), 10))
	}
	found, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return err
	}
	if len(found) != len(debianPackages) {
		return fmt.Errorf("get %v from Debian: there are %d archives", debianPackages, len(found))
	}
	for _, archive := range found {
		if _, err := output("dpkg-deb", "-x", archive, dir); err != nil {
			return err
		}
	}
	return linkPrograms(dir, filepath.Join(filepath.Dir(dir), "bin"))
}

// linkPrograms puts the packages' programs beside our own: releases of Debian differ in
// the folders that they are in.
func linkPrograms(dir, bin string) error {
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox", "tini-static"} {
		var at string
		for _, folder := range []string{"usr/bin", "usr/sbin", "bin", "sbin"} {
			if _, err := os.Stat(filepath.Join(dir, folder, name)); err == nil {
				at = folder
				break
			}
		}
		if at == "" {
			return fmt.Errorf("no package of %v has %s: has it moved?", debianPackages, name)
		}
		if err := os.Symlink(filepath.Join("..", filepath.Base(dir), at, name), filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return nil
}
