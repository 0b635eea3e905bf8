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
#
# It needs root on Debian or its like. What was started is stopped, unless KEEP is set.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
json=
case "${1:-}" in
"") ;;
--json) json=yes ;;
*) echo "usage: scripts/bench-tekton.sh [--json]; SIZES names how many runs, as in SIZES='5 20'" >&2; exit 2 ;;
esac
unset PATHS_KUBECONFIG PATHS_CLUSTER_ISSUER PATHS_CLUSTER_CA PATHS_CHAINS
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false}"
# Folders of its own: what is in them is stopped.
PATHS_CLUSTER=$root/.bench/cluster
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_CLUSTER PATHS_SIGSTORE
stop() {
	code=$?
	"$root/scripts/cluster.sh" down || code=1
	"$root/scripts/sigstore.sh" down || code=1
	exit $code
}
[ -n "${KEEP:-}" ] || trap stop EXIT
trap 'exit 130' INT TERM

go build -ldflags='-s -w' -o bin/pathctl ./pathsdk/cmd/pathctl
go build -ldflags='-s -w' -o bin/paths-controller ./tekton/controller/cmd/paths-controller
if [ -n "${CHAINS:-}" ]; then
	exports=$(scripts/chains.sh)
	eval "$exports"
fi
exports=$(scripts/cluster.sh up)
eval "$exports"
scripts/sigstore.sh down # it asks the cluster for its keys, and those may be others now
exports=$(scripts/sigstore.sh up)
eval "$exports"
export PATHS_CLUSTER_TOOL="$root/bin/cluster" PATHS_TOOL="$root/bin/pathctl" PATHS_CONTROLLER="$root/bin/paths-controller"
export PATHS_BENCH_SIZES="${SIZES:-80 250}" PATHS_BENCH_JSON="$root/.bench/tekton.json" PATHS_BENCH_TABLE="$root/.bench/tekton.txt"
rm -f "$PATHS_BENCH_JSON" "$PATHS_BENCH_TABLE"
code=0
go test -vet=off -tags e2e -timeout "${TIMEOUT:-6h}" -count=1 -run '^TestBenchTekton$' -v ./tekton/ >&2 || code=$?
if [ -n "$json" ]; then cat "$PATHS_BENCH_JSON"; else cat "$PATHS_BENCH_TABLE"; fi || code=1
exit $code
