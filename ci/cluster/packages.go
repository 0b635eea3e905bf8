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
		cmd := exec.CommandContext(ctx, "apt-get", args...)
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
	return nil
}
