#!/bin/sh
# Puts SIZES ("80 250") PipelineRuns at once through a Kubernetes with Tekton, each size by
# itself, to a signed verdict, and says whether one was lost or attested twice, how long
# signatures took, and what the controller needed. It fails where a goal is missed. Numbers
# are in .bench/tekton.json; with --json they are printed instead of the table.
#
# A run is a small Go service with a commit and an image repository of its own, through the
# same Pipeline that tenants have. The image with Go has the standard library compiled, or
# compiling it would be all that is measured. With CHAINS set, or where Tekton Chains is
# installed in the cluster, its signing of the same runs has a line beside ours.
# scripts/tekton.sh says what is started, and what that needs.
set -eu
cd "$(dirname "$0")/.."
json=
case "${1:-}" in
"") ;;
--json) json=yes ;;
*) echo "usage: scripts/bench-tekton.sh [--json]; SIZES names how many runs, as in SIZES='5 20'" >&2; exit 2 ;;
esac
. scripts/tekton.sh
export PATHS_BENCH_SIZES="${SIZES:-80 250}" PATHS_BENCH_JSON="$root/.bench/tekton.json" PATHS_BENCH_TABLE="$root/.bench/tekton.txt"
rm -f "$PATHS_BENCH_JSON" "$PATHS_BENCH_TABLE"
code=0
go test -vet=off -tags e2e -timeout "${TIMEOUT:-6h}" -count=1 -run '^TestBenchTekton$' -v ./tekton/ >&2 || code=$?
if [ -n "$json" ]; then cat "$PATHS_BENCH_JSON"; else cat "$PATHS_BENCH_TABLE"; fi || code=1
exit $code
