package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// service is one service that both sides take from source to a verified image.
type service struct {
	name string
	from string // its folder in this repository
	main string // the package to build
	file string // the source file that is edited

	dir      string // a copy, in a git repository of its own
	original []byte // the file before the first edit
	edits    int
	nonce    int64
}

// services are the two that the issue names: the example, and one whose image
// holds a few hundred packages.
func services(root string) []*service {
	return []*service{
		{name: "orders", from: filepath.Join(root, "examples", "microservice-go"), main: "./cmd/orders", file: "internal/order/order.go"},
		{name: "large", from: filepath.Join(root, "ci", "bench", "large"), main: ".", file: "main.go"},
	}
}

// copyTo makes the copy that is edited and built.
func (s *service) copyTo(ctx context.Context, dir string, env []string) error {
	s.dir = filepath.Join(dir, s.name)
	if err := copyTree(s.dir, s.from); err != nil {
		return fmt.Errorf("copy %s: %w", s.from, err)
	}
	var err error
	if s.original, err = os.ReadFile(filepath.Join(s.dir, s.file)); err != nil {
		return err
	}
	// Build caches outlive a run of the benchmark, so no edit may come twice.
	s.nonce = time.Now().UnixNano()
	if err := s.git(ctx, env, "init", "-q"); err != nil {
		return err
	}
	return s.edit(ctx, env)
}

// copyTree copies regular files, without version control and results.
func copyTree(dst, src string) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case e.Name() == ".git" || e.Name() == ".paths":
			return filepath.SkipDir
		case e.IsDir():
			return os.MkdirAll(to, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
}

// edit changes one source file and commits it. The change reaches the machine
// code of the package, so that the package, its importers, the tests' binaries
// and the program are all made anew; a comment, or a constant that nobody uses,
// would leave the program as it was.
func (s *service) edit(ctx context.Context, env []string) error {
	s.edits++
	code := edited(s.original, fmt.Sprintf("%d-%d", s.nonce, s.edits))
	if err := os.WriteFile(filepath.Join(s.dir, s.file), code, 0o644); err != nil {
		return err
	}
	if err := s.git(ctx, env, "add", "-A"); err != nil {
		return err
	}
	return s.git(ctx, env, "commit", "-q", "-m", fmt.Sprintf("Edit %d", s.edits))
}

func edited(original []byte, id string) []byte {
	var b strings.Builder
	b.Write(original)
	fmt.Fprintf(&b, "\nvar edition string\n\nfunc init() { edition = %q }\n", id)
	return []byte(b.String())
}

func (s *service) git(ctx context.Context, env []string, args ...string) error {
	base := []string{"git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false", "-c", "gc.auto=0"}
	_, _, err := run(ctx, command{name: "git", dir: s.dir, env: env, args: append(base, args...)})
	return err
}
