#!/bin/sh
# Measures what the Dagger modules cost, beside pathctl itself, with the same
# service, keys, database and registry, in turns on the same machine: medians of N
# (5) runs in seconds, and their ratios. Loading is measured cold (an engine whose
# cache was pruned) once, since that takes minutes to repeat.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
n=${N:-5}
ours=
[ -n "${_EXPERIMENTAL_DAGGER_RUNNER_HOST:-}" ] || ours=yes
exports=$(scripts/engine.sh up)
eval "$exports"
work=$(mktemp -d)
clean() {
	code=$?
	rm -rf "$work"
	[ -z "$ours" ] || scripts/engine.sh down
	exit $code
}
trap clean EXIT
trap 'exit 130' INT TERM
[ -n "${PATHS_GO_IMAGE:-}" ] || { echo "scripts/bench-dagger.sh: PATHS_GO_IMAGE is not set: give an image with Go, by digest, and PATHS_REGISTRY, a registry on loopback" >&2; exit 1; }

export PATHS_HOME=$work/home
src=$work/microservice-go
cp -r examples/microservice-go "$src"
rm -rf "$src/.paths"
bin/pathctl key init >/dev/null
bin/pathctl vulndb make examples/vulndb --out "$work/vulndb" >/dev/null

functions() { dagger --silent functions -m modules/microservice; }
through() {
	dagger --silent call -m modules/microservice --tool bin/pathctl --go-image "$PATHS_GO_IMAGE" ship --source "$src" \
		--registry "$PATHS_REGISTRY/bench" --tunnel "tcp://$PATHS_REGISTRY" --attester-key "file://$PATHS_HOME/keys/attester.key" \
		--verifier-key "file://$PATHS_HOME/keys/verifier.key" --trust "$PATHS_HOME" --vuln-db "$work/vulndb" digest
}
direct() { bin/pathctl ship "$src" --to "$PATHS_REGISTRY/bench/orders:latest" --vuln-db "$work/vulndb"; }
edit() { printf '\n// %s\n' "$1" >>"$src/internal/api/api.go"; }

# seconds COMMAND: how long it took; its failure is ours.
seconds() {
	start=$(date +%s.%N)
	"$@" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err" >&2; echo "scripts/bench-dagger.sh: $1 failed" >&2; exit 1; }
	echo "$start $(date +%s.%N)" | awk '{printf "%.2f\n", $2 - $1}'
}
median() { sort -n "$1" | awk '{v[NR] = $1} END {printf "%.2f", v[int((NR + 1) / 2)]}'; }
ratio() { echo "$1 $2" | awk '{printf "%.2f", $1 / $2}'; }
over() { echo "$1 $2" | awk '{printf "%.2f", $1 - $2}'; }

dagger --silent core engine local-cache prune >/dev/null
cold=$(seconds functions)
seconds through >/dev/null # compiles the service's dependencies, once for each
seconds direct >/dev/null
for i in $(seq "$n"); do
	seconds functions >>"$work/functions"
	seconds through >>"$work/same.dagger"
	seconds direct >>"$work/same.direct"
	edit "$i"
	seconds through >>"$work/edit.dagger"
	seconds direct >>"$work/edit.direct"
done
warm=$(median "$work/functions")
sd=$(median "$work/same.dagger") sp=$(median "$work/same.direct")
ed=$(median "$work/edit.dagger") ep=$(median "$work/edit.direct")
cat <<EOF
load-cold     ${cold} s                          dagger functions, after pruning the engine's cache (n=1)
load-warm     ${warm} s   $(ratio "$warm" "$cold") of cold            dagger functions (n=$n)
unchanged     ${sd} s / ${sp} s = $(ratio "$sd" "$sp")       dagger call ship / pathctl ship, nothing changed; goal at most 5 s
edited        ${ed} s / ${ep} s = $(ratio "$ed" "$ep")       dagger call ship / pathctl ship, after an edit of the source
overhead      $(over "$ed" "$ep") s edited, $(over "$sd" "$sp") s unchanged   of the module layer over pathctl ship; goal at most 3 s
load          $(cut -d' ' -f1-3 /proc/loadavg)
EOF
