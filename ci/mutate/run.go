package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// suite is one package's tests with all mutants in them.
type suite struct {
	dir, binary string
	root, work  string
	// tests reach mutants, by their numbers, and take that long.
	tests []reach
}

type reach struct {
	name    string
	mutants map[int]bool
	took    time.Duration
}

func controlFile(work string) string { return filepath.Join(work, "on") }

// build compiles the tests of one package, once for all mutants.
func build(root, work, overlay, dir string) (*suite, error) {
	s := &suite{dir: dir, root: root, work: work, binary: filepath.Join(work, strings.ReplaceAll(dir, "/", "_")+".test")}
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", s.binary, "./"+dir)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the tests of %s can't be built with mutants: %w\n%s", dir, err, out)
	}
	return s, nil
}

// look runs each test whose name matches by itself, without a mutant, and notes which
// mutants it reaches. Tests must pass.
func (s *suite) look(match string) error {
	if err := os.WriteFile(controlFile(s.work), nil, 0o644); err != nil {
		return err
	}
	out, err := s.run(time.Minute, "-test.list", match)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", s.dir, err, out)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "Fuzz") && !strings.HasPrefix(name, "Example") {
			continue
		}
		seen := filepath.Join(s.work, "seen")
		if err := os.WriteFile(seen, nil, 0o666); err != nil {
			return err
		}
		if err := os.WriteFile(controlFile(s.work), []byte(seen), 0o644); err != nil {
			return err
		}
		start := time.Now()
		out, err := s.run(10*time.Minute, "-test.run", "^"+name+"$")
		if err != nil {
			return fmt.Errorf("%s: %s fails without any mutant: %w\n%s\nfix: make test", s.dir, name, err, out)
		}
		r := reach{name: name, mutants: map[int]bool{}, took: time.Since(start)}
		b, err := os.ReadFile(seen)
		if err != nil {
			return err
		}
		for line := range strings.FieldsSeq(string(b)) {
			if id, err := strconv.Atoi(line); err == nil {
				r.mutants[id] = true
			}
		}
		s.tests = append(s.tests, r)
	}
	// What is quick is asked first.
	slices.SortStableFunc(s.tests, func(a, b reach) int { return int(a.took - b.took) })
	return nil
}

// kills reports whether a test that reaches the mutant fails with it, or doesn't end.
// reached is false if none does.
func (s *suite) kills(id int) (killed, reached bool, err error) {
	var names []string
	took := time.Duration(0)
	for _, t := range s.tests {
		if t.mutants[id] {
			names = append(names, regexp.QuoteMeta(t.name))
			took += t.took
		}
	}
	if len(names) == 0 {
		return false, false, nil
	}
	if err := os.WriteFile(controlFile(s.work), []byte(strconv.Itoa(id)), 0o644); err != nil {
		return false, true, err
	}
	// The quickest tests alone kill most.
	for size := 4; len(names) > 0; size *= 2 {
		some := names[:min(size, len(names))]
		names = names[len(some):]
		_, err := s.run(20*time.Second+4*took, "-test.failfast", "-test.run", "^("+strings.Join(some, "|")+")$")
		var failed *exec.ExitError
		switch {
		case errors.As(err, &failed):
			return true, true, nil
		case err != nil:
			return false, true, err
		}
	}
	return false, true, nil
}

// run runs the tests in their folder, with a folder for temporary files that is removed
// then, and ends all that they have started.
func (s *suite) run(limit time.Duration, args ...string) ([]byte, error) {
	tmp := filepath.Join(s.work, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Dir = filepath.Join(s.root, s.dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well, and something that it left behind held its output
	}
	return out.Bytes(), err
}
