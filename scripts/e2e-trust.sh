#!/bin/sh
# Runs the end-to-end tests of signing by identity: a Sigstore on loopback, three
# kinds of registries, and cosign 2 and 3 as other verifiers. All are real, and built
# from their Go modules once for each version; docker-registry is Debian's. E2E
# chooses tests by a regular expression. What was started is stopped.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false}"
fail() { printf 'scripts/e2e-trust.sh: %s\n' "$*" >&2; exit 1; }

if ! command -v docker-registry >/dev/null; then
	[ "$(id -u)" = 0 ] || fail 'there is no docker-registry: install it: sudo apt-get install --no-install-recommends docker-registry'
	echo 'scripts/e2e-trust.sh: installing docker-registry' >&2
	# Its package starts a server, which nobody asked for.
	policy=/usr/sbin/policy-rc.d
	[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made=$policy; }
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker-registry; } >&2 ||
		fail 'docker-registry was not installed; see above'
	[ -z "${made:-}" ] || rm -f "$made"
fi

(cd ci/sigstore && GOWORK=off go vet .)
bin=$(scripts/verifiers.sh)
# A folder of its own: tests stop services.
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_SIGSTORE
scripts/sigstore.sh up >/dev/null
trap 'scripts/sigstore.sh down' EXIT
trap 'exit 130' INT TERM
export PATHS_SIGSTORE_TOOL="$root/bin/sigstore" PATHS_VERIFIERS="$bin"
go test -vet=off -tags e2e -timeout 40m -count=1 -run "${E2E:-^Test(Trust|Adversary)}" -v ./pathsdk/cmd/pathctl/ ${TESTFLAGS:-}
