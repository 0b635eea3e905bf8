#!/bin/sh
# Runs what pathctl policy export writes through the other verifiers: Kyverno's command
# line, policy-controller's tester, and the Go types of what has no command line of that
# kind, or none that can be had. All are built from their Go modules, once for each
# version; a Sigstore on loopback signs by identity. What was started is stopped.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false'

key=$({ go version; cat ci/kyverno/go.mod ci/kyverno/go.sum ci/export/go.mod ci/export/go.sum ci/export/*.go ci/ampel/go.mod ci/ampel/go.sum ci/ampel/*.go; } | sha256sum | cut -c1-16)
bin=$root/.bench/export/$key
mkdir -p "$bin"
while read -r name module package; do
	[ ! -x "$bin/$name" ] || continue
	echo "scripts/e2e-kyverno.sh: building $name, once: some minutes" >&2
	(cd "$module" && GOWORK=off go build -ldflags='-s -w' -o "$bin/.$name" "$package")
	mv "$bin/.$name" "$bin/$name"
done <<LIST
kyverno ci/kyverno github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno
policy-tester ci/export github.com/sigstore/policy-controller/cmd/tester
check ci/export .
ampel-check ci/ampel .
LIST
find "$root/.bench/export" -mindepth 1 -maxdepth 1 ! -name "$key" -exec rm -rf {} +

# A folder of its own, which no other test's services are in.
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_SIGSTORE
scripts/sigstore.sh up >/dev/null
trap 'scripts/sigstore.sh down' EXIT
trap 'exit 130' INT TERM
export PATHS_SIGSTORE_TOOL="$root/bin/sigstore" PATHS_VERIFIERS="$bin"
go test -vet=off -tags e2e -timeout 40m -count=1 -run "${E2E:-^TestExport}" -v ./pathsdk/cmd/pathctl/ ${TESTFLAGS:-}
