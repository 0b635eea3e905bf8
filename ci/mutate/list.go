package main

import (
	"fmt"
	"strings"
)

// The list of mutants that no test kills is docs/mutation.md: a table, whose last column
// people write.

const intro = `<!-- written by: make mutate; the last column by hand -->
# What no test of the verifier would notice

` + "`make mutate`" + ` changes the code that decides whether an image is accepted, in one place at a time: it swaps comparisons
and logic, moves limits, changes numbers, keys and cases, drops statements, and returns no error where there was one.
Each change is a mutant, and the tests must fail with it. Those with which they pass stand here, with why that is no
hole; a mutant without a reason fails the command.

`

const head = "| where | what is changed | why no test can or need notice |\n|---|---|---|\n"

// reasons reads the list: why each mutant may survive, by its name.
func reasons(list string) (map[string]string, error) {
	out := map[string]string{}
	_, rows, ok := strings.Cut(list, head)
	if !ok && list != "" {
		return nil, fmt.Errorf("docs/mutation.md has no table that starts with %q", strings.TrimSpace(head))
	}
	for row := range strings.Lines(rows) {
		cells := strings.Split(strings.ReplaceAll(strings.Trim(strings.TrimSpace(row), "|"), `\|`, "\x00"), "|")
		if len(cells) != 3 {
			return nil, fmt.Errorf("docs/mutation.md: want three cells: %s", row)
		}
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(c), "\x00", "|")
		}
		name := cells[0] + ": " + cells[1]
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("docs/mutation.md: a mutant stands there twice: %s", row)
		}
		out[name] = cells[2]
	}
	return out, nil
}

// write makes the list of those mutants. Of others than those that ran, the old reasons
// stay.
func write(all []mutant, fates map[int]fate, why map[string]string) string {
	var rows strings.Builder
	ran, killed := 0, 0
	for _, m := range all {
		f, ok := fates[m.id]
		if ok {
			ran++
		}
		if f == dead {
			killed++
		}
		if reason, known := why[m.String()]; f == survived || f == unreached || !ok && known {
			cell := strings.NewReplacer("|", `\|`)
			fmt.Fprintf(&rows, "| %s %s | %s | %s |\n", m.file, m.fn, cell.Replace(m.what), cell.Replace(reason))
		}
	}
	return intro + fmt.Sprintf("Of %d mutants, %d ran: %d were killed, and %d survived.\n\n", len(all), ran, killed, ran-killed) + head + rows.String()
}
