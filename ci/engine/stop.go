package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// down stops what was started, and takes away what it left outside of the folder:
// the bridge, its addresses, rules of the packet filter, and forwarding if that
// was off before and no other bridge came since. It may be called at any time.
func down(c config) error {
	if _, err := os.Stat(c.path("run")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range []string{"engine", "registry"} {
		stop(c, name)
	}
	if out, err := exec.Command("ip", "link", "delete", c.bridge()).CombinedOutput(); err != nil && !strings.Contains(string(out), "Cannot find device") {
		return fmt.Errorf("remove the bridge %s: %s", c.bridge(), strings.TrimSpace(string(out)))
	}
	if err := os.RemoveAll("/var/lib/cni/networks/" + c.Network); err != nil {
		return err
	}
	results, _ := filepath.Glob("/var/lib/cni/results/" + c.Network + "-*")
	for _, r := range results {
		if err := os.Remove(r); err != nil {
			return err
		}
		// An engine that was killed leaves the loopback device's, too, which is known by
		// the container alone.
		id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(r), c.Network+"-"), "-eth1")
		_ = os.Remove("/var/lib/cni/results/cni-loopback-" + id + "-lo") // if it is there
	}
	for _, empty := range []string{"/var/lib/cni/results", "/var/lib/cni/networks", "/var/lib/cni"} {
		_ = os.Remove(empty) // if it is
	}
	for _, flavour := range []string{"iptables-nft", "iptables-legacy"} {
		if err := withoutRules(c, flavour); err != nil {
			return err
		}
	}
	if before, err := os.ReadFile(c.path("run", "cgroups")); err == nil {
		for _, dir := range cgroups() {
			if !slices.Contains(strings.Split(string(before), "\n"), dir) {
				_ = os.Remove(dir) // if nobody is in it
			}
		}
	}
	if before, err := os.ReadFile(c.path("run", "ip_forward")); err == nil {
		if others := bridges("/sys/class/net"); strings.TrimSpace(string(before)) == "0" && len(others) > 0 {
			say("left forwarding of IPv4 on, which was off before: %s may need it by now; sysctl net.ipv4.ip_forward=0 turns it off", strings.Join(others, ", "))
		} else if err := os.WriteFile(forwardFile, before, 0o644); err != nil {
			return err
		}
	}
	return os.RemoveAll(c.path("run"))
}

// bridges are the network's bridges in a folder as /sys/class/net is: each may be
// another engine's, whose containers go out by it.
func bridges(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "*", "bridge"))
	for i, f := range found {
		found[i] = filepath.Base(filepath.Dir(f))
	}
	return found
}

// stop ends a process gently, then for good.
func stop(c config, name string) {
	n := pid(c, name)
	if n == 0 {
		return
	}
	_ = syscall.Kill(n, syscall.SIGTERM)
	for range 300 {
		if !alive(c, name) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = syscall.Kill(n, syscall.SIGKILL)
	for range 50 {
		if !alive(c, name) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func withoutRules(c config, flavour string) error {
	save, err := exec.Command(flavour + "-save").Output()
	if err != nil {
		return nil // this kernel or machine does not have it
	}
	undo := undoRules(string(save), c.Network, c.CIDR)
	if undo == "" {
		return nil
	}
	cmd := exec.Command(flavour+"-restore", "--noflush")
	cmd.Stdin = strings.NewReader(undo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("remove rules with %s-restore: %w: %s", flavour, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// undoRules is what iptables-restore takes to remove the rules of one container
// network from what iptables-save printed: for each container a chain of nat and
// two rules of filter, and the plugins' own chains when no other network uses
// them. It is empty if there are none.
func undoRules(save, network, cidr string) string {
	var out strings.Builder
	prefix := strings.TrimSuffix(cidr, ".0.0/16") + "."
	ours := regexp.MustCompile(`name: \\"` + regexp.QuoteMeta(network) + `\\" id:`)
	chain := regexp.MustCompile(`^CNI-[0-9a-f]+$`)
	changes := false
	var table string
	var deleted, chains []string
	shared, used := false, false
	flush := func() {
		if shared && !used {
			chains = append(chains, "CNI-FORWARD", "CNI-ADMIN")
			deleted = append(deleted, `-D FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD`, "-F CNI-FORWARD")
		}
		if len(deleted)+len(chains) > 0 {
			changes = true
			fmt.Fprintln(&out, table)
			for _, d := range deleted {
				fmt.Fprintln(&out, d)
			}
			for _, ch := range chains {
				fmt.Fprintln(&out, "-X "+ch)
			}
			fmt.Fprintln(&out, "COMMIT")
		}
		deleted, chains, shared, used = nil, nil, false, false
	}
	seen := map[string]bool{}
	for line := range strings.Lines(save) {
		line = strings.TrimRight(line, "\n")
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line
		case line == "COMMIT":
			flush()
		case strings.HasPrefix(line, ":CNI-FORWARD "), strings.HasPrefix(line, ":CNI-ADMIN "):
			shared = true
		case len(f) > 3 && f[0] == "-A" && (ours.MatchString(line) || strings.HasPrefix(f[1], "CNI-") && strings.HasPrefix(f[3], prefix)):
			if chain.MatchString(f[1]) && !seen[f[1]] {
				seen[f[1]] = true
				chains = append(chains, f[1])
			}
			deleted = append(deleted, "-D"+strings.TrimPrefix(line, "-A"))
		case len(f) > 1 && f[0] == "-A" && (f[1] == "CNI-ADMIN" || f[1] == "CNI-FORWARD" && !strings.HasSuffix(line, "-j CNI-ADMIN")):
			used = true
		}
	}
	if !changes {
		return ""
	}
	return out.String()
}
