#!/bin/sh
# Runs every fuzz target for FUZZTIME each, little of it on making inputs smaller.
set -eu
grep -rl --include='*_test.go' '^func Fuzz' pathsdk | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file" | while read -r target; do
		echo "== $(dirname "$file") $target"
		go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 1s "./$(dirname "$file")"
	done
done
