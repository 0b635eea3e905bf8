#!/bin/sh
# Builds what judges exported policies from its Go modules, once for each version and
# toolchain, and prints the folder that has it.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false'

key=$({ go version; cat ci/kyverno/go.mod ci/kyverno/go.sum ci/export/go.mod ci/export/go.sum ci/export/*.go ci/ampel/go.mod ci/ampel/go.sum ci/ampel/*.go; } | sha256sum | cut -c1-16)
bin=$root/.bench/export/$key
mkdir -p "$bin"
while read -r name module package; do
	[ ! -x "$bin/$name" ] || continue
	echo "export: building $name, once: some minutes" >&2
	(cd "$module" && GOWORK=off go build -ldflags='-s -w' -o "$bin/.$name" "$package")
	mv "$bin/.$name" "$bin/$name"
done <<LIST
kyverno ci/kyverno github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno
policy-tester ci/export github.com/sigstore/policy-controller/cmd/tester
check ci/export .
ampel-check ci/ampel .
LIST
find "$root/.bench/export" -mindepth 1 -maxdepth 1 ! -name "$key" -exec rm -rf {} +
echo "$bin"
