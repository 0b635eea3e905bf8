package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// verbLink is the hidden verb of the process between the host's network and the
// cluster's, which has no other way in or out.
const verbLink = "link"

// What it can be asked for, besides.
const (
	verbOffer = "offer" // pods reach a port of the host's loopback
	verbReach = "reach" // the host reaches an address in the cluster
)

// link stays in the host's network, and makes sockets in the cluster's.
type link struct {
	host, cluster int // namespaces, as open files
	mu            sync.Mutex
	open          map[string]string // address that listens, by what was asked for
}

func runLink(ctx context.Context, c *config) error {
	if err := onRecord(); err != nil {
		return err
	}
	l := &link{open: map[string]string{}}
	var err error
	if l.host, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if l.cluster, err = unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid(c, verbNode)), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("the node's network: %w", err)
	}
	for port, to := range map[string]string{"api": apiAddr, "registry": registryAddr} {
		if _, err := l.reach(to, c.loopback(port)); err != nil {
			return fmt.Errorf("%w\n  fix: if another program has the port, remove %s and %s: others are chosen", err, c.path("ports.json"), c.keys())
		}
	}
	inside, err := l.listen(proxyAddr)
	if err != nil {
		return err
	}
	proxy, err := newModuleProxy()
	if err != nil {
		return err
	}
	control, err := net.Listen("unix", c.run("link.sock"))
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- serve(inside, proxy) }()
	go func() { failed <- serve(control, l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func serve(l net.Listener, h http.Handler) error {
	return (&http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}).Serve(l)
}

// ServeHTTP answers the commands: GET says what is open, POST opens more.
func (l *link) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := r.FormValue("what")
	var at string
	var err error
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/") {
	case "GET ":
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = json.NewEncoder(w).Encode(l.open)
		return
	case "POST " + verbOffer:
		at, err = l.offer(what)
	case "POST " + verbReach:
		at, err = l.reach(what, "127.0.0.1:0")
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, at)
}

// offer lets the cluster reach a port of the host's loopback, PORT or PORT:NODEPORT, and
// returns where.
func (l *link) offer(what string) (string, error) {
	port, nodePort, both := strings.Cut(what, ":")
	if !both {
		nodePort = port
	}
	for _, p := range []string{port, nodePort} {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "", fmt.Errorf("offer %q: give PORT or PORT:NODEPORT", what)
		}
	}
	dial := func() (net.Conn, error) { return net.DialTimeout("tcp", "127.0.0.1:"+port, 10*time.Second) }
	return l.once(verbOffer+" "+port+":"+nodePort, func() (net.Listener, error) { return l.listen(nodeIP + ":" + nodePort) }, dial)
}

// reach lets the host reach an address in the cluster, and returns where.
func (l *link) reach(to, from string) (string, error) {
	host, port, err := net.SplitHostPort(to)
	if err != nil || net.ParseIP(host) == nil || port == "" {
		return "", fmt.Errorf("reach %q: give an IP address and a port, as 10.88.0.2:8080", to)
	}
	dial := func() (conn net.Conn, err error) {
		if e := l.inCluster(func() { conn, err = net.DialTimeout("tcp", to, 10*time.Second) }); e != nil {
			return nil, e
		}
		return conn, err
	}
	return l.once(verbReach+" "+to, func() (net.Listener, error) { return net.Listen("tcp", from) }, dial)
}

// once opens what is not open yet.
func (l *link) once(what string, listen func() (net.Listener, error), dial func() (net.Conn, error)) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.open[what]; ok {
		return at, nil
	}
	from, err := listen()
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	l.open[what] = from.Addr().String()
	go forward(from, dial)
	return l.open[what], nil
}

// forward connects whoever comes with what dial reaches.
func forward(from net.Listener, dial func() (net.Conn, error)) {
	for {
		conn, err := from.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "link:", err)
			time.Sleep(100 * time.Millisecond) // too many files are open, perhaps
			continue
		}
		go func() {
			defer conn.Close()
			to, err := dial()
			if err != nil {
				fmt.Fprintf(os.Stderr, "link: %s: %v\n", from.Addr(), err)
				return
			}
			defer to.Close()
			done := make(chan struct{}, 2)
			for _, pair := range [][2]net.Conn{{conn, to}, {to, conn}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].(*net.TCPConn).CloseWrite() // the other way may go on
					done <- struct{}{}
				}()
			}
			<-done
			<-done
		}()
	}
}

func (l *link) listen(at string) (from net.Listener, err error) {
	if e := l.inCluster(func() { from, err = net.Listen("tcp", at) }); e != nil {
		return nil, e
	}
	return from, err
}

// inCluster calls a function on a thread that is in the cluster's network. A socket
// stays in the network that it was made in.
func (l *link) inCluster(f func()) error {
	runtime.LockOSThread()
	if err := unix.Setns(l.cluster, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the cluster's network: %w", err)
	}
	f()
	if err := unix.Setns(l.host, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("leave the cluster's network: %w", err) // locked, the thread goes with its goroutine
	}
	runtime.UnlockOSThread()
	return nil
}

// linkClient speaks to the link that runs.
func linkClient(c *config) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.run("link.sock"))
	}}}
}

// askLink asks it to open something, and returns the address.
func askLink(ctx context.Context, c *config, verb, what string) (string, error) {
	return callLink(ctx, c, http.MethodPost, verb+"?what="+url.QueryEscape(what))
}

// opened lists what is open.
func opened(ctx context.Context, c *config) ([]string, error) {
	raw, err := callLink(ctx, c, http.MethodGet, "")
	if err != nil {
		return nil, err
	}
	var open map[string]string
	if err := json.Unmarshal([]byte(raw), &open); err != nil {
		return nil, err
	}
	var lines []string
	for what, at := range open {
		lines = append(lines, what+" at "+at)
	}
	slices.Sort(lines)
	return lines, nil
}

func callLink(ctx context.Context, c *config, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://link/"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := linkClient(c).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(strings.TrimSpace(string(text)))
	}
	return string(text), nil
}
