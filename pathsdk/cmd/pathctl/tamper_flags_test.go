package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/policy"
)

// commandAt finds a command by its path below pathctl.
func commandAt(t testing.TB, root *cobra.Command, path ...string) *cobra.Command {
	t.Helper()
	cmd, rest, err := root.Find(path)
	if err != nil || len(rest) > 0 {
		t.Fatalf("no command %q: %v", path, err)
	}
	return cmd
}

// TestProducersKnowNoKey: no verb of the producer has a flag for a key.
func TestProducersKnowNoKey(t *testing.T) {
	root := newRoot(&app{})
	secret := regexp.MustCompile(`(^|-)(key|keys|pass|passphrase|password|secret|token|credential|credentials|identity|login|signer|cert)(-|$)`)
	flags := func(cmd *cobra.Command) (names []string) {
		cmd.InheritedFlags() // merges those of the parents
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		return names
	}
	checked := 0
	var producer func(*cobra.Command)
	producer = func(cmd *cobra.Command) {
		checked++
		for _, name := range flags(cmd) {
			if secret.MatchString(name) {
				t.Errorf("%s has the flag --%s", cmd.CommandPath(), name)
			}
		}
		for _, c := range cmd.Commands() {
			producer(c)
		}
	}
	for _, verb := range []string{"ship", "step", "plan", "init", "zone"} {
		producer(commandAt(t, root, verb))
	}
	if want := 5 + len(catalog.Steps()); checked != want {
		t.Errorf("%d commands were checked, want %d", checked, want)
	}
	// The others have one, so the pattern sees what it is meant to see.
	for _, verb := range []string{"attest", "verify"} {
		if !slices.ContainsFunc(flags(commandAt(t, root, verb)), secret.MatchString) {
			t.Errorf("%s has no flag for a key: the pattern is wrong", verb)
		}
	}
}

// opened watches a folder, and returns the names of files that were opened
// there since.
func opened(t testing.TB, dir string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN|unix.IN_ACCESS|unix.IN_MOVED_FROM); err != nil {
		t.Fatal(err)
	}
	return func() []string {
		t.Helper()
		var names []string
		for _, e := range readEvents(t, fd) {
			if e.name != "" { // empty for the folder itself
				names = append(names, e.name)
			}
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
}

// event is one that inotify reports.
type event struct {
	watch int
	name  string
}

// readEvents reads what is there, without waiting.
func readEvents(t testing.TB, fd int) []event {
	t.Helper()
	var events []event
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			return events
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Error(err)
			return events
		}
		for at := 0; at < n; {
			// struct inotify_event: wd, mask, cookie, len, name.
			size := int(binary.NativeEndian.Uint32(buf[at+12:]))
			name := buf[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+size]
			events = append(events, event{int(int32(binary.NativeEndian.Uint32(buf[at:]))), strings.TrimRight(string(name), "\x00")})
			at += unix.SizeofInotifyEvent + size
		}
	}
}

// TestProducersOpenNoKey watches the real folder of keys while producers run.
// Only the step cache's own keys, which sign nothing, are theirs.
func TestProducersOpenNoKey(t *testing.T) {
	home, src := newHome(t), hello(t)
	if r := pathctl(t, home, "key", "init"); r.code != 0 {
		t.Fatalf("key init: exit %d\n%s", r.code, r.stderr)
	}
	keys := filepath.Join(home, "keys")
	names := opened(t, keys)
	ours := regexp.MustCompile(`^cache-[a-z]+\.key$`)
	theirs := func(what string) {
		t.Helper()
		for _, n := range names() {
			if !ours.MatchString(n) {
				t.Errorf("%s opened keys/%s", what, n)
			}
		}
	}
	run := func(want int, args ...string) {
		t.Helper()
		cmd := pathctlProcess(t, home, args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Fatalf("%q: exit %d, want %d\n%s", args, code, want, out)
		}
		theirs(fmt.Sprintf("%.20q", args))
	}
	run(0, "plan", src)
	run(0, "step", "fetch", "--source", src)
	// Ship, as far as its producer goes: the attester can't get its database and
	// ends before it signs.
	run(1, "ship", src, "--vuln-db", "127.0.0.1:1/none:2")
	for _, zone := range []string{"build", "publish"} {
		if _, err := os.Stat(filepath.Join(keys, "cache-"+zone+".key")); err != nil {
			t.Errorf("zone %s did not run: %v", zone, err)
		}
	}
	// The whole of it opens both, so the watch sees what it is meant to see.
	if out, err := pathctlProcess(t, home, "ship", src, "--vuln-db", smallDB(t)).CombinedOutput(); err != nil {
		t.Fatalf("ship: %v\n%s", err, out)
	}
	if got := names(); !slices.Contains(got, "attester.key") || !slices.Contains(got, "verifier.key") {
		t.Errorf("a whole ship opened only %q", got)
	}
}

