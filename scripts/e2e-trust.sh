#!/bin/sh
# Runs the end-to-end tests of signing by identity, a job's or that of a person who logs
# in: a Sigstore on loopback, three kinds of registries, and cosign 2 and 3 as other
# verifiers. All are real, and built from their Go modules once for each version;
# docker-registry is Debian's. E2E chooses tests by a regular expression. What was
# started is stopped.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false -gcflags=all=-dwarf=false}"
fail() { printf 'scripts/e2e-trust.sh: %s\n' "$*" >&2; exit 1; }

if ! command -v docker-registry >/dev/null; then
	# Not installed, but taken out of its package: that would start a server, which
	# nobody asked for.
	made=$root/.bench/docker-registry
	if [ ! -x "$made/usr/bin/docker-registry" ]; then
		command -v apt-get >/dev/null || fail 'there is no docker-registry, and no apt-get to get it with: install it'
		rm -rf "$made.new" && mkdir -p "$made.new"
		[ "$(id -u)" != 0 ] || flock -o -w 600 /etc/debian_version apt-get update -qq >&2 # as scripts/e2e.sh
		(cd "$made.new" && flock -o -w 600 /etc/debian_version apt-get download -qq docker-registry >&2 && dpkg-deb -x docker-registry_*.deb .) ||
			fail 'docker-registry was not had from Debian; see above: install it, or run apt-get update as root'
		rm -rf "$made" && mv "$made.new" "$made"
	fi
	PATH=$made/usr/bin:$PATH
	export PATH
fi

bin=$(scripts/verifiers.sh)
# A folder of its own: tests stop services.
PATHS_SIGSTORE=$root/.bench/sigstore
export PATHS_SIGSTORE
scripts/sigstore.sh up >/dev/null
trap 'scripts/sigstore.sh down' EXIT
trap 'exit 130' INT TERM
export PATHS_SIGSTORE_TOOL="$root/bin/sigstore" PATHS_VERIFIERS="$bin"
go test -vet=off -tags e2e -timeout 40m -count=1 -run "${E2E:-^Test(Trust|Adversary)}" -v ./pathsdk/cmd/pathctl/ ${TESTFLAGS:-}
