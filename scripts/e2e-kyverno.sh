#!/bin/sh
# Runs what pathctl policy export writes through the other verifiers: Kyverno's command
# line, policy-controller's tester, and the Go types of what has no command line of that
# kind, or none that can be had. All are built from their Go modules, once for each
# version; a Sigstore on loopback signs by identity. What was started is stopped.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false'

bin=$(scripts/export.sh)
# A folder of its own, which no other test's services are in.
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_SIGSTORE
scripts/sigstore.sh up >/dev/null
trap 'scripts/sigstore.sh down' EXIT
trap 'exit 130' INT TERM
export PATHS_SIGSTORE_TOOL="$root/bin/sigstore" PATHS_VERIFIERS="$bin"
go test -vet=off -tags e2e -timeout 40m -count=1 -run "${E2E:-^TestExport}" -v ./pathsdk/cmd/pathctl/ ${TESTFLAGS:-}
