#!/bin/sh
# Runs the end-to-end tests of Tekton: a Kubernetes with Tekton, a Sigstore and a Dagger
# engine are started, the controller and our Tasks are installed, and runs of tenants,
# honest and hostile, are attested or refused, one of them beside Tekton Chains. All are
# real, and built from their Go modules once for each version.
# It needs root on Debian or its like. E2E chooses tests by a regular expression. What was
# started is stopped, unless KEEP is set.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
unset PATHS_KUBECONFIG PATHS_CLUSTER_ISSUER PATHS_CLUSTER_CA
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false}"
# Folders of its own: the tests stop what is in them.
PATHS_CLUSTER=$root/.bench/cluster
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_CLUSTER PATHS_SIGSTORE
engine=
[ -n "${_EXPERIMENTAL_DAGGER_RUNNER_HOST:-}" ] || scripts/engine.sh status >/dev/null 2>&1 || engine=ours
stop() {
	code=$?
	[ -z "$engine" ] || "$root/scripts/engine.sh" down || code=1
	"$root/scripts/cluster.sh" down || code=1
	"$root/scripts/sigstore.sh" down || code=1
	exit $code
}
[ -n "${KEEP:-}" ] || trap stop EXIT
trap 'exit 130' INT TERM

go build -ldflags='-s -w' -o bin/pathctl ./pathsdk/cmd/pathctl
go build -ldflags='-s -w' -o bin/paths-controller ./tekton/controller/cmd/paths-controller
exports=$(scripts/chains.sh)
eval "$exports"
exports=$(scripts/cluster.sh up)
eval "$exports"
scripts/sigstore.sh down # it asks the cluster for its keys, and those may be others now
exports=$(scripts/sigstore.sh up)
eval "$exports"
# For the same service by dagger call, in TestTektonShips alone.
exports=$(scripts/engine.sh up)
eval "$exports"
export PATHS_CLUSTER_TOOL="$root/bin/cluster" PATHS_TOOL="$root/bin/pathctl" PATHS_CONTROLLER="$root/bin/paths-controller"
go test -vet=off -tags e2e -timeout 60m -count=1 -parallel 8 -run "${E2E:-^TestTekton}" -v ./tekton/ ${TESTFLAGS:-}
