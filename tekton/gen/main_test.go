package main

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

const (
	tool    = "registry.example.com/paths/pathctl@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	goImage = "registry.example.com/paths/pathctl-go@sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// TestOwnImages: what is written for a cluster names its images, and the placeholders
// nowhere.
func TestOwnImages(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--tool", tool, "--go", goImage, "--out", dir}, &out); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.yaml"))
	if err != nil || len(all) == 0 || !strings.Contains(out.String(), "pipeline/microservice/microservice.yaml\n") {
		t.Fatalf("%v, %v, it printed\n%s", all, err, out.String())
	}
	seen := map[string]bool{}
	for _, name := range all {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(".invalid")) {
			t.Errorf("%s names a placeholder", name)
		}
		for _, image := range []string{tool, goImage} {
			seen[image] = seen[image] || bytes.Contains(raw, []byte("image: "+image+"\n"))
		}
	}
	if !seen[tool] || !seen[goImage] {
		t.Errorf("not both images are used: %v", seen)
	}
}

func TestPush(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	repo := strings.TrimPrefix(srv.URL, "http://") + "/paths/tekton"
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--tool", tool, "--go", goImage, "--push", repo, "--out", t.TempDir()}, &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, repo+"@sha256:") || strings.Count(got, "\n") != 1 {
		t.Errorf("it printed %q", got)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"own images over what is committed": {[]string{"--tool", tool, "--go", goImage}, "--out is missing"},
		"a bundle of placeholders":          {[]string{"--push", "registry.example.com/x"}, "--tool and --go"},
		"a bundle of one placeholder":       {[]string{"--tool", tool, "--push", "registry.example.com/x"}, "--tool and --go"},
		"by tag":                            {[]string{"--tool", "registry.example.com/x:v1", "--go", goImage, "--out", "x"}, "by digest"},
		"an argument":                       {[]string{"x"}, "only flags"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := run(t.Context(), c.args, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
