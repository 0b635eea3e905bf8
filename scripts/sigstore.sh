#!/bin/sh
# Gives this machine a Sigstore of its own, for tests: up, down, purge, or what
# ci/sigstore says when it is asked for nothing.
set -eu
cd "$(dirname "$0")/../ci/sigstore"
export GOWORK=off GOTOOLCHAIN=local
CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false' go build -o ../../bin/sigstore .
unset CGO_ENABLED GOFLAGS
exec ../../bin/sigstore "$@"
