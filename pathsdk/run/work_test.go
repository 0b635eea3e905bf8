package run

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestClaimBesideSweep: a folder that is being claimed is neither refused nor swept,
// whoever looks for old ones at that moment.
func TestClaimBesideSweep(t *testing.T) {
	base := t.TempDir()
	stop := make(chan struct{})
	var sweepers sync.WaitGroup
	for range 4 {
		sweepers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					sweep(base)
				}
			}
		})
	}
	for i := range 2000 {
		dir, lock, err := claim(base, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
			t.Fatalf("the folder is gone: %v", err)
		}
		if _, err := os.Stat(dir + ".lock"); err != nil {
			t.Fatalf("nothing says that the folder is in use: %v", err)
		}
		_ = lock.Close()
	}
	close(stop)
	sweepers.Wait()
	sweep(base)
	if left, _ := os.ReadDir(base); len(left) > 0 {
		t.Errorf("%d folders are left", len(left))
	}
}
