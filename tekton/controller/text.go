package controller

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of text, in bytes: the API server takes 1024 for an event's message.
const (
	maxEvent   = 1000
	maxMessage = 500 // of a signer or the API server
	maxNote    = 300 // of an annotation
	maxQuote   = 120 // of a value that is quoted
)

// clean makes text from outside fit for one line of a terminal: what could move the
// cursor or turn the text around becomes a space, and what is too long ends in an
// ellipsis.
func clean(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit] // before the work, whatever was sent
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= limit {
		return s
	}
	const more = "…"
	s = s[:limit-len(more)]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + more
}
