package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

// verbNode is the hidden verb of the process that is the node: the first in process,
// mount, network, and other namespaces of its own. When it ends, so does all in them.
const verbNode = "node"

// hiddenFolders are the node's own: what Kubernetes writes there is in memory, and goes
// with it.
var hiddenFolders = []string{"/run", "/var/lib", "/var/log"}

// fakeSysctls are the machine's settings that the kubelet insists on, and would change
// for everybody: it sees files that say what it wants.
var fakeSysctls = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

//go:embed conf
var confFiles embed.FS

// node is what the process knows.
type node struct {
	c        *config
	mu       sync.Mutex
	programs map[int]program // by process
}

type program struct {
	name string
	args []string
}

func runNode(ctx context.Context, c *config) error {
	if err := onRecord(); err != nil {
		return err
	}
	if err := os.Setenv("PATH", c.made("bin")+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	n := &node{c: c, programs: map[int]program{}}
	if err := n.mounts(); err != nil {
		return err
	}
	if err := n.network(); err != nil {
		return err
	}
	if err := n.configure(); err != nil {
		return err
	}
	if err := n.start(ctx); err != nil {
		return err
	}
	return n.watch()
}

func (n *node) mounts() error {
	mount := func(source, target, kind string, flags uintptr) error {
		if err := syscall.Mount(source, target, kind, flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
		return nil
	}
	// Apart from the host's mounts, and shared among containers, as volumes need.
	for _, flag := range []uintptr{syscall.MS_PRIVATE, syscall.MS_SHARED} {
		if err := mount("", "/", "", syscall.MS_REC|flag); err != nil {
			return err
		}
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC); err != nil {
		return err
	}
	for _, dir := range hiddenFolders {
		if err := mount("tmpfs", dir, "tmpfs", 0); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, value := range fakeSysctls {
		fake := n.c.run("sysctl", strings.ReplaceAll(name, "/", "."))
		if err := write(fake, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(fake, filepath.Join("/proc/sys", name), "", syscall.MS_BIND); err != nil {
			return err
		}
	}
	return syscall.Sethostname([]byte(nodeName))
}

// network gives the node its addresses. They are on the loopback device: there is no
// other, and no way out.
func (n *node) network() error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", nodeIP + "/32", "dev", "lo"},
		{"addr", "add", serviceIP + "/32", "dev", "lo"},
		{"route", "add", "default", "dev", "lo"}, // for services' addresses, which rules turn into pods'
	} {
		if _, err := output("busybox", append([]string{"ip"}, args...)...); err != nil {
			return fmt.Errorf("ip %s: %w", strings.Join(args, " "), err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	if raw, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables"); err != nil || strings.TrimSpace(string(raw)) != "1" {
		return errors.New("packets between pods don't pass the packet filter\n  fix: modprobe br_netfilter, and sysctl -w net.bridge.bridge-nf-call-iptables=1")
	}
	// Each connection's first packet from or to a pod, after services' addresses were turned
	// into pods', waits for what kube-network-policies says, which reads queue 100. While it does not run, none goes.
	for _, rule := range []string{
		"-N POLICIES",
		"-A POLICIES -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
		"-A POLICIES -s " + podCIDR + " -j NFQUEUE --queue-num 100",
		"-A POLICIES -d " + podCIDR + " -j NFQUEUE --queue-num 100",
		"-A FORWARD -j POLICIES",
		"-A INPUT -s " + podCIDR + " -j POLICIES",
	} {
		if _, err := output("iptables", append([]string{"-w", "-t", "mangle"}, strings.Fields(rule)...)...); err != nil {
			return fmt.Errorf("iptables %s: %w", rule, err)
		}
	}
	return write(n.c.run("network"), nil, 0o644)
}

// configure writes what programs read.
func (n *node) configure() error {
	c := n.c
	values := map[string]any{
		"Run": c.run(), "Bin": c.made("bin"), "Plugins": c.made("debian", "usr", "lib", "cni"), "Keys": c.keys(), "Cgroup": c.cgroup(), "Node": nodeIP, "Pods": podCIDR, "MaxPods": maxPods,
		"Registry": registryAddr, "Pause": pauseImage, "Socket": containerdSocket,
	}
	for name, at := range map[string]string{
		"containerd.toml": "containerd.toml", "kubelet.yaml": "kubelet.yaml", "registry.yml": "registry.yml",
		"cni.conflist": "cni/pods.conflist", "hosts.toml": "hosts.d/" + registryAddr + "/hosts.toml",
	} {
		t, err := template.ParseFS(confFiles, "conf/"+name)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, values); err != nil {
			return err
		}
		if err := write(c.run(filepath.FromSlash(at)), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// start starts the programs, each when what it waits for is there.
func (n *node) start(ctx context.Context) error {
	c := n.c
	user := func(name string) string { return "--kubeconfig=" + c.kubeconfig(name) }
	checks := func(name string) []string {
		return []string{user(name), "--authentication-kubeconfig=" + c.kubeconfig(name), "--authorization-kubeconfig=" + c.kubeconfig(name),
			"--leader-elect=false", "--bind-address=127.0.0.1"}
	}
	const etcd = "http://127.0.0.1:2379"
	api := []string{
		"--etcd-servers=" + etcd, "--secure-port=443", "--bind-address=0.0.0.0", "--advertise-address=" + nodeIP,
		"--service-cluster-ip-range=" + serviceCIDR, "--tls-cert-file=" + c.keys("api.crt"), "--tls-private-key-file=" + c.keys("api.key"),
		"--client-ca-file=" + c.keys("ca.crt"), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=" + c.issuer(), "--service-account-jwks-uri=" + c.issuer() + "/openid/v1/jwks",
		"--service-account-key-file=" + c.keys("tokens.key"), "--service-account-signing-key-file=" + c.keys("tokens.key"),
		"--kubelet-client-certificate=" + c.keys("kubelet-client.crt"), "--kubelet-client-key=" + c.keys("kubelet-client.key"),
		"--kubelet-certificate-authority=" + c.keys("ca.crt"), "--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true",
		// To webhooks' pods themselves: rules of the packet filter are for packets from pods.
		"--enable-aggregator-routing=true",
	}
	for _, p := range [][]string{
		// What is lost when the machine stops is a test's.
		{"etcd", "--data-dir=" + c.run("etcd"), "--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync"},
		append([]string{"kube-apiserver"}, api...),
		{"containerd", "--config=" + c.run("containerd.toml")},
		{"registry", "serve", c.run("registry.yml")},
	} {
		if err := n.program(p[0], p[1:]...); err != nil {
			return err
		}
	}
	answers, err := answering(c, "https://127.0.0.1:443/readyz")
	if err != nil {
		return err
	}
	if err := n.until(ctx, "kube-apiserver", answers); err != nil {
		return err
	}
	for _, p := range [][]string{
		append([]string{"kube-controller-manager", "--service-account-private-key-file=" + c.keys("tokens.key"), "--root-ca-file=" + c.keys("ca.crt"),
			"--use-service-account-credentials=true"}, checks("controller")...),
		append([]string{"kube-scheduler"}, checks("scheduler")...),
		// The settings would be the machine's.
		{"kube-proxy", user("proxy"), "--hostname-override=" + nodeName, "--bind-address=" + nodeIP, "--cluster-cidr=" + podCIDR,
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"},
		{"kube-network-policies", c.kubeconfig("policies")},
	} {
		if err := n.program(p[0], p[1:]...); err != nil {
			return err
		}
	}
	ctr := func(args ...string) error {
		_, err := output("ctr", append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, args...)...)
		return err
	}
	if err := n.until(ctx, "containerd", func() error { return ctr("version") }); err != nil {
		return err
	}
	if err := ctr("images", "import", c.made("images.tar")); err != nil {
		return err
	}
	return n.program("kubelet", user("node"), "--config="+c.run("kubelet.yaml"), "--root-dir="+c.run("kubelet"), "--hostname-override="+nodeName, "--node-ip="+nodeIP)
}

func (n *node) program(name string, args ...string) error {
	log, err := os.OpenFile(n.c.run("log", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.programs[cmd.Process.Pid] = program{name, args}
	return nil
}

// until waits until a program is ready, and no longer than all of them run.
func (n *node) until(ctx context.Context, name string, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		for pid, p := range n.programs {
			if started(pid) == "" {
				return n.ended(p.name)
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s is not ready: %w", name, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// watch buries orphans, as the first process must, and ends with the first program that
// does: half a cluster would only puzzle. One that was asked to is started again.
func (n *node) watch() error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	go func() {
		for range asked {
			n.mu.Lock()
			for pid, p := range n.programs {
				if n.toRestart(p.name) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			n.mu.Unlock()
		}
	}()
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		n.mu.Lock()
		p, ours := n.programs[pid]
		delete(n.programs, pid)
		// The request goes before the new process is known, which else could be killed for it.
		again := ours && n.toRestart(p.name) && os.Remove(n.c.run("restart", p.name)) == nil
		n.mu.Unlock()
		switch {
		case !ours:
		case !again:
			return n.ended(p.name)
		default:
			if err := n.program(p.name, p.args...); err != nil {
				return err
			}
		}
	}
}

// toRestart reports whether somebody asked for a program's end and new start.
func (n *node) toRestart(program string) bool {
	_, err := os.Stat(n.c.run("restart", program))
	return err == nil
}

// restart kills a program of the node and starts it again, as a crash would.
func restart(ctx context.Context, c *config, program string) error {
	node := pid(c, verbNode)
	if node == 0 {
		return errors.New("no cluster of ours runs here\n  fix: make cluster")
	}
	_, err := os.Stat(c.run("log", program+".log"))
	if err != nil || program != filepath.Base(program) || program == verbNode || program == verbLink {
		return fmt.Errorf("no program of the node is called %q\n  fix: take one of those in %s", program, c.run("log"))
	}
	asked := c.run("restart", program)
	if err := write(asked, nil, 0o644); err != nil {
		return err
	}
	if err := syscall.Kill(node, syscall.SIGHUP); err != nil {
		return err
	}
	return await(ctx, c, "the restart of "+program, time.Minute, func() error {
		if _, err := os.Stat(asked); err == nil {
			return errors.New("it runs as before")
		}
		return nil
	})
}

func (n *node) ended(program string) error {
	raw, _ := os.ReadFile(n.c.run("log", program+".log"))
	return fmt.Errorf("%s ended:\n%s", program, tail(string(raw), 10))
}

// answering is a check whether a URL of the API server says that all is well.
func answering(c *config, url string) (func() error, error) {
	ca, err := os.ReadFile(c.keys("ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	return func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s %s", url, resp.Status, text)
		}
		return nil
	}, nil
}
