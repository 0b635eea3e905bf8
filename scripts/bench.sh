#!/bin/sh
# Compares bin/pathctl with the peers' own commands; `make bench` builds it first.
# Flags go to the program: scripts/bench.sh -n 1
set -eu
cd "$(dirname "$0")/.."
[ -x bin/pathctl ] || { echo "scripts/bench.sh: there is no bin/pathctl; run: make bench" >&2; exit 1; }
bin=$(scripts/peers.sh)
(cd ci/bench && CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false' GOWORK=off go build -o ../../.bench/bench .)
exec .bench/bench -peers "$bin" "$@"
