package controller

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// slots bounds the signing TaskRuns that run at once. Whose run ended first goes first,
// but a tenant with fewer TaskRuns running goes before one with more.
type slots struct {
	mu      sync.Mutex
	max     int
	running map[string]slot    // by name of the TaskRun
	waiting map[string]waiting // by key of the run
	now     func() time.Time
}

type slot struct {
	tenant string
	seen   bool // by the watch, which will say when it ends
	since  time.Time
}

type waiting struct {
	key, tenant string
	ended       time.Time
}

// unseen is how long a TaskRun holds its slot that was created and that no watch has
// told of: it was deleted while the watch was broken.
const unseen = time.Minute

func newSlots(n int) *slots {
	return &slots{max: n, running: map[string]slot{}, waiting: map[string]waiting{}, now: time.Now}
}

// claim takes a slot for a TaskRun of a run. It reports false if the TaskRun has one, since
// it was created then and the watch will tell, or if it is not that run's turn yet: the run
// waits in line then.
func (s *slots) claim(r run, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.running[name]; ok && !s.lost(r) {
		return false
	}
	s.waiting[r.key()] = waiting{r.key(), r.namespace, r.ended}
	if !slices.Contains(s.turn(), r.key()) {
		return false
	}
	delete(s.waiting, r.key())
	s.running[name] = slot{tenant: r.namespace, since: s.now()}
	return true
}

// hold keeps the slot of a TaskRun that runs.
func (s *slots) hold(name, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[name] = slot{tenant: tenant, seen: true}
}

// free gives back the slot of a TaskRun that has ended, or that was never created.
func (s *slots) free(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, name)
}

// leave takes a run out of the line, and reports whether it was in it.
func (s *slots) leave(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was := s.waiting[key]
	delete(s.waiting, key)
	return was
}

// next lists the runs whose turn it is.
func (s *slots) next() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turn()
}

func (s *slots) waits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

func (s *slots) runs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running)
}

// lost reports whether a slot is held by a TaskRun that is none any more.
func (s *slots) lost(r slot) bool { return !r.seen && s.now().Sub(r.since) > unseen }

func (s *slots) turn() []string {
	busy := map[string]int{}
	for name, r := range s.running {
		if s.lost(r) {
			delete(s.running, name)
			continue
		}
		busy[r.tenant]++
	}
	line := make([]waiting, 0, len(s.waiting))
	for _, w := range s.waiting {
		line = append(line, w)
	}
	var keys []string
	for len(keys) < s.max-len(s.running) && len(line) > 0 {
		first := slices.MinFunc(line, func(a, b waiting) int {
			return cmp.Or(cmp.Compare(busy[a.tenant], busy[b.tenant]), a.ended.Compare(b.ended), cmp.Compare(a.key, b.key))
		})
		busy[first.tenant]++
		keys = append(keys, first.key)
		line = slices.DeleteFunc(line, func(w waiting) bool { return w.key == first.key })
	}
	return keys
}
