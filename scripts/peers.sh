#!/bin/sh
# Builds the peers, the tools of ci/bench/go.mod (ko, syft, trivy, cosign), once for
# each version and toolchain, and prints the folder that has them.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false' GOWORK=off

cd ci/bench
tools=$(go list -e tool) # -e: trivy does not load without its experiment
flags='-ldflags=-s -w'
key=$({ go version; echo "$flags"; cat go.mod go.sum; } | sha256sum | cut -c1-16)
bin=$root/.bench/bin/$key
mkdir -p "$bin"
for tool in $tools; do
	name=$(basename "$tool")
	[ ! -x "$bin/$name" ] || continue
	echo "bench: building $name, once: a peer links hundreds of client libraries, which takes minutes (trivy: ten of CPU time, and 4 GB of memory)" >&2
	# trivy needs an experiment of the toolchain; the others are built without, as
	# pathctl is, and share compiled packages with it.
	experiment=
	[ "$name" != trivy ] || experiment=jsonv2
	GOEXPERIMENT=$experiment go build "$flags" -o "$bin/.$name" "$tool"
	mv "$bin/.$name" "$bin/$name"
done
find "$root/.bench/bin" -mindepth 1 -maxdepth 1 ! -name "$key" -exec rm -rf {} +
echo "$bin"
