#!/bin/sh
# Builds Tekton Chains' controller from its Go module, once for each set of versions, and
# prints what to export: the program, and the module's folder, which has its manifests.
set -eu
cd "$(dirname "$0")/../ci/chains"
root=$(cd ../.. && pwd)
export GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false'
key=$({ go env GOVERSION GOARCH; cat go.mod go.sum; } | sha256sum | cut -c1-16)
dir=$root/.bench/chains/$key
if [ ! -x "$dir/controller" ]; then
	echo "chains: building Tekton Chains from its Go module, once: some minutes" >&2
	rm -rf "$dir.new"
	mkdir -p "$dir.new"
	go build -ldflags='-s -w' -o "$dir.new/" tool
	mv "$dir.new" "$dir"
fi
module=$(go list -m -f '{{.Dir}}' github.com/tektoncd/chains)
if [ ! -d "$module/config" ]; then
	go mod download github.com/tektoncd/chains >&2
	module=$(go list -m -f '{{.Dir}}' github.com/tektoncd/chains)
fi
echo "export PATHS_CHAINS='$dir/controller'"
echo "export PATHS_CHAINS_MODULE='$module'"
