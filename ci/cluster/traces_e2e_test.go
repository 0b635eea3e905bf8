//go:build e2e

package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// outside is what a cluster might change on the machine, and must not.
func outside(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	settings := append(slices.Collect(maps.Keys(fakeSysctls)),
		"net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/netfilter/nf_conntrack_max", "net/bridge/bridge-nf-call-iptables", "kernel/hostname")
	for _, name := range settings {
		raw, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		found["sysctl "+name] = string(raw)
	}
	for _, path := range []string{
		"/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods", "/var/log/containers", "/etc/cni", "/opt/cni",
		"/etc/kubernetes", "/usr/libexec/kubernetes", "/run/containerd", "/run/containerd.sock", "/run/netns", "/sys/class/net/cni0",
	} {
		_, err := os.Stat(path)
		found["path "+path] = strconv.FormatBool(err == nil)
	}
	for _, flavour := range []string{"iptables-legacy-save", "iptables-nft-save"} {
		out, err := exec.Command(flavour).CombinedOutput()
		if err != nil {
			continue // this kernel or machine does not have it
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "KUBE-") || strings.Contains(line, "CNI-") {
				found[flavour] += line
			}
		}
	}
	return found
}

// traces are a running cluster's namespaces and processes.
type traces struct {
	namespaces map[string]bool
	processes  map[int]string // when each started
	until      string         // when the cluster was stopped
}

// traces finds every process below the node and link, and whatever namespaces they have
// of their own.
func (e *env) traces() traces {
	found := traces{namespaces: map[string]bool{}, processes: map[int]string{}}
	found.processes[pid(e.c, verbNode)] = started(pid(e.c, verbNode))
	found.processes[pid(e.c, verbLink)] = started(pid(e.c, verbLink))
	node := pid(e.c, verbNode)
	for _, n := range processes() {
		for parent := n; parent > 1; parent = parentOf(parent) {
			if parent == node {
				found.processes[n] = started(n)
				for _, ns := range namespacesOf(n) {
					found.namespaces[ns] = true
				}
				break
			}
		}
	}
	for _, ns := range namespacesOf(os.Getpid()) { // shared with the host
		delete(found.namespaces, ns)
	}
	if len(found.processes) < 15 || len(found.namespaces) < 10 {
		e.t.Errorf("a cluster of %d processes and %d namespaces: are these all?", len(found.processes), len(found.namespaces))
	}
	return found
}

// left says what there is of a cluster. For one that runs, that is a lot.
func (e *env) left(t *testing.T, before map[string]string, was traces) (found []string) {
	t.Helper()
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	after := outside(t)
	for what, value := range before {
		if after[what] != value {
			add("%s was %q, and is %q", what, value, after[what])
		}
	}
	for n, start := range was.processes {
		if started(n) == start {
			add("process %d runs", n)
		}
	}
	until, err := strconv.Atoi(was.until)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range processes() {
		if at, err := strconv.Atoi(started(n)); err != nil || at > until {
			continue
		}
		for _, ns := range namespacesOf(n) {
			if was.namespaces[ns] {
				add("process %d is in %s", n, ns)
			}
		}
		mounts, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n), "mountinfo"))
		if strings.Contains(string(mounts), e.c.dir) || strings.Contains(string(mounts), e.c.cgroup()) {
			add("process %d sees a mount of ours", n)
		}
		// A namespace without processes lives as long as somebody has it open.
		fds, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(n), "fd", "*"))
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); was.namespaces[to] {
				add("process %d has %s open", n, to)
			}
		}
	}
	groups, _ := filepath.Glob(filepath.Join(cgroupRoot, e.c.cgroup()))
	more, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", e.c.cgroup()))
	if groups = append(groups, more...); len(groups) > 0 {
		add("these cgroups are left: %v", groups)
	}
	if _, err := os.Stat(e.c.run()); err == nil {
		add("%s is left", e.c.run())
	}
	return found
}

func processes() []int {
	var found []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if n, err := strconv.Atoi(filepath.Base(d)); err == nil {
			found = append(found, n)
		}
	}
	return found
}

func parentOf(pid int) int {
	raw, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

func namespacesOf(pid int) []string {
	var found []string
	for _, kind := range []string{"mnt", "net", "pid", "ipc", "uts", "cgroup"} {
		if ns, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", kind)); err == nil {
			found = append(found, ns)
		}
	}
	return found
}
