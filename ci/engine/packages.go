package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// needed are the programs and files that the engine is built and run with, by the
// Debian package that has each.
var needed = map[string]string{
	"git": "git", "ip": "iproute2", "iptables-nft": "iptables", "dnsmasq": "dnsmasq-base", "busybox": "busybox-static",
	"tini": "tini", "gcc": "gcc", "pkg-config": "pkg-config",
	"/etc/ssl/certs/ca-certificates.crt": "ca-certificates", "/usr/include/seccomp.h": "libseccomp-dev",
}

// missing lists the packages whose program or file is not there.
func missing(there func(string) bool) []string {
	var list []string
	for what, pkg := range needed {
		if !there(what) {
			list = append(list, pkg)
		}
	}
	slices.Sort(list)
	return list
}

func there(what string) bool {
	if strings.HasPrefix(what, "/") {
		_, err := os.Stat(what)
		return err == nil
	}
	_, err := exec.LookPath(what)
	return err == nil
}

// install brings what is missing, where that can be done.
func install(ctx context.Context) error {
	list := missing(there)
	if len(list) == 0 {
		return nil
	}
	command := "apt-get update && apt-get install -y --no-install-recommends " + strings.Join(list, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("these Debian packages are missing, and there is no apt-get: install what they have: %s", strings.Join(list, " "))
	}
	say("installing %s", strings.Join(list, " "))
	// One at a time, as scripts/e2e.sh: apt-get does not wait for another one's locks.
	cmd := exec.CommandContext(ctx, "flock", "-o", "-w", "600", "/etc/debian_version", "sh", "-c", command)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install packages: %w\n%s\n  fix: run %s", err, tail(string(out), 20), command)
	}
	if list := missing(there); len(list) > 0 {
		return fmt.Errorf("%s: installed, but what they should have is not there", strings.Join(list, " "))
	}
	return nil
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
