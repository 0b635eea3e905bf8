package run

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestMACKey makes the key of a zone from many nodes of several runs at once, as
// the first run of a home does: all must have the same one, and keep it.
func TestMACKey(t *testing.T) {
	for range 50 {
		home := t.TempDir()
		var runners []*Runner
		for range 2 {
			r, err := New(Config{Home: home, Self: os.Args[0]})
			if err != nil {
				t.Fatal(err)
			}
			runners = append(runners, r)
		}
		keys := make([][]byte, 8)
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				var err error
				if keys[i], err = runners[i%2].macKey(step.ZoneBuild); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		kept, err := os.ReadFile(filepath.Join(home, "keys", "cache-build.key"))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if !bytes.Equal(k, kept) {
				t.Fatalf("a node has another key than the one that is kept")
			}
		}
		for _, r := range runners {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
