#!/bin/sh
# Checks the form of all Go code, and vets it.
set -eu
stale=$(gofmt -l pathsdk examples ci 2>/dev/null || :)
[ -z "$stale" ] || { printf 'gofmt would change:\n%s\nrun: gofmt -w %s\n' "$stale" "$(echo $stale)" >&2; exit 1; }
exec go vet ./...
