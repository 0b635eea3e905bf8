package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// verbInside is the hidden verb of the process that becomes the engine, in mount
// and process namespaces of its own.
const verbInside = "inside"

// inside turns this process into the engine. Engine and network plugins write to
// /etc, /usr/bin, /opt and /run: overlays keep that off the host, and the first
// process of the namespace takes all others along when it ends.
func inside(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "run", "config.json"))
	if err != nil {
		return err
	}
	var c config
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	mount := func(source, target, kind string, flags uintptr, data string) error {
		if err := syscall.Mount(source, target, kind, flags, data); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
		return nil
	}
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	tmp := c.path("tmpfs")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	if err := mount("tmpfs", tmp, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	// These two may be mounts or links; the overlay shows what lies below.
	files := map[string][]byte{}
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if files[name], err = os.ReadFile(name); err != nil {
			return err
		}
	}
	for _, d := range []string{"etc", "usr", "opt"} {
		upper, work := filepath.Join(tmp, d), filepath.Join(tmp, d+".work")
		for _, made := range []string{upper, work} {
			if err := os.Mkdir(made, 0o755); err != nil {
				return err
			}
		}
		if err := mount("overlay", "/"+d, "overlay", 0, "lowerdir=/"+d+",upperdir="+upper+",workdir="+work); err != nil {
			return err
		}
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	for name, content := range files {
		_ = os.Remove(name)
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	if err := furnish(c); err != nil {
		return err
	}
	const content = "/usr/local/share/dagger/content"
	if err := os.MkdirAll(content, 0o755); err != nil {
		return err
	}
	if err := mount(c.path("made", "sdk"), content, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	sdk, err := os.ReadFile(c.path("made", "sdk.digest"))
	if err != nil {
		return err
	}
	env := append(os.Environ(), "DAGGER_GO_SDK_MANIFEST_DIGEST="+string(sdk))
	// What it keeps of every call is small objects, hundreds of megabytes of them: at Go's
	// usual setting it collects garbage for most of the time that it computes at all.
	for name, value := range map[string]string{"GOGC": "400", "GOMEMLIMIT": "3GiB"} {
		if os.Getenv(name) == "" {
			env = append(env, name+"="+value)
		}
	}
	return syscall.Exec("/usr/bin/tini", []string{"tini", "--", c.lib("engine"),
		"--config", "/etc/dagger/engine.toml", "--root", c.path("state"), "--addr", c.socket(),
		"--network-name", c.Network, "--network-cidr", c.CIDR,
		// Each is a network namespace with a bridge port: a few are enough, and
		// stopping takes seconds, not half a minute.
		"--oci-cni-pool-size", "8"}, env)
}

// furnish puts programs and configuration where the engine looks for them.
func furnish(c config) error {
	links := map[string]string{"/usr/local/bin/runc": c.lib("runc")}
	for _, p := range []string{"bridge", "firewall", "host-local", "loopback", "dnsname"} {
		links["/opt/cni/bin/"+p] = c.lib(p)
	}
	for _, p := range []string{"xtables-legacy-multi", "xtables-nft-multi"} {
		links["/usr/bin/"+p] = "/usr/sbin/" + p
	}
	for at, target := range links {
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		_ = os.Remove(at)
		if err := os.Symlink(target, at); err != nil {
			return err
		}
	}
	// This one is mounted into containers: no link.
	program, err := os.ReadFile(c.lib("init"))
	if err != nil {
		return err
	}
	for name, f := range map[string]struct {
		content []byte
		mode    fs.FileMode
	}{
		"/usr/local/bin/dagger-init": {program, 0o755},
		"/etc/dagger/engine.json":    {c.engineJSON(), 0o644},
		"/etc/dagger/engine.toml":    {nil, 0o644},
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.content, f.mode); err != nil {
			return err
		}
	}
	return nil
}
