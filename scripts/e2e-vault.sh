#!/bin/sh
# Runs the end-to-end tests of signing with a key in a KMS: a HashiCorp Vault with its
# transit engine, a Sigstore on loopback for time and log, and cosign 2 and 3 as other
# verifiers. All are real, and built from their Go modules once for each version. E2E
# chooses tests by a regular expression. What was started is stopped.
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false -gcflags=all=-dwarf=false}"
PATHS_VAULT_TOOL=$(scripts/vault.sh)
PATHS_VERIFIERS=$(scripts/verifiers.sh)
# A folder of its own: tests stop services.
PATHS_SIGSTORE=$PWD/.bench/sigstore
PATHS_SIGSTORE_TOOL=$PWD/bin/sigstore
export PATHS_VAULT_TOOL PATHS_VERIFIERS PATHS_SIGSTORE PATHS_SIGSTORE_TOOL
scripts/sigstore.sh up >/dev/null
trap 'scripts/sigstore.sh down' EXIT
trap 'exit 130' INT TERM
go test -vet=off -tags e2e -timeout 20m -count=1 -run "${E2E:-^TestVault}" -v ./pathsdk/cmd/pathctl/ ${TESTFLAGS:-}
