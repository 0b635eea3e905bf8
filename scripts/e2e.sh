#!/bin/sh
# Runs the end-to-end tests against real processes: the report in Chromium, the
# hostile service, kill -9 at every stage, faults of the registry.
set -eu
if ! command -v chromium >/dev/null; then
	if [ "$(id -u)" != 0 ]; then
		echo "scripts/e2e.sh: chromium is missing; install it: sudo apt-get install chromium fonts-dejavu-core" >&2
		exit 1
	fi
	echo "scripts/e2e.sh: installing chromium" >&2
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
exec go test -vet=off -tags e2e -timeout 60m ${TESTFLAGS:-} -run 'E2E|Browser' ./pathsdk/cmd/pathctl/
