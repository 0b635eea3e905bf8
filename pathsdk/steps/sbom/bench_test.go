package sbom

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// BenchmarkStep is the whole step on a small Go image.
func BenchmarkStep(b *testing.B) {
	layout, d := store(b, imageOf(b, "amd64", service(b)))
	benchmark(b, inputsFor(b, layout, d))
}

// BenchmarkTwoPlatforms is the step on an index.
func BenchmarkTwoPlatforms(b *testing.B) {
	layout, d := store(b, imageOf(b, "amd64", service(b)), imageOf(b, "arm64", service(b)))
	benchmark(b, inputsFor(b, layout, d))
}

// BenchmarkBaseImage has a few hundred packages of a distribution and ten
// thousand files as well.
func BenchmarkBaseImage(b *testing.B) {
	var db strings.Builder
	var files []entryFile
	for i := range 400 {
		fmt.Fprintf(&db, "P:package-%d\nV:1.%d-r0\nA:x86_64\nL:MIT\no:source-%d\nT:text\nF:usr/share/p%d\n", i, i, i/3, i)
		for k := range 25 {
			fmt.Fprintf(&db, "R:f%d\n", k)
			files = append(files, entryFile{name: fmt.Sprintf("usr/share/p%d/f%d", i, k), data: []byte("content of a file\n")})
		}
		db.WriteString("\n")
	}
	files = append(files, entryFile{name: "etc/os-release", data: []byte(alpineRelease)}, entryFile{name: "lib/apk/db/installed", data: []byte(db.String())})
	layout, d := store(b, imageOf(b, "amd64", tarOf(b, files...), service(b)))
	benchmark(b, inputsFor(b, layout, d))
}

func benchmark(b *testing.B, in In) {
	b.Helper()
	s, env := New(), newEnv(b)
	if os.Getenv("SBOM_TIMES") != "" {
		env.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	} else {
		env.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		env.Out = b.TempDir()
		b.StartTimer()
		if _, _, err := runStep(b, s, env, in); err != nil {
			b.Fatal(err)
		}
	}
}