// TestNoFlagRaisesTheLevel gives every flag of verify every plausible value. The
// level is computed, so it stays what the facts support.
func TestNoFlagRaisesTheLevel(t *testing.T) {
	home, store := shipOnce(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	trust, err := os.ReadFile(filepath.Join(home, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// A trust root that trusts the attester for everything, beside the keys.
	generous := strings.NewReplacer("maxBuildLevel: 1", "maxBuildLevel: 3", "maxBuildLevel: 0", "maxBuildLevel: 3", "maxTier: derived", "maxTier: reproduced",
		"maxTier: observed", "maxTier: reproduced", "keys/", filepath.Join(home, "keys")+"/").Replace(string(trust))
	shippedPolicy, err := os.ReadFile("../../policy/shipped/microservice.yaml")
	if err != nil {
		t.Fatal(err)
	}
	demanding := strings.Replace(string(shippedPolicy), "default: 1\n    stricter: higher\n    help: lowest SLSA", "default: 3\n    stricter: higher\n    help: lowest SLSA", 1)
	if demanding == string(shippedPolicy) {
		t.Fatal("the shipped policy has no minLevel of 1")
	}
	waivers := file("paths.yaml", "apiVersion: pavedpaths.dev/v1\nkind: Service\npath: microservice\nwaivers:\n"+
		"  - {id: level, reason: please, expires: '2099-01-01'}\n")
	values := map[string][]string{
		"policy":          {"microservice", file("policy.yaml", demanding)},
		"kev":             {file("kev.json", `{"title":"x","catalogVersion":"2026.01.01","dateReleased":"2026-01-01T00:00:00Z","count":0,"vulnerabilities":[]}`)},
		"vuln-db-max-age": {"0", "1ns", "1000000h"},
		"param":           params(t),
		"trust":           {filepath.Join(home, "trust.yaml"), file("trust.yaml", generous)},
		"waivers":         {waivers},
		"deep":            {"true", "false"},
		"out":             {filepath.Join(dir, "verdict.json")},
		"report":          {filepath.Join(dir, "report.html")},
		"evidence":        {filepath.Join(dir, "evidence")},
		"timings":         {file("timings.json", "[]")},
		"attest":          {"true", "false"},
		"svr":             {"true", "false"},
		"reproduced-by":   {"oci:" + store},
		"key":             {filepath.Join(home, "keys", "verifier.key"), filepath.Join(home, "keys", "attester.key"), "hashivault://orders"},
		"passphrase-file": {file("passphrase", "x")},
		"signing-config":  {file("signing_config.json", "{}")},
		"trusted-root":    {file("trusted_root.json", "{}")},
		"identity-token":  {file("token", "e30.e30.e30")},
		"login":           {"true", "false"},
		"events-fd":       {"0", "1"},
		"output":          {"json"},
		"home":            {home},
		"help":            {"false"},
	}
	judgements := 0
	try := func(args ...string) {
		t.Helper()
		v, r := verdictOf(t, home, append([]string{"oci:" + store}, args...)...)
		if r.stdout == "" {
			if r.code == 0 {
				t.Errorf("%q: exit 0 without a verdict", args)
			}
			return
		}
		judgements++
		if v.Level.Build != 1 {
			t.Errorf("%q: level %d, want 1", args, v.Level.Build)
		}
	}
	cmd := commandAt(t, newRoot(&app{}), "verify")
	cmd.InheritedFlags()
	tried := 0
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if len(values[f.Name]) == 0 {
			t.Errorf("verify has a flag --%s that this test does not know: give it values", f.Name)
		}
		for _, v := range values[f.Name] {
			tried++
			try("--" + f.Name + "=" + v)
			// With a trust root that trusts its signers for everything, too.
			if f.Name != "trust" {
				try("--"+f.Name+"="+v, "--trust", values["trust"][1])
			}
		}
	})
	if judgements < tried {
		t.Errorf("only %d of %d command lines gave a verdict", judgements, 2*tried)
	}
	// And where a level is asked for that is not there, the image is refused.
	if v, r := verdictOf(t, home, "oci:"+store, "--param", "minLevel=2"); r.code != 3 || v.Level.Build != 1 {
		t.Errorf("--param minLevel=2: exit %d, level %d, want 3 and 1", r.code, v.Level.Build)
	}
	// A VSA that was signed on the way says the same.
	out, err := os.ReadFile(values["out"][0])
	var v policy.Verdict
	if err != nil || json.Unmarshal(out, &v) != nil || v.Level.Build != 1 {
		t.Errorf("--out wrote level %d (%v)", v.Level.Build, err)
	}
}

// params are assignments to every parameter of the shipped policy.
func params(t testing.TB) []string {
	t.Helper()
	p, err := policy.Load("microservice")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(p.Params)) {
		for _, value := range []string{"0", "1", "2", "3", "true", "none", "critical", "1000000h", "", "x"} {
			all = append(all, name+"="+value)
		}
	}
	return append(all, "level=3", "maxBuildLevel=3", "level.build=3")
}
