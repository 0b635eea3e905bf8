# What scripts/e2e-tekton.sh, bench-tekton.sh and try-tekton.sh begin with, to be sourced by
# them at the root of the repository: a Kubernetes with Tekton, a Sigstore that knows its
# ServiceAccounts, and the programs that go into it, all real, built from their Go modules
# once for each version. It needs root on Debian or its like. What was started is stopped
# when the script ends, unless KEEP is set. CHAINS builds Tekton Chains as well, and ENGINE
# starts a Dagger engine, unless there is one.
root=$PWD
unset PATHS_KUBECONFIG PATHS_CLUSTER_ISSUER PATHS_CLUSTER_CA PATHS_CHAINS
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false -gcflags=all=-dwarf=false}"
# Not those of make cluster and make sigstore: what is in these is stopped.
PATHS_CLUSTER=$root/.bench/cluster
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_CLUSTER PATHS_SIGSTORE
started=
if [ -n "${ENGINE:-}" ] && [ -z "${_EXPERIMENTAL_DAGGER_RUNNER_HOST:-}" ]; then
	scripts/engine.sh status >/dev/null 2>&1 || started=engine
fi
stop() {
	code=$?
	[ -z "$started" ] || "$root/scripts/engine.sh" down || code=1
	"$root/scripts/cluster.sh" down || code=1
	"$root/scripts/sigstore.sh" down || code=1
	exit $code
}
[ -n "${KEEP:-}" ] || trap stop EXIT
trap 'exit 130' INT TERM HUP

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
if [ -n "${ENGINE:-}" ]; then
	exports=$(scripts/engine.sh up)
	eval "$exports"
fi
export PATHS_CLUSTER_TOOL="$root/bin/cluster" PATHS_TOOL="$root/bin/pathctl" PATHS_CONTROLLER="$root/bin/paths-controller"
