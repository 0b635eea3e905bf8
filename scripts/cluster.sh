#!/bin/sh
# Gives this machine a Kubernetes with Tekton, for tests: up, down, purge, or what
# ci/cluster says when it is asked for nothing.
set -eu
cd "$(dirname "$0")/../ci/cluster"
export GOWORK=off GOTOOLCHAIN=local
CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false' go build -o ../../bin/cluster .
unset CGO_ENABLED GOFLAGS
exec ../../bin/cluster "$@"
