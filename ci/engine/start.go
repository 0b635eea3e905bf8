package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const forwardFile = "/proc/sys/net/ipv4/ip_forward"

// start starts registry and engine, unless they run, and returns the Go image
// that the registry serves, by digest.
func start(ctx context.Context, c config) (string, error) {
	if !alive(c, "engine") || !alive(c, "registry") {
		if err := down(c); err != nil { // what an unclean end left behind
			return "", err
		}
		if err := free(c); err != nil {
			return "", err
		}
		if err := spawn(c); err != nil {
			return "", errors.Join(err, down(c))
		}
	}
	image, err := await(ctx, c)
	if err != nil {
		return "", errors.Join(fmt.Errorf("the engine did not start: %w\n%s", err, logs(c)), down(c))
	}
	return image, nil
}

// free checks that nobody else has the port or the bridge.
func free(c config) error {
	l, err := net.Listen("tcp", c.registry())
	if err != nil {
		return fmt.Errorf("the registry's port is taken: %w: choose another: PATHS_ENGINE_PORT=5001", err)
	}
	l.Close()
	if _, err := net.InterfaceByName(c.bridge()); err == nil {
		return fmt.Errorf("there is a bridge %s that is not ours: choose another name and network: PATHS_ENGINE_NETWORK=paths1 PATHS_ENGINE_CIDR=10.90.0.0/16", c.bridge())
	}
	return nil
}

func spawn(c config) error {
	for _, d := range []string{"run", "log", "registry", "state"} {
		if err := os.MkdirAll(c.path(d), 0o755); err != nil {
			return err
		}
	}
	forward, err := os.ReadFile(forwardFile)
	if err != nil {
		return err
	}
	// What was there before stays when the engine goes.
	if err := os.WriteFile(c.path("run", "cgroups"), []byte(strings.Join(cgroups(), "\n")), 0o644); err != nil {
		return err
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"ip_forward": forward, "config.json": raw} {
		if err := os.WriteFile(c.path("run", name), content, 0o644); err != nil {
			return err
		}
	}
	if err := background(c, "registry", 0, c.lib("crane"), "registry", "serve", "--address", c.registry(), "--disk", c.path("registry")); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return background(c, "engine", syscall.CLONE_NEWNS|syscall.CLONE_NEWPID, self, verbInside, c.Dir)
}

// cgroups are those of a BuildKit, which makes one in every hierarchy and leaves it.
func cgroups() []string {
	one, _ := filepath.Glob("/sys/fs/cgroup/buildkit")
	many, _ := filepath.Glob("/sys/fs/cgroup/*/buildkit")
	return append(one, many...)
}

// background starts a process that outlives this one.
func background(c config, name string, namespaces uintptr, args ...string) error {
	log, err := os.Create(c.path("log", name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	record := fmt.Sprintf("%d %s", cmd.Process.Pid, started(cmd.Process.Pid))
	if err := os.WriteFile(c.path("run", name+".pid"), []byte(record), 0o644); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// await waits for both, and pushes the images: the registry forgets its tags when
// it stops, but keeps the blobs.
func await(ctx context.Context, c config) (string, error) {
	// After a kill -9 the engine throws its cache away before it answers.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		_, err := os.Stat(c.path("run", "engine.sock"))
		if err == nil {
			if resp, bad := http.Get("http://" + c.registry() + "/v2/"); bad == nil {
				resp.Body.Close()
				break
			}
		}
		switch {
		case !alive(c, "engine"):
			return "", errors.New("its process ended")
		case !alive(c, "registry"):
			return "", errors.New("the registry's process ended")
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		}
		time.Sleep(100 * time.Millisecond)
	}
	var goImage string
	for _, image := range []string{"base", "go"} {
		ref, err := push(ctx, c, image)
		if err != nil {
			return "", fmt.Errorf("push the image %s: %w", image, err)
		}
		goImage = ref
	}
	return goImage, nil
}

// push pushes one of the images that were made, and returns it by digest.
func push(ctx context.Context, c config, image string) (string, error) {
	idx, err := layout.ImageIndexFromPath(c.path("made", image))
	if err != nil {
		return "", err
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return "", err
	}
	if len(m.Manifests) != 1 {
		return "", fmt.Errorf("%d manifests, want one", len(m.Manifests))
	}
	img, err := idx.Image(m.Manifests[0].Digest)
	if err != nil {
		return "", err
	}
	tag, err := name.NewTag(c.registry()+"/"+image+":latest", name.Insecure)
	if err != nil {
		return "", err
	}
	return c.registry() + "/" + image + "@" + m.Manifests[0].Digest.String(), remote.Write(tag, img, remote.WithContext(ctx))
}

// pid is the recorded process of that name; 0 if it does not run any more. A number
// may have gone to another process meanwhile, which started at another time.
func pid(c config, name string) int {
	raw, err := os.ReadFile(c.path("run", name+".pid"))
	if err != nil {
		return 0
	}
	number, at, _ := strings.Cut(strings.TrimSpace(string(raw)), " ")
	n, err := strconv.Atoi(number)
	if err != nil || at == "" || started(n) != at {
		return 0
	}
	return n
}

// started is when a process started, in ticks since the machine did; empty if it does
// not run. Its command line would not do: that is empty for a moment whenever the
// process becomes another program.
func started(pid int) string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	// The name, which may hold anything, is in parentheses; proc_pid_stat(5).
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}

func alive(c config, name string) bool { return pid(c, name) != 0 }

func logs(c config) string {
	var b strings.Builder
	for _, name := range []string{"registry", "engine"} {
		if raw, err := os.ReadFile(c.path("log", name+".log")); err == nil {
			fmt.Fprintf(&b, "-- %s\n%s\n", name, tail(string(raw), 15))
		}
	}
	return b.String()
}
