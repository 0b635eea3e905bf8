#!/bin/sh
# Runs the unit, script and golden tests. go vet runs on its own (make lint): its
# pass over every dependency would double the time.
#
# Sigstore's conformance cases, slsa-verifier's provenance and runs of Tekton Chains are public
# data that is not part of this repository. PATHS_TESTDATA names the folder that holds them;
# CI always sets it, and with it the tests fail if a case is missing.
set -eu
tags=
if [ -n "${PATHS_TESTDATA:-}" ]; then
	tags=-tags=conformance
elif [ -n "${CI:-}" ]; then
	echo "scripts/test.sh: PATHS_TESTDATA is not set: it must name the folder with sigstore-conformance, slsa-legacy and tekton-chains" >&2
	exit 1
else
	echo "scripts/test.sh: without the public conformance cases; to run them too, set PATHS_TESTDATA to the folder that holds them" >&2
fi
for module in ci/mutate ci/cluster; do # Go modules of their own
	(cd $module && GOWORK=off go test -vet=off .)
done
exec go test -vet=off $tags -timeout 20m ${TESTFLAGS:-} ./...
