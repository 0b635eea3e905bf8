package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func TestLoad(t *testing.T) {
	c, err := load(env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.Version, "v0.") || c.bridge() != "paths0" || c.registry() != "127.0.0.1:5000" {
		t.Errorf("%+v", c)
	}
	for name, value := range map[string]string{
		"PATHS_ENGINE_PORT": "http", "PATHS_ENGINE_NETWORK": "a b", "PATHS_ENGINE_CIDR": "10.0.0.0/8",
		"PATHS_ENGINE_CACHE": "lots", "PATHS_ENGINE_DIR": "/etc/engine",
	} {
		if _, err := load(env(map[string]string{name: value})); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

func TestVersionIn(t *testing.T) {
	if v, err := versionIn("require (\n\tdagger.io/dagger v0.1.0\n\tgithub.com/dagger/dagger v1.2.3 // indirect\n)"); err != nil || v != "v1.2.3" {
		t.Errorf("%s, %v", v, err)
	}
	if _, err := versionIn("module x\n"); err == nil {
		t.Error("a version out of nowhere")
	}
}

func TestSameVersion(t *testing.T) {
	c := config{Version: "v0.21.7", Given: "tcp://there:1"}
	if err := sameVersion(c, "v0.21.7"); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"v0.21.6", "v0.21.7-dev", "v0.21.70", ""} {
		if err := sameVersion(c, other); err == nil || !strings.Contains(err.Error(), "v0.21.7") || !strings.Contains(err.Error(), other) {
			t.Errorf("%q: %v", other, err)
		}
	}
}

// What is printed is evaluated by a shell, whatever a folder is called.
func TestExports(t *testing.T) {
	c := config{Dir: "/tmp/it's $HOME", Port: "5001"}
	lines := exports(c, c.socket(), c.path("bin", "dagger"), true, "127.0.0.1:5001/go@sha256:0")
	out, err := exec.Command("sh", "-c", lines+`printf '%s\n' "$_EXPERIMENTAL_DAGGER_RUNNER_HOST" "$PATHS_REGISTRY" "${PATH%%:*}" "$DAGGER_PROGRESS"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "unix:///tmp/it's $HOME/run/engine.sock\n127.0.0.1:5001\n/tmp/it's $HOME/bin\nplain\n"
	if string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if lines := exports(c, "", "/usr/bin/dagger", false, ""); strings.Contains(lines, "RUNNER_HOST") || strings.Contains(lines, "PROGRESS") {
		t.Errorf("with Docker: %s", lines)
	}
}

// Forwarding is left alone when another engine's bridge may need it.
func TestBridges(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"docker0/bridge", "eth0/queues"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := bridges(dir); len(got) != 1 || got[0] != "docker0" {
		t.Errorf("%v", got)
	}
}

func TestMissing(t *testing.T) {
	if got := missing(func(what string) bool { return what != "tini" && what != "/usr/include/seccomp.h" }); strings.Join(got, " ") != "libseccomp-dev tini" {
		t.Errorf("%v", got)
	}
	if got := missing(func(string) bool { return true }); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestStamp(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := stamp(config{Version: "v1"}, dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := write("a.go", "package a")
	if write("a_test.go", "package a") != first {
		t.Error("a test changes what is built")
	}
	if write("a.go", "package b") == first {
		t.Error("a changed file goes unnoticed")
	}
	if write("a.go", "package a") != first {
		t.Error("the stamp is not of the content")
	}
	if other, _ := stamp(config{Version: "v2"}, dir); other == first {
		t.Error("another version goes unnoticed")
	}
}

const saved = `*nat
:PREROUTING ACCEPT [0:0]
:CNI-0a1b2c - [0:0]
:CNI-ffee00 - [0:0]
-A POSTROUTING -s 10.89.0.7/32 -m comment --comment "name: \"paths\" id: \"x1\"" -j CNI-0a1b2c
-A POSTROUTING -s 10.1.0.7/32 -m comment --comment "name: \"other\" id: \"x2\"" -j CNI-ffee00
-A CNI-0a1b2c -d 10.89.0.0/16 -m comment --comment "name: \"paths\" id: \"x1\"" -j ACCEPT
-A CNI-0a1b2c ! -d 224.0.0.0/4 -m comment --comment "name: \"paths\" id: \"x1\"" -j MASQUERADE
-A CNI-ffee00 -d 10.1.0.0/16 -m comment --comment "name: \"other\" id: \"x2\"" -j ACCEPT
COMMIT
*filter
:CNI-ADMIN - [0:0]
:CNI-FORWARD - [0:0]
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d 10.89.0.7/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.89.0.7/32 -j ACCEPT
COMMIT
`

func TestUndoRules(t *testing.T) {
	got := undoRules(saved, "paths", "10.89.0.0/16")
	want := `*nat
-D POSTROUTING -s 10.89.0.7/32 -m comment --comment "name: \"paths\" id: \"x1\"" -j CNI-0a1b2c
-D CNI-0a1b2c -d 10.89.0.0/16 -m comment --comment "name: \"paths\" id: \"x1\"" -j ACCEPT
-D CNI-0a1b2c ! -d 224.0.0.0/4 -m comment --comment "name: \"paths\" id: \"x1\"" -j MASQUERADE
-X CNI-0a1b2c
COMMIT
*filter
-D CNI-FORWARD -d 10.89.0.7/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-D CNI-FORWARD -s 10.89.0.7/32 -j ACCEPT
-D FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-F CNI-FORWARD
-X CNI-FORWARD
-X CNI-ADMIN
COMMIT
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	// The plugins' chains stay while another network uses them.
	busy := strings.Replace(saved, "-A CNI-FORWARD -s 10.89.0.7/32 -j ACCEPT", "-A CNI-FORWARD -s 10.1.0.7/32 -j ACCEPT", 1)
	if got := undoRules(busy, "paths", "10.89.0.0/16"); strings.Contains(got, "-X CNI-FORWARD") || strings.Contains(got, "10.1.") {
		t.Errorf("another network's rules: %s", got)
	}
	if got := undoRules(busy, "absent", "10.77.0.0/16"); got != "" {
		t.Errorf("nothing to undo, but: %s", got)
	}
}

// TestPid: a process is ours for as long as it runs, whatever program it becomes.
func TestPid(t *testing.T) {
	c := config{Dir: t.TempDir()}
	if err := os.Mkdir(c.path("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(c.Dir, "again.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ $1 = 0 ] && exec sleep 60\nexec $0 $(($1-1))\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, "300")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	record := func(text string) {
		if err := os.WriteFile(c.path("run", "x.pid"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	number, at := strconv.Itoa(cmd.Process.Pid), started(cmd.Process.Pid)
	record(number + " " + at)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if !alive(c, "x") {
			t.Fatal("a process that becomes another program is taken for dead")
		}
	}
	record(number + " 1" + at)
	if alive(c, "x") {
		t.Error("another process with the same number is taken for ours")
	}
	record(number + " " + at)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); alive(c, "x"); {
		if time.Now().After(end) {
			t.Fatal("a process that was killed, and nobody waited for, is taken for alive")
		}
	}
	_ = cmd.Wait()
}

// TestPossible: who can't have an engine is told the three ways to one.
func TestPossible(t *testing.T) {
	err := possible(1000)
	if err == nil {
		t.Fatal("an engine without root")
	}
	for _, way := range []string{"_EXPERIMENTAL_DAGGER_RUNNER_HOST", "Docker engine", "as root"} {
		if !strings.Contains(err.Error(), way) {
			t.Errorf("it does not name %q:\n%v", way, err)
		}
	}
}

func TestOwnedFolder(t *testing.T) {
	dir := t.TempDir()
	if err := ownedFolder(dir); err != nil {
		t.Error(err)
	}
	if err := ownedFolder(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
	link, open := filepath.Join(dir, "link"), filepath.Join(dir, "open")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{link, open} {
		if err := ownedFolder(bad); err == nil || !strings.Contains(err.Error(), "PATHS_ENGINE_DIR") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestUndoOthers: rules of somebody else's network with addresses like ours stay.
func TestUndoOthers(t *testing.T) {
	save := "*filter\n:INPUT ACCEPT [0:0]\n:NETAVARK_FORWARD - [0:0]\n-A INPUT -s 10.89.3.0/24 -j DROP\n-A NETAVARK_FORWARD -d 10.89.0.0/24 -j ACCEPT\nCOMMIT\n"
	if undo := undoRules(save, "paths", "10.89.0.0/16"); undo != "" {
		t.Errorf("it removes\n%s", undo)
	}
}
