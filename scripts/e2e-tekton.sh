#!/bin/sh
# Runs the end-to-end tests of Tekton: the controller and our Tasks are installed on a
# cluster, and runs of tenants, honest and hostile, are attested or refused, one of them
# beside Tekton Chains. scripts/tekton.sh says what is started for them, and what that needs.
# E2E chooses tests by a regular expression.
set -eu
cd "$(dirname "$0")/.."
CHAINS=yes
ENGINE=yes # for the same service by dagger call, in TestTektonShips
. scripts/tekton.sh
go test -vet=off -tags e2e -timeout 60m -count=1 -parallel 8 -run "${E2E:-^TestTekton}" -v ./tekton/ ${TESTFLAGS:-}
