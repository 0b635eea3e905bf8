//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/color"
	"image/png"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/report"
	"github.com/pavedpaths/paths/pathsdk/report/reporttest"
)

// TestReportInBrowser looks at reports as a reader does, in a real Chromium.
func TestReportInBrowser(t *testing.T) {
	b := newBrowser(t)
	good := reporttest.Data(t, reporttest.Image{Packages: 300, Vulns: 20})
	page := written(t, good)

	t.Run("graph and tables", func(t *testing.T) {
		doc := b.dom(t, "file://"+page)
		path, err := catalog.Path("microservice")
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"sign", "verify"}
		for _, n := range path.Nodes {
			want = append(want, n.ID)
		}
		var got []string
		for _, n := range elements(doc, "g") {
			if id := attribute(n, "data-node"); id != "" {
				got = append(got, id)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("nodes in the graph (-want +got):\n%s", d)
		}
		for table, rows := range map[string]int{"packages": 300, "vulnerabilities": 20, "evidence": 10} {
			if shown, hidden := tableRows(doc, table); len(shown) != rows || len(hidden) != 0 {
				t.Errorf("%s: %d rows shown and %d hidden, want %d and none", table, len(shown), len(hidden), rows)
			}
			if got, want := countText(doc, table), fmt.Sprintf("%d rows", rows); got != want {
				t.Errorf("%s: the count says %q, want %q", table, got, want)
			}
		}
	})

	t.Run("search by address", func(t *testing.T) {
		for _, tt := range []struct {
			hash, table, word string
			want              int
			count             string
		}{
			{"q=otel", "packages", "otel", 100, "100 of 300"},
			{"q=OTEL+part-30", "packages", "otel/part-30", 1, "1 of 300"},
			{"q=" + "%3Cscript%3E", "packages", "", 0, "0 of 300"},
			{"v=critical", "vulnerabilities", "critical", 1, "1 of 20"},
			{"e=foreign", "evidence", "foreign", 1, "1 of 10"},
			{"q=otel&v=critical", "vulnerabilities", "critical", 1, "1 of 20"},
			{"packages", "packages", "", 300, "300 rows"},
		} {
			doc := b.dom(t, "file://"+page+"#"+tt.hash)
			shown, hidden := tableRows(doc, tt.table)
			if len(shown) != tt.want || countText(doc, tt.table) != tt.count {
				t.Errorf("#%s: %d rows are shown and the count says %q, want %d and %q", tt.hash, len(shown), countText(doc, tt.table), tt.want, tt.count)
			}
			for _, r := range shown {
				if !strings.Contains(strings.ToLower(r), tt.word) {
					t.Errorf("#%s shows %q", tt.hash, r)
				}
			}
			for _, r := range hidden {
				if tt.word != "" && strings.Contains(strings.ToLower(r), tt.word) {
					t.Errorf("#%s hides %q", tt.hash, r)
				}
			}
		}
	})

	t.Run("hostile names", func(t *testing.T) {
		d := reporttest.Data(t, reporttest.Image{Packages: 40, Vulns: 9, Bad: true, Platforms: []string{"linux/amd64", "linux/arm64"},
			Name: "\"'><script src=http://evil.invalid/s></script><img src=http://evil.invalid/i onerror=alert(1)>\u202e" + strings.Repeat("long", 60)})
		doc := b.dom(t, "file://"+written(t, d)+"#q=evil.invalid")
		if n := len(elements(doc, "script")); n != 1 {
			t.Errorf("%d scripts on the page", n)
		}
		if shown, _ := tableRows(doc, "packages"); len(shown) != 40 {
			t.Errorf("%d rows shown, want 40", len(shown))
		}
	})

	t.Run("looks", func(t *testing.T) {
		out := os.Getenv("PATHS_E2E_OUT")
		if out == "" {
			out = t.TempDir()
		}
		bad := written(t, reporttest.Data(t, reporttest.Image{Packages: 60, Vulns: 9, Bad: true, Platforms: []string{"linux/amd64", "linux/arm64"}}))
		for _, tt := range []struct {
			name, page    string
			width, height int
			dark          bool
		}{
			{"desktop", page, 1280, 2000, false},
			{"desktop-dark", bad, 1280, 2000, true},
			{"mobile", bad, 400, 900, false},
			{"mobile-dark", page, 400, 900, true},
		} {
			file := filepath.Join(out, "report-"+tt.name+".png")
			light := b.shoot(t, tt.page, file, tt.width, tt.height, tt.dark)
			if tt.dark == (light > 0.25) {
				t.Errorf("%s: %.0f %% of the page is light", tt.name, light*100)
			}
		}
	})

	t.Run("nothing is wider than the screen", func(t *testing.T) {
		long := reporttest.Data(t, reporttest.Image{Packages: 20, Vulns: 9, Bad: true, Name: strings.Repeat("very-long-name", 20)})
		for name, d := range map[string]report.Data{"good": good, "long": long} {
			for _, width := range []int{400, 1280} {
				if got := b.width(t, written(t, d), width); got != width {
					t.Errorf("%s: the page is %d pixels wide on a screen of %d", name, got, width)
				}
			}
		}
	})
}

