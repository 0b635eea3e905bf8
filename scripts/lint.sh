#!/bin/sh
# Checks the form of all Go code and of workflows, and vets the code.
set -eu
stale=$(gofmt -l pathsdk tekton examples ci modules 2>/dev/null || :)
[ -z "$stale" ] || { printf 'gofmt would change:\n%s\nrun: gofmt -w %s\n' "$stale" "$(echo $stale)" >&2; exit 1; }
root=$PWD
flows=$(find examples -path '*/.github/workflows/*.y*ml' | sort)
(cd ci/lint && for f in $flows; do go tool actionlint "$root/$f"; done)
exec go vet ./...
