#!/bin/sh
# Runs the end-to-end tests against real processes: the report in Chromium, a
# hostile service, kill -9 at every stage, faults of registries, full disks,
# strange sources, reproducibility, and the example's golden evidence. E2E chooses
# tests by a regular expression. Nothing is skipped: what is missing is a failure.
set -eu
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false -gcflags=all=-dwarf=false}"
fail() { printf 'scripts/e2e.sh: %s\n' "$*" >&2; exit 1; }

if ! command -v chromium >/dev/null; then
	[ "$(id -u)" = 0 ] || fail 'there is no chromium for the report: install it: sudo apt-get install --no-install-recommends chromium fonts-dejavu-core'
	command -v apt-get >/dev/null || fail 'there is no chromium for the report, and no apt-get to install it: install it'
	echo 'scripts/e2e.sh: installing chromium' >&2
	# One at a time: apt-get does not wait for another one's locks. What a package starts
	# does not keep the lock (-o).
	{ flock -o -w 600 /etc/debian_version apt-get update -qq && DEBIAN_FRONTEND=noninteractive flock -o -w 600 /etc/debian_version apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >&2 ||
		fail 'chromium was not installed; see above'
fi
for tool in go git; do
	command -v $tool >/dev/null || fail "there is no $tool: install it"
done

# Waiting for registries takes most of the time, so more run at once than there
# are processors. The tests of this package alone have the tag e2e.
exec go test -vet=off -tags e2e -timeout 60m -parallel 4 -count=1 ${TESTFLAGS:-} -run "${E2E:-^Test(E2E|.*Browser)}" ./pathsdk/cmd/pathctl/