// TestBrowserSees makes sure that the test above would see what it looks for.
func TestBrowserSees(t *testing.T) {
	b := newBrowser(t)
	for name, tt := range map[string]struct{ page, console, host string }{
		"an error of a script":  {"<script>null.x</script>", "Uncaught", ""},
		"a breach of a policy":  {`<meta http-equiv="Content-Security-Policy" content="default-src 'none'"><img src="http://canary.invalid/x">`, "Content Security Policy", ""},
		"a request of the page": {`<img src="http://canary.invalid/x">`, "", "canary.invalid"},
	} {
		file := filepath.Join(t.TempDir(), "page.html")
		if err := os.WriteFile(file, []byte("<!doctype html>"+tt.page), 0o644); err != nil {
			t.Fatal(err)
		}
		_, console, hosts := b.run(t, "--dump-dom", "file://"+file)
		if tt.console != "" && !strings.Contains(console, tt.console) {
			t.Errorf("%s: the console says %q", name, console)
		}
		if tt.host != "" && !slices.Contains(hosts, tt.host) {
			t.Errorf("%s: the requests went to %q", name, hosts)
		}
	}
}

// written writes a report the way that verify does.
func written(t *testing.T, d report.Data) string {
	t.Helper()
	dir := t.TempDir()
	timings, err := json.Marshal(d.Timings)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "timings.json"), timings, 0o644); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "report.html")
	if err := writeReport(page, d.Verdict, filepath.Join(dir, "timings.json")); err != nil {
		t.Fatal(err)
	}
	return page
}

// browser runs Chromium behind a proxy that refuses everything, and notes what
// was asked for.
type browser struct {
	program, proxy string
	mu             sync.Mutex
	hosts          []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("there is no chromium in PATH; install it: apt-get install chromium")
	}
	b := &browser{program: program}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.proxy = l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.refuse(c)
		}
	}()
	t.Cleanup(func() { l.Close() })
	return b
}

func (b *browser) refuse(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	b.mu.Lock()
	b.hosts = append(b.hosts, r.URL.Hostname())
	b.mu.Unlock()
	fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

// run starts Chromium once, and returns its output, what its console says, and
// which hosts it asked for. It asks those of its maker whatever the page.
func (b *browser) run(t *testing.T, args ...string) (out []byte, console string, hosts []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b.mu.Lock()
	b.hosts = nil
	b.mu.Unlock()
	cmd := exec.CommandContext(ctx, b.program, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "--virtual-time-budget=5000",
		"--proxy-server=" + b.proxy, "--proxy-bypass-list=<-loopback>", "--enable-logging=stderr", "--v=0",
	}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, stderr.String())
	}
	var lines []string
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "CONSOLE") {
			lines = append(lines, line)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.hosts {
		if !strings.HasSuffix(h, ".google.com") && !strings.HasSuffix(h, ".googleapis.com") {
			hosts = append(hosts, h)
		}
	}
	return stdout.Bytes(), strings.Join(lines, ""), hosts
}

