package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the folders that have a cgroup of ours each: one in version 2, and
// one for each controller in version 1.
func hierarchies() []string {
	if unified() {
		return []string{cgroupRoot}
	}
	found, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
	for i, f := range found {
		found[i] = filepath.Dir(f)
	}
	return found
}

func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
}

// makeCgroups makes those that pods are below.
func makeCgroups(c *config) error {
	const why = "%w\n  fix: run this where cgroups can be written: on a machine, or in a privileged container"
	found := hierarchies()
	if len(found) == 0 {
		return fmt.Errorf(why, errors.New("there are no cgroups in "+cgroupRoot))
	}
	for _, h := range found {
		dir := filepath.Join(h, c.cgroup())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf(why, err)
		}
		if filepath.Base(h) == "cpuset" && !unified() {
			for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // empty, and then nothing may be in it
				all, err := os.ReadFile(filepath.Join(h, name))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, name), all, 0o644); err != nil {
					return fmt.Errorf(why, err)
				}
			}
		}
		if unified() {
			for _, at := range []string{h, dir} {
				for _, controller := range []string{"+cpu", "+cpuset", "+memory", "+pids"} {
					if err := os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte(controller), 0o644); err != nil {
						return fmt.Errorf(why, err)
					}
				}
			}
		}
	}
	return nil
}

// tryCgroups reports before a build, which takes minutes, why none can be made.
func tryCgroups(c *config) error {
	if pid(c, verbNode) != 0 {
		return nil
	}
	return errors.Join(makeCgroups(c), removeCgroups(c))
}

// removeCgroups removes ours, from the innermost out. One that has just been left may be
// busy for a moment.
func removeCgroups(c *config) error {
	var failed error
	for range 100 {
		failed = nil
		for _, h := range hierarchies() {
			var dirs []string
			err := filepath.WalkDir(filepath.Join(h, c.cgroup()), func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil // it may go meanwhile
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				if e := syscall.Rmdir(dirs[i]); e != nil && !errors.Is(e, fs.ErrNotExist) {
					err = fmt.Errorf("remove %s: %w", dirs[i], e)
				}
			}
			failed = errors.Join(failed, err)
		}
		if failed == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%s\n  fix: end what is in it: cat its cgroup.procs", strings.SplitN(failed.Error(), "\n", 2)[0])
}
