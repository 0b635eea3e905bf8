package report_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/report"
	"github.com/pavedpaths/paths/pathsdk/report/reporttest"
)

func write(t testing.TB, d report.Data) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := report.Write(&out, d); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTmp(t *testing.T) {
	os.MkdirAll("/tmp/rep", 0o755)
	os.WriteFile("/tmp/rep/good.html", write(t, reporttest.Data(t, reporttest.Image{Packages: 120, Vulns: 7})), 0o644)
	os.WriteFile("/tmp/rep/bad.html", write(t, reporttest.Data(t, reporttest.Image{Packages: 120, Vulns: 12, Bad: true, Platforms: []string{"linux/amd64", "linux/arm64"}})), 0o644)
}

func BenchmarkWrite(b *testing.B) {
	d := reporttest.Data(b, reporttest.Image{Packages: 300, Vulns: 20})
	b.ReportAllocs()
	for b.Loop() {
		write(b, d)
	}
}
