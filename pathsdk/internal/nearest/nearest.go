// Package nearest finds the name that somebody who mistyped one probably meant.
package nearest

import (
	"fmt"
	"slices"
	"strings"
)

// Name returns the element of names that is nearest to word, or "" if none is
// near: at most a third of its letters may differ. Case counts for nothing.
func Name(word string, names []string) string {
	if len(word) > 100 {
		return ""
	}
	best, bestDistance := "", 1+max(1, len(word)/3)
	for _, n := range slices.Sorted(slices.Values(names)) {
		if d := distance(strings.ToLower(word), strings.ToLower(n)); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// Hint is a clause for an error message: the nearest name, and all of them.
func Hint(word string, names []string) string {
	all := strings.Join(slices.Sorted(slices.Values(names)), ", ")
	if all == "" {
		all = "none"
	}
	if n := Name(word, names); n != "" {
		return fmt.Sprintf("did you mean %q? There are: %s", n, all)
	}
	return "there are: " + all
}

// distance is the number of letters to insert, remove, replace or swap with
// their neighbour that turn a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev, cur := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range x {
		cur[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j+1]+1, cur[j]+1, prev[j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				cur[j+1] = min(cur[j+1], before[j-1]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(y)]
}
