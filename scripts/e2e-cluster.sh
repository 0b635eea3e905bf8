#!/bin/sh
# Runs the end-to-end test of the cluster for tests: a Kubernetes with Tekton is started,
# used as examples use it, with a Sigstore that takes its tokens, and stopped without a
# trace. All are real, and built from their Go modules once for each version. It needs
# root on Debian or its like.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
unset PATHS_KUBECONFIG PATHS_CLUSTER_ISSUER PATHS_CLUSTER_CA
# Folders of its own: the test stops what is in them.
PATHS_CLUSTER=$root/.bench/cluster
PATHS_CLUSTER_TOOL=$root/bin/cluster
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_CLUSTER PATHS_CLUSTER_TOOL PATHS_SIGSTORE
scripts/cluster.sh down # and builds the program
trap '"$root/scripts/cluster.sh" down; "$root/scripts/sigstore.sh" down' EXIT
trap 'exit 130' INT TERM
cd "$root/ci/cluster"
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false' GOWORK=off GOTOOLCHAIN=local
go test -tags e2e -timeout 60m -count=1 -run "${E2E:-.}" -v . ${TESTFLAGS:-}
