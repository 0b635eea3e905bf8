//go:build e2e

package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// onSmallDisk runs a command with a small file system over a folder that has its
// content, frees space there, and runs the command again. The file system is
// gone with its namespace, so what it held each time is copied away.
const onSmallDisk = `set -eu
size=$1 folder=$2 keep=$3; shift 3
cp -a "$folder/." "$keep.before"
mount -t tmpfs -o size=$size tmpfs "$folder"
cp -a "$keep.before/." "$folder"
code=0; "$@" >"$keep.out1" 2>"$keep.err1" || code=$?
echo "full $code"
cp -a "$folder/." "$keep.full"
mount -o remount,size=500m "$folder"
code=0; "$@" >"$keep.out2" 2>"$keep.err2" || code=$?
echo "freed $code"
cp -a "$folder/." "$keep.freed"
`

// TestE2ENoSpace ships where the disk is full, at many fillings: once the disk of
// the home, once that of the results. The error says so, and what to do; nothing
// is half written, and once there is space the same command does its work.
func TestE2ENoSpace(t *testing.T) {
	db := smallDB(t)
	for folder, sizes := range map[string][]string{
		"home": {"100k", "300k", "600k", "1m", "1400k", "2m", "3m", "4m"},
		"src":  {"50k", "100k", "300k", "600k", "900k"},
	} {
		for _, size := range sizes {
			t.Run(folder+" "+size, func(t *testing.T) {
				t.Parallel()
				home, src := newHome(t), hello(t)
				small := map[string]string{"home": home, "src": src}[folder]
				keep := filepath.Join(t.TempDir(), "keep")
				for _, d := range []string{".before", ".full", ".freed"} {
					if err := os.Mkdir(keep+d, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				ship := pathctlProcess(t, home, "ship", src, "--vuln-db", db, "--output", "json")
				cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", onSmallDisk, "sh", size, small, keep}, ship.Args...)...)
				cmd.Env = ship.Env
				cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
				if os.Geteuid() != 0 {
					cmd.SysProcAttr = &syscall.SysProcAttr{
						Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
						UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
						GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
					}
				}
				r := waitFor(t, cmd)
				if r.code != 0 {
					t.Fatalf("mount a small file system: exit %d; this needs root, or a kernel that gives user namespaces\n%s", r.code, r.stderr)
				}
				read := func(suffix string) string {
					b, err := os.ReadFile(keep + suffix)
					if err != nil {
						t.Error(err)
					}
					return string(b)
				}
				full, freed := result{read(".out1"), read(".err1"), 1}, result{read(".out2"), read(".err2"), 0}
				if r.stdout != "full 1\nfreed 0\n" {
					t.Fatalf("%s\nfull:\n%s\nfreed:\n%s", r.stdout, full.stderr, freed.stderr)
				}
				full.says(t, "ship on a full disk", 1, "space", "free ")
				image := shippedDigest(t, freed)
				for _, state := range []string{".full", ".freed"} {
					at := src
					if folder == "src" {
						at = keep + state
					} else {
						wholeHome(t, keep+state)
					}
					wholeFiles(t, at)
					if state == ".freed" {
						wholeStore(t, filepath.Join(at, ".paths", "store"), image)
					}
				}
			})
		}
	}
}

// wholeHome fails the test if keys, trust root or a cache entry are half written.
func wholeHome(t *testing.T, home string) {
	t.Helper()
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && name == "work" || name == "tools" || !d.Type().IsRegular():
			if d.IsDir() && (name == "work" || name == "tools") {
				return fs.SkipDir
			}
			return nil
		case strings.HasSuffix(name, ".json"):
			raw, err := os.ReadFile(path)
			if err == nil && !json.Valid(raw) {
				t.Errorf("%s is half written", path)
			}
			return err
		default:
			info, err := d.Info()
			if err == nil && info.Size() == 0 && strings.Contains(path, "/keys/") {
				t.Errorf("%s is empty", path)
			}
			return err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
