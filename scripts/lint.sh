#!/bin/sh
# Checks the form of all Go code and of workflows, and vets the code. With CI set it vets
# tools of tests, too: what go vet has not read yet of all that they import takes a while.
set -eu
stale=$(gofmt -l pathsdk tekton examples ci modules 2>/dev/null || :)
[ -z "$stale" ] || { printf 'gofmt would change:\n%s\nrun: gofmt -w %s\n' "$stale" "$(echo $stale)" >&2; exit 1; }
root=$PWD
flows=$(find examples -path '*/.github/workflows/*.y*ml' | sort)
(cd ci/lint && for f in $flows; do go tool actionlint "$root/$f"; done)
[ -z "${CI:-}" ] || for tool in cluster conformance engine mutate sigstore; do
	(cd "ci/$tool" && GOWORK=off go vet -tags=e2e .)
done
exec go vet -tags=e2e,conformance ./...
