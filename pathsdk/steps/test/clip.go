package test

import (
	"bytes"
	"fmt"
)

// Bounds of what hostile code can make us keep. A clip keeps the beginning and
// the end.
const (
	maxLine  = 1 << 20   // one line of the go command's stream
	clipHead = 64 << 10  // of what one package printed
	clipTail = 192 << 10 // likewise
	maxTail  = 8 << 10   // of what one test printed
	maxKept  = 64 << 20  // of everything together
	maxTests = 200_000
	maxName  = 4 << 10
)

// clip keeps the beginning and the end of what is written to it.
type clip struct {
	head, last []byte
	lost       int
}

// Write implements io.Writer; it never fails.
func (c *clip) Write(p []byte) (int, error) {
	n := len(p)
	if free := clipHead - len(c.head); free > 0 {
		k := min(free, len(p))
		c.head = append(c.head, p[:k]...)
		p = p[k:]
	}
	c.last = append(c.last, p...)
	// Cut seldom, so that many small writes stay cheap.
	if over := len(c.last) - clipTail; over > clipTail {
		c.lost += over
		c.last = append([]byte(nil), c.last[over:]...)
	}
	return n, nil
}

func (c *clip) bytes() []byte {
	last, lost := c.last, c.lost
	if over := len(last) - clipTail; over > 0 {
		last, lost = last[over:], lost+over
	}
	if lost == 0 {
		return append(bytes.Clone(c.head), last...)
	}
	return fmt.Appendf(bytes.Clone(c.head), "\n... %d bytes left out ...\n%s", lost, last)
}

func (c *clip) String() string { return string(c.bytes()) }

// tail is the end, at most n bytes.
func (c *clip) tail(n int) string {
	b := c.bytes()
	return string(b[max(0, len(b)-n):])
}

// lineWriter cuts a stream into lines. Of a line longer than max it passes
// nothing on but a note.
type lineWriter struct {
	line    func([]byte)
	max     int
	partial []byte
	skip    bool
}

// Write implements io.Writer; it never fails.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if !w.skip {
			if len(w.partial)+len(part) > w.max {
				w.skip, w.partial = true, nil
				w.line([]byte("(a line without end was left out)"))
			} else {
				w.partial = append(w.partial, part...)
			}
		}
		if i < 0 {
			return n, nil
		}
		if !w.skip && len(w.partial) > 0 {
			w.line(w.partial)
		}
		w.skip, w.partial = false, w.partial[:0]
		p = p[i+1:]
	}
}

// close passes on what no newline ended.
func (w *lineWriter) close() {
	if len(w.partial) > 0 {
		w.line(w.partial)
		w.partial = nil
	}
}
