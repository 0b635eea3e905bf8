package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// coldStart is how long commands take that do nothing but start.
type coldStart struct {
	// Runs by "pathctl version", "trivy --version" and so on.
	Warm    map[string][]time.Duration `json:"warmNs"`
	Evicted map[string][]time.Duration `json:"evictedNs"`
}

// starts measures every command n times in turn, with its file in the page cache
// and without.
func starts(ctx context.Context, n int, commands []command) (coldStart, error) {
	r := coldStart{Warm: map[string][]time.Duration{}, Evicted: map[string][]time.Duration{}}
	for i := range n + 1 {
		for _, c := range commands {
			u, _, err := run(ctx, c)
			if err != nil {
				return r, err
			}
			if i > 0 { // the first run of each brings its file into the cache
				r.Warm[c.name] = append(r.Warm[c.name], u.Wall)
			}
		}
	}
	for range n {
		for _, c := range commands {
			if err := evict(c.args[0]); err != nil {
				return r, err
			}
			u, _, err := run(ctx, c)
			if err != nil {
				return r, err
			}
			r.Evicted[c.name] = append(r.Evicted[c.name], u.Wall)
		}
	}
	return r, nil
}

// evict drops a file from the page cache, and makes sure that it is gone: pages
// that are dirty or that a running process maps stay.
func evict(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	var left, pages int
	for range 20 {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return fmt.Errorf("evict %s: %w", name, err)
		}
		if left, pages, err = resident(f); err != nil {
			return err
		}
		if left*20 <= pages {
			return nil
		}
		// A process that just ended may still hold its pages for a moment.
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("evict %s: %d of %d pages stay in the page cache: is it running?", name, left, pages)
}

// resident counts the pages of a file in the page cache.
func resident(f *os.File) (in, pages int, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_NONE, unix.MAP_SHARED)
	if err != nil {
		return 0, 0, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer func() { _ = unix.Munmap(m) }()
	size := os.Getpagesize()
	vec := make([]byte, (len(m)+size-1)/size)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		return 0, 0, fmt.Errorf("mincore %s: %w", f.Name(), errno)
	}
	for _, b := range vec {
		in += int(b & 1)
	}
	return in, len(vec), nil
}

// fastest is the lowest median of the commands that keep names.
func fastest(runs map[string][]time.Duration, keep func(string) bool) (string, time.Duration) {
	var name string
	var best time.Duration
	for c, list := range runs {
		if m := median(list); keep(c) && (name == "" || m < best) {
			name, best = c, m
		}
	}
	return name, best
}

func median[T ~int64 | ~float64](list []T) T {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
