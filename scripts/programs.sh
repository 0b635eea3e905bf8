#!/bin/sh
# Builds ahead, and starts nothing, what end-to-end tests build when they first run: the
# programs beside ours, from their Go modules. The parts are those of "signing" (other
# verifiers, a Sigstore, a Vault) and of "hosts" (a Kubernetes with Tekton, Tekton Chains,
# a Dagger engine); each is named on standard output once it is built. CI compiles with it
# while tests wait. Where their modules can, they take the libraries that they don't verify
# with in the versions that our own module has: what two of them share is compiled once.
set -eu
cd "$(dirname "$0")/.."
# The folders that the suites start theirs in.
export PATHS_CLUSTER="$PWD/.bench/cluster" PATHS_SIGSTORE="$PWD/.bench/sigstore"
for part in "$@"; do
	case $part in
	signing)
		scripts/verifiers.sh
		scripts/sigstore.sh build
		scripts/export.sh
		scripts/vault.sh
		;;
	hosts)
		scripts/chains.sh
		scripts/engine.sh build
		scripts/cluster.sh build
		;;
	*)
		echo "scripts/programs.sh: there is no part $part: name signing or hosts" >&2
		exit 2
		;;
	esac >/dev/null
	echo "$part"
done
