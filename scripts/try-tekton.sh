#!/bin/sh
# Starts a Kubernetes with Tekton and Paved Paths on it, to try: the commands with which part
# "Run" of tekton/README.md begins can be copied as they stand. Ctrl-C stops it, unless KEEP
# is set. scripts/tekton.sh says what is started, and what that needs. It is the cluster and
# the Sigstore of the end-to-end tests: in this checkout they can't run meanwhile.
set -eu
cd "$(dirname "$0")/.."
. scripts/tekton.sh
go build -o bin/try ./tekton/try
rm -rf .bench/tekton # of last time
bin/try .bench/tekton
