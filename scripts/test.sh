#!/bin/sh
# Runs the unit, script and golden tests. go vet runs on its own (make lint): its
# pass over every dependency would double the time.
set -eu
exec go test -vet=off -timeout 20m ${TESTFLAGS:-} ./...