// quiet is run for pages that must neither complain nor ask for anything.
func (b *browser) quiet(t *testing.T, args ...string) []byte {
	t.Helper()
	out, console, hosts := b.run(t, args...)
	if console != "" {
		t.Errorf("the console says:\n%s", console)
	}
	if len(hosts) > 0 {
		t.Errorf("the page asked for %q", hosts)
	}
	return out
}

func (b *browser) dom(t *testing.T, url string) *html.Node {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(b.quiet(t, "--dump-dom", url)))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// shoot takes a picture, and returns how much of it is light. A blank one, or one
// without the colours of the page, is an error.
func (b *browser) shoot(t *testing.T, page, file string, width, height int, dark bool) float64 {
	t.Helper()
	scheme := "1"
	if dark {
		scheme = "0"
	}
	b.quiet(t, fmt.Sprintf("--window-size=%d,%d", width, height), "--blink-settings=preferredColorScheme="+scheme, "--screenshot="+file, "file://"+page)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	im, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if s := im.Bounds().Size(); s.X != width || s.Y != height {
		t.Errorf("%s is %v, want %d by %d", filepath.Base(file), s, width, height)
	}
	colours := map[color.Color]int{}
	light, all := 0, 0
	for y := 0; y < im.Bounds().Dy(); y++ {
		for x := 0; x < im.Bounds().Dx(); x++ {
			c := color.GrayModel.Convert(im.At(x, y)).(color.Gray)
			colours[im.At(x, y)]++
			if all++; c.Y > 127 {
				light++
			}
		}
	}
	if len(colours) < 100 {
		t.Errorf("%s has %d colours: it is blank, or without its style", filepath.Base(file), len(colours))
	}
	return float64(light) / float64(all)
}

// width measures how wide a page is laid out in a frame as wide as a screen, all
// its details open. It needs a script, so it takes a copy of the page without its
// security policy.
func (b *browser) width(t *testing.T, page string, screen int) int {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "Content-Security-Policy", "X-None", 1)
	text = strings.Replace(text, "</body>", `<script>
		for (const d of document.querySelectorAll('details')) d.open = true;
		parent.postMessage([innerWidth, document.documentElement.scrollWidth], '*');
	</script></body>`, 1)
	dir := t.TempDir()
	frame := fmt.Sprintf(`<!doctype html><body><script>
		addEventListener('message', (e) => { document.body.dataset.inner = e.data[0]; document.body.dataset.width = e.data[1]; });
	</script><iframe src="page.html" width="%d" height="900" style="border:0"></iframe>`, screen)
	for name, content := range map[string]string{"page.html": text, "frame.html": frame} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	body := elements(b.dom(t, "file://"+filepath.Join(dir, "frame.html")), "body")[0]
	if got := attribute(body, "data-inner"); got != fmt.Sprint(screen) {
		t.Fatalf("the frame is %q pixels wide, want %d", got, screen)
	}
	var w int
	if _, err := fmt.Sscan(attribute(body, "data-width"), &w); err != nil {
		t.Fatal(err)
	}
	return w
}

func elements(n *html.Node, tag string) []*html.Node {
	var all []*html.Node
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && c.Data == tag {
			all = append(all, c)
		}
	}
	return all
}

func attribute(n *html.Node, name string) string {
	i := slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
	if i < 0 {
		return ""
	}
	return n.Attr[i].Val
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// tableRows are the texts of a table's rows.
func tableRows(doc *html.Node, name string) (shown, hidden []string) {
	for _, table := range elements(doc, "table") {
		if attribute(table, "id") != name+"-table" {
			continue
		}
		for _, r := range elements(elements(table, "tbody")[0], "tr") {
			if slices.ContainsFunc(r.Attr, func(a html.Attribute) bool { return a.Key == "hidden" }) {
				hidden = append(hidden, textOf(r))
			} else {
				shown = append(shown, textOf(r))
			}
		}
	}
	return shown, hidden
}

// countText is what the live count of a table says.
func countText(doc *html.Node, name string) string {
	for _, o := range elements(doc, "output") {
		if attribute(o, "id") == "count-"+name {
			return textOf(o)
		}
	}
	return ""
}
