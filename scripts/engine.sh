#!/bin/sh
# Gives this machine a Dagger engine (up), stops it (down), or removes it with its
# caches (purge). The program that does so is ci/engine, in Go.
set -eu
cd "$(dirname "$0")/../ci/engine"
export GOWORK=off GOTOOLCHAIN=local
CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false' go build -o ../../bin/engine .
unset CGO_ENABLED GOFLAGS
exec ../../bin/engine "$@"
