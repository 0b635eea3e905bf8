#!/bin/sh
# Starts a Kubernetes with Tekton and Paved Paths on it, to try: what tekton/README.md shows
# below "Run" can be copied as it stands. Ctrl-C stops it and leaves nothing.
# scripts/tekton.sh says what is started, and what that needs.
set -eu
cd "$(dirname "$0")/.."
. scripts/tekton.sh
go build -o bin/try ./tekton/try
bin/try .bench/tekton
