// Command bench compares pathctl ship with the commands of the peers that do the
// same work, in one run on one machine. It prints one line for each goal, and
// fails only if either side does: a comparison with a run that did not verify is
// void.
//
// Both sides build the same two services with warm caches of their own, push to
// the same registry on loopback, scan with the same small database, and end with
// everything verified.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "registry" {
		fmt.Fprintln(os.Stderr, "bench: registry:", serveRegistry(os.Args[2]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 4 && os.Args[1] == "base" {
		if err := pushBase(ctx, os.Args[3], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type settings struct {
	root, pathctl, peers, work string
	n                          int
	only                       string
}

func bench(ctx context.Context) error {
	var s settings
	flag.StringVar(&s.root, "root", ".", "root of the repository")
	flag.StringVar(&s.pathctl, "pathctl", "bin/pathctl", "the binary to measure")
	flag.StringVar(&s.peers, "peers", "", "folder with ko, syft, trivy and cosign")
	flag.StringVar(&s.work, "work", ".bench", "folder for caches, which stay, and for what is measured")
	flag.IntVar(&s.n, "n", 5, "how often to measure; medians are printed")
	flag.StringVar(&s.only, "only", "", "measure only the service of this name")
	flag.Parse()
	if s.peers == "" || s.n < 1 || flag.NArg() > 0 {
		return errors.New("usage: bench -peers DIR [-n TIMES]; scripts/bench.sh knows the rest")
	}
	for _, dir := range []*string{&s.root, &s.pathctl, &s.peers, &s.work} {
		var err error
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	b, done, err := setUp(ctx, s)
	if err != nil {
		return err
	}
	err = b.all(ctx)
	done()
	if err != nil {
		return fmt.Errorf("%w\n  the folders of this run are kept: %s", err, b.scratch)
	}
	return os.RemoveAll(b.scratch)
}

// benchmark is everything that both sides need, made ready.
type benchmark struct {
	settings
	ours     *ours
	peers    *peers
	alone    []string // environment of go alone
	goTool   string
	scratch  string // folders of this run
	services []*service
	raw      raw
}

// raw is what is kept of a run, in one file.
type raw struct {
	Started    time.Time       `json:"started"`
	Go         string          `json:"go"`
	Processors int             `json:"processors"`
	LoadBefore string          `json:"loadBefore"`
	LoadAfter  string          `json:"loadAfter"`
	Services   []serviceResult `json:"services"`
	Starts     coldStart       `json:"starts"`
	Throughput []throughput    `json:"throughput"`
	Lines      []line          `json:"lines"`
}

func setUp(ctx context.Context, s settings) (*benchmark, func(), error) {
	fail := func(err error) (*benchmark, func(), error) { return nil, nil, err }
	b := &benchmark{settings: s, raw: raw{Started: time.Now().UTC(), Go: runtime.Version(), Processors: runtime.NumCPU(), LoadBefore: load()}}
	// What is measured is made anew; the caches stay, that is what warm means.
	scratch := filepath.Join(s.work, "run")
	b.scratch = scratch
	if err := os.RemoveAll(scratch); err != nil {
		return fail(err)
	}
	home := filepath.Join(s.work, "user")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return fail(err)
	}
	var err error
	if b.goTool, err = exec.LookPath("go"); err != nil {
		return fail(err)
	}
	// The user's module cache and proxies serve both sides.
	var goEnv []string
	for _, name := range []string{"GOMODCACHE", "GOPROXY", "GONOSUMDB", "GOPRIVATE", "GOSUMDB"} {
		out, err := exec.CommandContext(ctx, b.goTool, "env", name).Output()
		if err != nil {
			return fail(fmt.Errorf("go env %s: %w", name, err))
		}
		goEnv = append(goEnv, name+"="+strings.TrimSpace(string(out)))
	}
	env := environ(home, goEnv...)
	cache := func(name string) string { return "GOCACHE=" + filepath.Join(s.work, "gocache-"+name) }
	b.alone = append(env[:len(env):len(env)], cache("alone"))

	addr, stop, err := startRegistry(ctx, filepath.Join(scratch, "registry"))
	if err != nil {
		return fail(err)
	}
	pathsHome := filepath.Join(s.work, "home")
	b.ours = &ours{pathctl: s.pathctl, home: pathsHome, addr: addr, env: append(env[:len(env):len(env)], "PATHS_HOME="+pathsHome, cache("unused"))}
	b.peers = &peers{
		bin: s.peers, goTool: b.goTool, work: filepath.Join(scratch, "peers"), cache: filepath.Join(scratch, "trivy"), addr: addr,
		env: append(env[:len(env):len(env)], cache("peers"), "KOCACHE="+filepath.Join(s.work, "kocache"), "COSIGN_PASSWORD=", "SYFT_CHECK_FOR_APP_UPDATE=false"),
	}
	prepare := func() error {
		if err := os.MkdirAll(pathsHome, 0o700); err != nil {
			return err
		}
		if err := b.ours.makeDB(ctx, filepath.Join(s.root, "examples", "vulndb"), b.peers.cache); err != nil {
			return err
		}
		if err := b.peers.prepare(ctx); err != nil {
			return err
		}
		for _, svc := range services(s.root) {
			if s.only != "" && s.only != svc.name {
				continue
			}
			if err := svc.copyTo(ctx, scratch, env); err != nil {
				return err
			}
			b.services = append(b.services, svc)
		}
		return nil
	}
	if err := prepare(); err != nil {
		stop()
		return fail(err)
	}
	return b, stop, nil
}

// all measures everything and prints as it goes.
func (b *benchmark) all(ctx context.Context) error {
	b.note("%d processors, load %s; medians of %d runs", b.raw.Processors, b.raw.LoadBefore, b.n)
	for _, s := range b.services {
		r, t, err := b.service(ctx, s)
		if err != nil {
			return err
		}
		b.raw.Services = append(b.raw.Services, r)
		b.raw.Throughput = append(b.raw.Throughput, t)
		b.print(append(r.lines(), t.line())...)
	}
	b.note("start: every tool %d times, warm and evicted", 2*b.n)
	var err error
	if b.raw.Starts, err = starts(ctx, 2*b.n, b.startCommands()); err != nil {
		return err
	}
	b.print(b.raw.Starts.lines()...)
	b.raw.LoadAfter = load()
	out, err := json.MarshalIndent(b.raw, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(b.work, "raw.json")
	if err := os.WriteFile(file, append(out, '\n'), 0o644); err != nil {
		return err
	}
	b.note("load at the end %s; raw numbers: %s", b.raw.LoadAfter, file)
	return nil
}

// service measures one service: after a warm-up of both sides, n edits, each
// followed by a run without a change. The side that goes first alternates.
func (b *benchmark) service(ctx context.Context, s *service) (serviceResult, throughput, error) {
	res := serviceResult{Service: s.name}
	var mine, theirs []string
	for i := range b.n + 1 {
		if i == 0 {
			b.note("%s: warming up (minutes if its caches are empty)", s.name)
		} else {
			b.note("%s: run %d of %d", s.name, i, b.n)
			if err := s.edit(ctx, b.alone); err != nil {
				return res, throughput{}, err
			}
		}
		var r round
		steps := []func() error{
			func() (err error) { r.Ours, err = b.ours.ship(ctx, s); return err },
			func() (err error) { r.Peers, err = b.peers.script(ctx, s); return err },
			func() (err error) { r.Alone, err = b.goAlone(ctx, s); return err },
			func() (err error) { r.OursSame, err = b.ours.ship(ctx, s); return err },
			func() (err error) { r.PeersSame, err = b.peers.script(ctx, s); return err },
		}
		switch {
		case i == 0:
			// The peers' base image is that of ours, so ours goes first.
			steps = []func() error{steps[0], func() error { return pushBase(ctx, b.peers.koBase(), r.Ours.reference) }, steps[1], steps[2]}
		case i%2 == 0:
			steps[0], steps[1], steps[3], steps[4] = steps[1], steps[0], steps[4], steps[3]
		}
		for _, f := range steps {
			if err := f(); err != nil {
				return res, throughput{}, err
			}
		}
		mine, theirs = append(mine, r.Ours.reference), append(theirs, r.Peers.reference)
		if i > 0 {
			res.Rounds = append(res.Rounds, r)
			continue
		}
		var err error
		if res.Likeness, err = alike(ctx, b.ours, b.peers, r.Ours); err != nil {
			return res, throughput{}, fmt.Errorf("%s: %w", s.name, err)
		}
		b.note("%s: both verified; %d packages (peers %d), vulnerabilities %v", s.name, res.Likeness.PackagesOurs, res.Likeness.PackagesPeers, res.Likeness.Vulns)
	}
	b.note("%s: verifying %d images of each side", s.name, len(mine))
	t, err := verifyAll(ctx, b.ours, b.peers, s.name, b.n, mine, theirs)
	return res, t, err
}

// goAlone is what a developer waits for without any of this.
func (b *benchmark) goAlone(ctx context.Context, s *service) (usage, error) {
	test, _, err := run(ctx, command{name: "go test", dir: s.dir, env: b.alone, args: b.peers.goTest()})
	if err != nil {
		return test, err
	}
	build, _, err := run(ctx, command{name: "go build", dir: s.dir, env: b.alone,
		args: []string{b.goTool, "build", "-trimpath", "-o", filepath.Join(b.peers.work, "alone"), s.main}})
	return sum("go test, go build", []usage{test, build}), err
}

// startOurs begins the names of our commands among those that only start.
const startOurs = "pathctl "

func isOurs(name string) bool { return strings.HasPrefix(name, startOurs) }

func (b *benchmark) startCommands() []command {
	c := func(name, bin string, args ...string) command {
		return command{name: name, dir: b.work, env: b.peers.env, args: append([]string{bin}, args...)}
	}
	return []command{
		c(startOurs+"version", b.pathctl, "version"),
		c(startOurs+"help", b.pathctl, "--help"),
		c("trivy --version", b.peers.tool("trivy"), "--version"),
		c("cosign version", b.peers.tool("cosign"), "version"),
		c("syft version", b.peers.tool("syft"), "version"),
	}
}

func (b *benchmark) print(lines ...line) {
	for _, l := range lines {
		l.write(os.Stdout)
	}
	b.raw.Lines = append(b.raw.Lines, lines...)
}

// note tells what goes on; results alone are on standard output.
func (b *benchmark) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// load is the machine's load average: who reads the numbers should know whether
// anything else ran.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
