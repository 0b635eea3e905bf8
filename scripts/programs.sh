#!/bin/sh
# Builds ahead, and starts nothing, what end-to-end tests build when they first run: the
# programs beside ours, from their Go modules. A part is what a suite needs beyond those
# before it, in the order in which CI runs them: e2e-trust (other verifiers, a Sigstore),
# e2e-vault, e2e-dagger (an engine), e2e-tekton (Tekton Chains, a Kubernetes with Tekton),
# e2e-kyverno. Each is named on standard output once it is built. CI compiles with it while
# tests run. Where their modules can, the programs take the libraries that they don't
# verify with in the versions that our own module has: what two share is compiled once.
set -eu
cd "$(dirname "$0")/.."
# The folders that the suites start theirs in.
export PATHS_CLUSTER="$PWD/.bench/cluster" PATHS_SIGSTORE="$PWD/.bench/sigstore"
for part in "$@"; do
	case $part in
	e2e-trust)
		scripts/verifiers.sh
		scripts/sigstore.sh build
		;;
	e2e-vault) scripts/vault.sh ;;
	e2e-dagger) scripts/engine.sh build ;;
	e2e-tekton)
		scripts/chains.sh
		scripts/cluster.sh build
		;;
	e2e-kyverno) scripts/export.sh ;;
	*)
		echo "scripts/programs.sh: there is no part $part: name e2e-trust, e2e-vault, e2e-dagger, e2e-tekton or e2e-kyverno" >&2
		exit 2
		;;
	esac >/dev/null
	echo "$part"
done
