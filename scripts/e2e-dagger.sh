#!/bin/sh
# Runs the end-to-end tests of the Dagger modules on a real engine, then the checks
# of the repository's own module, and takes down an engine that it started. E2E
# chooses tests by a regular expression; with it, the checks are left out.
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false}"
ours=
[ -n "${_EXPERIMENTAL_DAGGER_RUNNER_HOST:-}" ] || ours=yes
exports=$(scripts/engine.sh up)
eval "$exports"
down() {
	code=$?
	[ -z "${made:-}" ] || rm -f .env
	[ -z "$ours" ] || scripts/engine.sh down || code=1
	exit $code
}
trap down EXIT
trap 'exit 130' INT TERM
(cd ci/engine && go vet . && go test -vet=off -count=1 .)
go test -vet=off -tags e2e -timeout 60m -count=1 ${TESTFLAGS:-} -run "${E2E:-^TestDagger}" -v ./pathsdk/cmd/pathctl/
[ -z "${E2E:-}" ] || exit 0
# The image with Go comes from the engine's registry here; in the wider world the
# default does.
made=
[ -e .env ] || { made=yes; printf 'PATHS_GOIMAGE=%s\n' "$PATHS_GO_IMAGE" >.env; }
code=0
dagger check || code=$?
exit $code
