#!/bin/sh
# Runs the end-to-end tests of the Dagger modules on a real engine, then the checks
# of the repository's own module, and takes down an engine that it started. E2E
# chooses tests by a regular expression; with it, the checks are left out. CHECKS
# names those to run, where others are run elsewhere.
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false -gcflags=all=-dwarf=false}"
ours=
[ -n "${_EXPERIMENTAL_DAGGER_RUNNER_HOST:-}" ] || scripts/engine.sh status >/dev/null 2>&1 || ours=yes
# What an engine may leave on the host: links, mounts, control groups, rules.
traces() {
	ls /sys/class/net
	cut -d' ' -f2 /proc/mounts | sort
	find /sys/fs/cgroup -maxdepth 2 -name buildkit
	find /var/lib/cni 2>/dev/null || :
	for save in iptables-nft-save iptables-legacy-save; do $save 2>/dev/null | grep '^-A' || :; done
}
# What an engine of ours that was killed left is not to be found missing afterwards.
[ -z "$ours" ] || scripts/engine.sh down
before=$(traces)
# An engine of another version is refused: ours, told to say another one of itself,
# and given under another name, since our own is not asked.
if [ -n "$ours" ] && [ -z "${E2E:-}" ]; then
	other=v0.20.8
	_EXPERIMENTAL_DAGGER_VERSION=$other scripts/engine.sh up >/dev/null
	given=$(mktemp -d)
	ln -s "$(scripts/engine.sh status | sed 's|^unix://||')" "$given/engine.sock"
	code=0
	said=$(_EXPERIMENTAL_DAGGER_RUNNER_HOST=unix://$given/engine.sock scripts/engine.sh up 2>&1) || code=$?
	rm -r "$given"
	scripts/engine.sh down
	case "$code $said" in
	"1 "*"is version $other, and this repository needs v"*) printf 'refused, as it must be: %s\n' "$said" ;;
	*)
		echo "scripts/e2e-dagger.sh: an engine of version $other is not refused (exit $code): $said" >&2
		exit 1
		;;
	esac
fi
exports=$(scripts/engine.sh up)
eval "$exports"
down() {
	code=$?
	[ -z "${made:-}" ] || rm -f .env
	[ -z "$ours" ] || scripts/engine.sh down || code=1
	if [ -n "$ours" ] && [ "$(traces)" != "$before" ]; then
		echo "scripts/e2e-dagger.sh: the engine left this behind, or took it away:" >&2
		now=$(mktemp)
		traces >"$now"
		printf '%s\n' "$before" | diff - "$now" >&2 || :
		rm -f "$now"
		code=1
	fi
	exit $code
}
trap down EXIT
trap 'exit 130' INT TERM
[ -n "${PATHS_GO_IMAGE:-}" ] || { echo "scripts/e2e-dagger.sh: PATHS_GO_IMAGE is not set: this engine is not the one that make engine builds; give an image with Go that it can pull, by digest" >&2; exit 1; }
(cd ci/engine && go test -vet=off -count=1 .)
go test -vet=off -tags e2e -timeout 60m -count=1 ${TESTFLAGS:-} -run "${E2E:-^TestDagger}" -v ./pathsdk/cmd/pathctl/
[ -z "${E2E:-}" ] || exit 0
# The image with Go comes from the engine's registry here; in the wider world the
# default does. The tool is the one that the tests above had.
made=
[ -e .env ] || { made=yes; printf 'PATHS_GOIMAGE=%s\nPATHS_TOOL=bin/pathctl\n' "$PATHS_GO_IMAGE" >.env; }
code=0
# shellcheck disable=SC2086 # each word is a check
dagger check ${CHECKS:-} || code=$?
exit $code
