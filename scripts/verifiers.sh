#!/bin/sh
# Builds other verifiers and a registry, once for each version and toolchain, and
# prints the folder that has them. What cosign 3 requires, cosign 2 can't work with, and
# slsa-verifier with neither's: so cosign3 is a tool of ci/trust/go.mod, beside registry,
# cosign2 is one of ci/bench/go.mod, and slsa-verifier one of ci/slsa/go.mod.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false' GOWORK=off

key=$({ go version; cat ci/trust/go.??? ci/trust/registry/*.go ci/bench/go.??? ci/slsa/go.???; } | sha256sum | cut -c1-16)
bin=$root/.bench/verifiers/$key
mkdir -p "$bin"
while read -r name module package; do
	[ ! -x "$bin/$name" ] || continue
	echo "verifiers: building $name, once: some minutes" >&2
	(cd "$module" && go build -ldflags='-s -w' -o "$bin/.$name" "$package")
	mv "$bin/.$name" "$bin/$name"
done <<LIST
cosign2 ci/bench github.com/sigstore/cosign/v2/cmd/cosign
cosign3 ci/trust github.com/sigstore/cosign/v3/cmd/cosign
registry ci/trust ./registry
slsa-verifier ci/slsa github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier
LIST
find "$root/.bench/verifiers" -mindepth 1 -maxdepth 1 ! -name "$key" -exec rm -rf {} +
echo "$bin"
