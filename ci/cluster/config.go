package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Addresses inside. The network is the cluster's alone, so they are the same on every
// machine, and two clusters don't meet.
const (
	nodeName     = "node"
	nodeIP       = "10.200.0.1"
	serviceIP    = "10.96.0.1" // the first of serviceCIDR, which Kubernetes takes for itself
	serviceCIDR  = "10.96.0.0/16"
	podCIDR      = "10.88.0.0/16"
	apiAddr      = nodeIP + ":443"
	registryAddr = nodeIP + ":5000"
	proxyAddr    = nodeIP + ":3000"
	// maxPods is for some hundreds of runs at once; a bridge has 1023 ports.
	maxPods = 900
	// containerdSocket is in the node's own /run.
	containerdSocket = "/run/containerd.sock"
)

// config is where things are. Ports are chosen once: the issuer's name has one in it.
type config struct {
	dir string
	// given is the kubeconfig of a cluster that the caller has already.
	given string
	ports map[string]int
}

// The ports on the host's loopback.
var portNames = []string{"api", "registry"}

func load(env func(string) string) (*config, error) {
	c := &config{dir: env("PATHS_CLUSTER"), given: env("PATHS_KUBECONFIG")}
	if c.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("%w\n  fix: set PATHS_CLUSTER to a folder of your choice", err)
		}
		c.dir = filepath.Join(cache, "paths-cluster")
	}
	var err error
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return nil, err
	}
	for _, hidden := range hiddenFolders {
		if c.dir == hidden || strings.HasPrefix(c.dir, hidden+"/") {
			return nil, fmt.Errorf("PATHS_CLUSTER is %s: the node has a %s of its own\n  fix: choose a folder elsewhere", c.dir, hidden)
		}
	}
	if strings.ContainsAny(c.dir, "'\"\\\n {}") {
		return nil, fmt.Errorf("PATHS_CLUSTER is %q, which goes into configuration files as it is\n  fix: choose a folder without spaces, quotes and braces", c.dir)
	}
	if err := ownFolder(c.dir); err != nil {
		return nil, err
	}
	if c.given == c.kubeconfig("admin") {
		c.given = "" // it is ours
	}
	raw, err := os.ReadFile(c.path("ports.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &c.ports); err != nil {
		return nil, fmt.Errorf("%s: %w\n  fix: remove it", c.path("ports.json"), err)
	}
	return c, nil
}

// ownFolder refuses a folder that others can write: what lies in it is run, as root.
func ownFolder(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only you can write, and programs in it would be run\n  fix: remove it, or set PATHS_CLUSTER to another", dir)
	}
	return nil
}

func (c *config) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

// run is the folder of all that goes when the cluster does.
func (c *config) run(parts ...string) string {
	return filepath.Join(append([]string{c.dir, "run"}, parts...)...)
}

func (c *config) made(parts ...string) string {
	return filepath.Join(append([]string{c.dir, "made"}, parts...)...)
}

func (c *config) keys(parts ...string) string {
	return filepath.Join(append([]string{c.dir, "keys"}, parts...)...)
}

func (c *config) kubeconfig(user string) string { return c.keys(user + ".kubeconfig") }

func (c *config) loopback(port string) string { return "127.0.0.1:" + strconv.Itoa(c.ports[port]) }

// issuer names the cluster in its service accounts' tokens: an address at which a
// program on this machine reads the keys.
func (c *config) issuer() string { return "https://" + c.loopback("api") }

// cgroup is the name of ours in every hierarchy.
func (c *config) cgroup() string {
	sum := sha256.Sum256([]byte(c.dir))
	return "paths-cluster-" + hex.EncodeToString(sum[:4])
}

// choosePorts takes ports that are free, the first time.
func (c *config) choosePorts() error {
	if c.ports != nil {
		return nil
	}
	ports := map[string]int{}
	for _, name := range portNames {
		// All are held until the last is chosen, so that no two are the same.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		ports[name] = l.Addr().(*net.TCPAddr).Port
	}
	raw, err := json.Marshal(ports)
	if err != nil {
		return err
	}
	if err := write(c.path("ports.json"), raw, 0o644); err != nil {
		return err
	}
	c.ports = ports
	return nil
}

// write writes a file whole or not at all.
func write(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
