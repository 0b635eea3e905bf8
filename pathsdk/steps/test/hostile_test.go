package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/internal/hostile"
	"github.com/pavedpaths/paths/pathsdk/run/fence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestMain makes the test binary the pathctl that runs this step in a fence.
func TestMain(m *testing.M) {
	if code, ok := fence.Main(os.Args); ok {
		os.Exit(code)
	}
	if len(os.Args) == 2 && os.Args[1] == "fenced-test-step" {
		if err := inside(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// request is what goes into the fence.
type request struct {
	In               json.RawMessage
	Work, Out, Cache string
}

// inside runs the step as the runner's child does.
func inside() error {
	report, err := fence.Enter()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		return err
	}
	res, err := New().Run(context.Background(), step.Env{
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Now: time.Now,
		Work: req.Work, Out: req.Out, Cache: req.Cache, Exec: fence.NewExecer(self, report), Jobs: 2,
	}, req.In)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(res)
}

// TestHostile tests a service whose tests attack, behind the real fence and
// with a real, empty build cache: they find nothing, and what is built from the
// cache afterwards is what is built without it.
func TestHostile(t *testing.T) {
	t.Setenv("SIGNING_TOKEN", hostile.Mark)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	home := filepath.Join(t.TempDir(), ".paths")
	req := request{Work: filepath.Join(home, "work", "1", "work"), Out: filepath.Join(home, "work", "1", "out"), Cache: filepath.Join(home, "cache", "build")}
	for _, d := range []string{req.Work, req.Out, req.Cache} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	intact := hostile.Plant(t, home)

	source := t.TempDir()
	if err := os.CopyFS(source, os.DirFS(hostile.Service(2))); err != nil {
		t.Fatal(err)
	}
	in := service(t, map[string]string{"go.mod": "module unused\n"}, map[string]any{"source": source})
	req.In = marshal(t, in)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, stderr bytes.Buffer
	report, err := fence.New(self).Run(t.Context(), fence.Spec{
		Enter: true, Args: []string{"fenced-test-step"}, Dir: req.Work, Env: []string{"PATH=/usr/bin:/bin", "HOME=" + req.Work},
		Read:  []string{in["source"].(string), in["modules"].(string), in["modcache"].(string), in["goroot"].(string)},
		Write: []string{req.Work, req.Out, req.Cache}, Loopback: true,
		Stdin: marshal(t, req), Stdout: &out, Stderr: &stderr,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	t.Log(report.Mechanism())
	var res step.Result
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(req.Out, "test.log"))
	if err != nil {
		t.Fatal(err)
	}
	hostile.NothingDone(t, string(log))
	intact()
	if !strings.Contains(string(res.Output), `"passed":2`) || !strings.Contains(string(res.Output), `"coverage":"`) {
		t.Errorf("output: %s", res.Output)
	}
	cache := filepath.Join(req.Cache, "gocache")
	problems, n := hostile.CleanGoCache(t, cache)
	if d := cmp.Diff([]string(nil), problems); d != "" || n < 100 {
		t.Errorf("of %d entries in the build cache: -want +got:\n%s", n, d)
	}
	if entries, err := os.ReadDir(source); err != nil || len(entries) != 4 {
		t.Errorf("the source has changed: %v %v", entries, err)
	}

	// The next build.
	quiet := t.TempDir()
	if err := gomod.MakeHome(quiet); err != nil {
		t.Fatal(err)
	}
	build := func(cache string) string {
		bin := filepath.Join(t.TempDir(), "service")
		cmd := exec.Command(filepath.Join(in["goroot"].(string), "bin", "go"), "build", "-trimpath", "-o", bin, ".")
		cmd.Dir = source
		cmd.Env = []string{"CGO_ENABLED=0", "GOCACHE=" + cache, "GOFLAGS=-buildvcs=false -mod=readonly", "GOENV=off", "GOWORK=off", "GOTOOLCHAIN=local", "GOPROXY=off", "HOME=" + quiet, "GOROOT=" + in["goroot"].(string)}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return hostile.Digest(t, bin)
	}
	if after, honest := build(cache), build(goEnv(t, "GOCACHE")); after != honest {
		t.Errorf("the build cache changes the program: %s, and %s with a cache that no hostile test was near", after, honest)
	}
}
