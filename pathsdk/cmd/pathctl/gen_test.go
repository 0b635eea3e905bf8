package main

import (
	"os"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/gen"
	"github.com/pavedpaths/paths/pathsdk/run/host"
)

// What is generated follows from the code: a stale file is a failure.
func TestGeneratedFilesAreFresh(t *testing.T) {
	const repo = "../../.."
	files, err := gen.Files(newRoot(&app{host: host.Host{Home: t.TempDir()}, stdout: os.Stdout, stderr: os.Stderr}), repo)
	if err != nil {
		t.Fatal(err)
	}
	if stale := gen.Check(repo, files); len(stale) > 0 {
		t.Errorf("stale: %v\nrun: make gen", stale)
	}
}
