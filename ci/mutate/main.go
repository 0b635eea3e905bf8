// Command mutate finds out what the tests of the verifier would not notice: it changes
// the code that decides whether an image is accepted in one place at a time, and runs
// the tests that reach the place. The changes are built into the tests once, through an
// overlay: nothing in the tree is changed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fate is what became of a mutant.
type fate int

const (
	dead fate = iota + 1
	survived
	unreached // no test runs the place
)

// errUnexplained is exit code 3.
var errUnexplained = errors.New("mutants survived that docs/mutation.md doesn't explain\n  fix: write a test that fails with them, or say in the last column why none can or need")

// errUsage is exit code 2.
var errUsage = errors.New("nothing to run")

func main() {
	root := flag.String("root", ".", "the repository")
	only := flag.String("only", "", "a regular expression: run the mutants whose names match, and leave the list alone")
	quick := flag.Bool("quick", false, "leave out pathctl's own tests, which take longest")
	budget := flag.Duration("budget", 0, "how long mutants may run; then a sample must do (0 is as long as it takes)")
	seed := flag.Uint64("seed", 1, "the order in which mutants run: with a budget, which of them")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "mutate runs the verifier's tests with its code changed, and lists in docs/mutation.md what they don't notice.\n\n"+
			"  make mutate\n  MUTATE_BUDGET=20m make mutate\n  MUTATE_ONLY='policy/admit.go' make mutate\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "mutate: want no arguments, and a regular expression for -only (%v)\n", err)
		os.Exit(2)
	}
	dir, err := filepath.Abs(*root)
	if err == nil {
		// Interrupted, it stops as when its time is up.
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = mutate(ctx, dir, match, *quick, *only == "", *budget, *seed)
	}
	switch {
	case errors.Is(err, errUnexplained):
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(3)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "mutate: %v\n  fix: give a part of a file's or function's name, such as policy/admit.go\n", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func mutate(ctx context.Context, root string, match *regexp.Regexp, quick, keep bool, budget time.Duration, seed uint64) error {
	file := filepath.Join(root, "docs", "mutation.md")
	list, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	why, err := reasons(string(list))
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	all, files, err := load(root, controlFile(work))
	if err != nil {
		return err
	}
	over, err := overlay(work, files)
	if err != nil {
		return err
	}
	var tests []func() (*suite, error) // each is built when it is first asked
	for i := range suites {
		tests = append(tests, sync.OnceValues(func() (*suite, error) { return prepare(root, work, over, i) }))
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !match.MatchString(m.String()) })
	if len(chosen) == 0 {
		return fmt.Errorf("%w: of %d mutants none has a name that matches %s", errUsage, len(all), match)
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	fates := map[int]fate{}
	start := time.Now()
	for i, m := range chosen {
		if ctx.Err() != nil || budget > 0 && time.Since(start) > budget {
			break
		}
		those := tests
		if quick || why[m.String()] != "" {
			those = tests[:len(tests)-1]
		}
		own := slices.IndexFunc(suites, func(s struct{ dir, tests string }) bool { return s.dir == path.Dir(m.file) })
		f, err := try(those[own:], m)
		if err != nil {
			return err
		}
		fates[m.id] = f
		if f != dead {
			mark := "explained "
			if why[m.String()] == "" {
				mark = "SURVIVED  "
			}
			fmt.Printf("%s %s\n", mark, m)
		}
		if (i+1)%100 == 0 {
			fmt.Printf("ran        %d of %d, %s\n", i+1, len(chosen), time.Since(start).Round(time.Second))
		}
	}
	if keep {
		if err := os.WriteFile(file, []byte(write(all, fates, why)), 0o644); err != nil {
			return err
		}
	}
	return summary(all, fates, why)
}

// try asks one suite after the other, until one kills the mutant.
func try(tests []func() (*suite, error), m mutant) (fate, error) {
	f := unreached
	for _, built := range tests {
		s, err := built()
		if err != nil {
			return 0, err
		}
		killed, reached, err := s.kills(m.id)
		switch {
		case err != nil || killed:
			return dead, err
		case reached:
			f = survived
		}
	}
	return f, nil
}

// prepare builds the suite of that number, and sees which mutants its tests reach.
func prepare(root, work, over string, i int) (*suite, error) {
	start := time.Now()
	s, err := build(root, work, over, suites[i].dir)
	if err != nil {
		return nil, err
	}
	if err := s.look(suites[i].tests); err != nil {
		return nil, err
	}
	fmt.Printf("built      %s: %d tests, %s\n", s.dir, len(s.tests), time.Since(start).Round(time.Second))
	return s, nil
}

func summary(all []mutant, fates map[int]fate, why map[string]string) error {
	killed, open := 0, 0
	for _, m := range all {
		switch f, ok := fates[m.id]; {
		case f == dead:
			killed++
			if why[m.String()] != "" {
				fmt.Printf("no longer  %s\n", m)
			}
		case ok && why[m.String()] == "":
			open++
		}
	}
	note := "all explained"
	if open > 0 {
		note = fmt.Sprintf("%d not explained", open)
	}
	sample := ""
	if n := len(all); len(fates) < n {
		sample = fmt.Sprintf(" of %d", n)
	}
	fmt.Printf("%s\n", strings.TrimSpace(fmt.Sprintf("%d%s mutants, %d killed, %d survived (%s)", len(fates), sample, killed, len(fates)-killed, note)))
	if open > 0 {
		return errUnexplained
	}
	return nil
}
