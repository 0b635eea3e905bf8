package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// service is one process.
type service struct {
	name string
	args []string
	// ready is a URL that answers when it is.
	ready string
}

func (c *config) services() []service {
	port := func(name string) string { return strconv.Itoa(c.Ports[name]) }
	bin := func(name string) string { return filepath.Join(c.binaries(), name) }
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return []service{
		{"issuer", []string{self, verbIssuer}, c.url("issuer") + githubPath + discoveryPath},
		{"fulcio", []string{
			bin("fulcio"), "serve", "--host=127.0.0.1", "--port=" + port("fulcio"),
			"--grpc-host=127.0.0.1", "--grpc-port=" + port("fulcio-grpc"), "--metrics-port=" + port("fulcio-metrics"),
			"--legacy-unix-domain-socket=@paths-sigstore-" + port("fulcio"),
			"--ca=fileca", "--fileca-cert=" + c.path("keys", "fulcio.pem"), "--fileca-key=" + c.path("keys", "fulcio.key"), "--fileca-watch=false",
			"--ct-log-url=", "--config-path=" + c.path("fulcio.yaml"), "--config=" + c.path("fulcio-server.yaml"),
		}, c.url("fulcio") + "/api/v2/configuration"},
		{"rekor", []string{
			bin("posix"), "serve", "--hostname=" + origin, "--http-address=127.0.0.1", "--http-port=" + port("rekor-http"),
			"--grpc-address=127.0.0.1", "--grpc-port=" + port("rekor-grpc"), "--http-metrics-port=" + port("rekor-metrics"),
			"--signer-filepath=" + c.path("keys", "rekor.key"), "--storage-dir=" + c.path("log"), "--persistent-antispam",
			// Whoever signs waits for the next checkpoint.
			"--batch-max-age=50ms", "--checkpoint-interval=100ms", "--max-request-body-size=67108864",
		}, c.url("rekor-http") + "/healthz"},
		{"rekor-front", []string{self, verbFront}, c.url("rekor") + "/healthz"},
		{"tsa", []string{self, verbTSA}, c.url("tsa") + "/ping"},
	}
}

func (c *config) service(name string) *service {
	for _, s := range c.services() {
		if s.name == name {
			return &s
		}
	}
	return nil
}

// start starts a service that does not run, and waits until it answers.
func start(ctx context.Context, c *config, s service) error {
	elsewhere := s.name == "issuer" && os.Getenv("PATHS_SIGSTORE_ISSUER") != ""
	if pid(c, s.name) == 0 && !elsewhere {
		if err := spawn(c, s); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ready, nil); err != nil {
			return err
		} else if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 500 {
				return nil
			}
		}
		why := ""
		if pid(c, s.name) == 0 && !elsewhere {
			why = "its process ended"
		} else if ctx.Err() != nil {
			why = "it does not answer: " + context.Cause(ctx).Error()
		}
		if why != "" {
			raw, _ := os.ReadFile(c.path(s.name + ".log"))
			return fmt.Errorf("start %s: %s\n%s", s.name, why, raw[max(0, len(raw)-2000):])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// clusterCA is a copy of the certificate that a cluster's issuer is trusted by.
const clusterCA = "cluster-ca.pem"

// configureFulcio writes what Fulcio reads when it starts: whose tokens it takes is said
// anew with every up. One that runs with other issuers is stopped.
func configureFulcio(c *config) error {
	issuers := []byte(fulcioConfig(c))
	var ca []byte
	if os.Getenv("PATHS_CLUSTER_ISSUER") != "" {
		var err error
		if ca, err = os.ReadFile(os.Getenv("PATHS_CLUSTER_CA")); err != nil {
			return fmt.Errorf("PATHS_CLUSTER_ISSUER needs PATHS_CLUSTER_CA: %w\n  fix: take both from make cluster", err)
		}
	}
	oldIssuers, _ := os.ReadFile(c.path("fulcio.yaml"))
	oldCA, _ := os.ReadFile(c.path(clusterCA))
	if !bytes.Equal(issuers, oldIssuers) || !bytes.Equal(ca, oldCA) {
		if err := stop(c, "fulcio"); err != nil {
			return err
		}
	}
	if err := write(c.path("fulcio.yaml"), issuers, 0o644); err != nil {
		return err
	}
	// It insists on a password, which a key in the clear does without.
	if err := write(c.path("fulcio-server.yaml"), []byte("fileca-key-passwd: none\n"), 0o600); err != nil {
		return err
	}
	if ca == nil {
		return os.RemoveAll(c.path(clusterCA))
	}
	return write(c.path(clusterCA), ca, 0o644)
}

func spawn(c *config, s service) error {
	if err := os.MkdirAll(c.path("log"), 0o755); err != nil {
		return err
	}
	log, err := os.Create(c.path(s.name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "PATHS_SIGSTORE=" + c.dir}
	if _, err := os.Stat(c.path(clusterCA)); err == nil && s.name == "fulcio" {
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+c.path(clusterCA))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	n := cmd.Process.Pid
	if err := write(c.path(s.name+".pid"), fmt.Appendf(nil, "%d %s", n, started(n)), 0o644); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	return cmd.Process.Release()
}

// stop ends a service gently, then for good.
func stop(c *config, name string) error {
	n := pid(c, name)
	if n == 0 {
		return nil
	}
	_ = syscall.Kill(n, syscall.SIGTERM)
	for i := range 150 {
		if pid(c, name) == 0 {
			return os.Remove(c.path(name + ".pid"))
		}
		if i == 100 {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("stop %s: process %d does not end", name, n)
}

// pid is the recorded process of that name; 0 if it does not run any more.
func pid(c *config, name string) int {
	raw, err := os.ReadFile(c.path(name + ".pid"))
	if err != nil {
		return 0
	}
	number, at, _ := strings.Cut(string(raw), " ")
	n, err := strconv.Atoi(number)
	if err != nil || at == "" || started(n) != at {
		return 0
	}
	return n
}

// started is when a process started, in ticks since the machine did; empty if it does
// not run. With its number that names a process for good.
func started(pid int) string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}
