#!/bin/sh
# Runs the verification cases of Sigstore's conformance suite against the client in
# ci/conformance. They are public data that is not part of this repository:
# SIGSTORE_CONFORMANCE names their folder (test/assets/bundle-verify of
# github.com/sigstore/sigstore-conformance), or PATHS_TESTDATA the one above. The
# public trust root comes with sigstore-go's module.
set -eu
cases=${SIGSTORE_CONFORMANCE:-${PATHS_TESTDATA:+$PATHS_TESTDATA/sigstore-conformance}}
[ -n "$cases" ] || { echo "scripts/conformance.sh: set SIGSTORE_CONFORMANCE to the folder with the cases" >&2; exit 2; }
cases=$(cd "$cases" && pwd)
bin=$PWD/.bench/conformance
cd ci/conformance
go test -vet=off .
go build -o "$bin" .
exec "$bin" run --trusted-root "$(go list -m -f '{{.Dir}}' github.com/sigstore/sigstore-go)/examples/trusted-root-public-good.json" "$cases"
