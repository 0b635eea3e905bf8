#!/bin/sh
# Runs the verifier's tests with its code changed, one place at a time, and writes
# docs/mutation.md. MUTATE_BUDGET (such as 20m) bounds how long: then a sample runs,
# which MUTATE_SEED (1) chooses. MUTATE_ONLY, a regular expression, chooses by name.
# MUTATE_QUICK=true leaves out the slow tests, those of pathctl.
set -eu
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false -gcflags=all=-dwarf=false}" GOWORK=off
root=$PWD
bin=$root/.bench/mutate
(cd ci/mutate && go build -o "$bin" .)
exec nice -n 10 "$bin" -root "$root" -budget "${MUTATE_BUDGET:-0}" -seed "${MUTATE_SEED:-1}" -quick="${MUTATE_QUICK:-false}" -only "${MUTATE_ONLY:-}"
