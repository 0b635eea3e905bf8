#!/bin/sh
# Measures what the Dagger modules cost, beside pathctl itself and beside the same
# work by hand: the peers' own commands (ko, syft, trivy, cosign), a withExec step
# each, in one container. The service, the database and the registry are the same,
# and the three run in turns on one machine: medians of N (5) runs in seconds, and
# their ratios. Loading is measured cold (an engine whose cache was pruned) once,
# since that takes minutes to repeat.
set -eu
cd "$(dirname "$0")/.."
n=${N:-5}
peers=$(scripts/peers.sh)
(cd ci/bench && CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false' GOWORK=off go build -o ../../.bench/bench .)
ours=
[ -n "${_EXPERIMENTAL_DAGGER_RUNNER_HOST:-}" ] || scripts/engine.sh status >/dev/null 2>&1 || ours=yes
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
mkdir -p "$work/trivy" "$work/keys" "$work/predicates"
bin/pathctl vulndb make examples/vulndb --out "$work/trivy/db" >/dev/null
(cd "$work/keys" && COSIGN_PASSWORD='' "$peers/cosign" generate-key-pair >/dev/null 2>&1)
# What a script would write with a few lines of shell.
echo '{"buildDefinition":{"buildType":"https://example.com/ci/v1","externalParameters":{"source":"."},"resolvedDependencies":[]},"runDetails":{"builder":{"id":"https://example.com/ci"}}}' >"$work/predicates/provenance.json"
echo '{"result":"PASSED","configuration":[{"name":"go test"}]}' >"$work/predicates/test-result.json"

functions() { dagger --silent functions -m modules/microservice; }
through() {
	dagger --silent call -m modules/microservice --tool bin/pathctl --go-image "$PATHS_GO_IMAGE" ship --source "$src" \
		--registry "$PATHS_REGISTRY/bench" --tunnel "tcp://$PATHS_REGISTRY" --attester-key "file://$PATHS_HOME/keys/attester.key" \
		--verifier-key "file://$PATHS_HOME/keys/verifier.key" --trust "$PATHS_HOME" --vuln-db "$work/trivy/db" digest
}
direct() { bin/pathctl ship "$src" --to "$PATHS_REGISTRY/bench/orders:latest" --vuln-db "$work/trivy/db"; }

# by_hand is ship as somebody writes it who has the peers' tools and no module. It
# takes a shortcut where a tool has one, as make bench does: both SBOMs in one run,
# no look for updates, no transparency log. With a host that ends in .local the
# tools speak plain HTTP; the engine's own telemetry would disturb the service's tests.
by_hand() {
	in=registry.local:${PATHS_REGISTRY##*:}/bench
	pipeline="container | from $PATHS_GO_IMAGE
		| with-service-binding registry.local tcp://$PATHS_REGISTRY
		| with-mounted-directory /peers \$(host | directory $peers)
		| with-mounted-directory /trivy \$(host | directory $work/trivy)
		| with-mounted-directory /predicates \$(host | directory $work/predicates)
		| with-mounted-secret /keys/cosign.key file://$work/keys/cosign.key
		| with-mounted-file /keys/cosign.pub \$(host | file $work/keys/cosign.pub)
		| with-mounted-cache /gomod \$(cache-volume bench-gomod) | with-env-variable GOMODCACHE /gomod
		| with-mounted-cache /gocache \$(cache-volume bench-gocache) | with-env-variable GOCACHE /gocache
		| with-env-variable CGO_ENABLED 0 | with-env-variable COSIGN_PASSWORD \"\"
		| with-env-variable SYFT_CHECK_FOR_APP_UPDATE false
		| with-env-variable KO_DOCKER_REPO $in/by-hand | with-env-variable KO_DEFAULTBASEIMAGE $in/base:v1
		| with-directory /src \$(host | directory $src --exclude .paths) | with-workdir /src
		| with-exec -- env -u OTEL_EXPORTER_OTLP_TRACES_ENDPOINT -u OTEL_EXPORTER_OTLP_METRICS_ENDPOINT go test -trimpath -coverprofile=/cover.out ./...
		| with-exec --redirect-stdout /ref -- /peers/ko build --bare --platform=linux/amd64 --sbom=none ./cmd/orders
		| with-workdir /out"
	run() { pipeline="$pipeline | with-exec -- sh -c '/peers/$1 \$(cat /ref)'"; }
	run "syft scan -q -o spdx-json=sbom.spdx.json -o cyclonedx-json=sbom.cdx.json --from registry"
	run "trivy image --quiet --image-src remote --scanners vuln,secret --cache-dir /trivy --skip-db-update --skip-java-db-update --offline-scan --skip-version-check --disable-telemetry --format cosign-vuln --output vuln.json"
	run "cosign sign --key /keys/cosign.key --tlog-upload=false --yes"
	while read -r type file; do
		run "cosign attest --key /keys/cosign.key --tlog-upload=false --yes --replace --type $type --predicate $file"
	done <<-EOF
		spdxjson sbom.spdx.json
		cyclonedx sbom.cdx.json
		vuln vuln.json
		slsaprovenance1 /predicates/provenance.json
		https://in-toto.io/attestation/test-result/v0.1 /predicates/test-result.json
	EOF
	run "cosign verify --key /keys/cosign.pub --insecure-ignore-tlog=true"
	for type in spdxjson cyclonedx vuln slsaprovenance1 https://in-toto.io/attestation/test-result/v0.1; do
		run "cosign verify-attestation --key /keys/cosign.pub --insecure-ignore-tlog=true --type $type"
	done
	dagger --silent -M -c "$(echo "$pipeline | file /ref | contents" | tr "\n\t" "  ")"
}
# edit changes what is compiled, so that the image and all its evidence are new.
edit() {
	code=internal/order/order.go
	{ cat "examples/microservice-go/$code" && printf '\nvar edition string\n\nfunc init() { edition = "%s" }\n' "$work-$1"; } >"$src/$code"
}

# seconds COMMAND: how long it took; its failure is ours.
seconds() {
	start=$(date +%s.%N)
	"$@" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err" >&2; echo "scripts/bench-dagger.sh: $1 failed" >&2; exit 1; }
	echo "$start $(date +%s.%N)" | awk '{printf "%.2f\n", $2 - $1}'
}
median() { sort -n "$1" | awk '{v[NR] = $1} END {printf "%.2f", v[int((NR + 1) / 2)]}'; }
ratio() { echo "$1 $2" | awk '{printf "%.2f", $1 / $2}'; }
over() { echo "$1 $2" | awk '{printf "%.2f", $1 - $2}'; }

[ -n "$ours" ] || [ -n "${PRUNE:-}" ] || { echo "scripts/bench-dagger.sh: loading is measured cold, which empties the cache of an engine that others may use: set PRUNE=yes, or unset _EXPERIMENTAL_DAGGER_RUNNER_HOST and stop the engine first: make engine-down" >&2; exit 1; }
dagger --silent core engine local-cache prune >/dev/null
cold=$(seconds functions)
# Each compiles the service's dependencies once. The peers' base image is that of
# ours, so ours go first.
seconds through >/dev/null
seconds direct >/dev/null
.bench/bench base "$PATHS_REGISTRY/bench/orders:latest" "$PATHS_REGISTRY/bench/base:v1"
seconds by_hand >/dev/null
for i in $(seq "$n"); do
	seconds functions >>"$work/functions"
	seconds through >>"$work/same.dagger"
	seconds direct >>"$work/same.direct"
	edit "$i"
	seconds through >>"$work/edit.dagger"
	seconds direct >>"$work/edit.direct"
	seconds by_hand >>"$work/edit.hand"
done
warm=$(median "$work/functions")
sd=$(median "$work/same.dagger") sp=$(median "$work/same.direct")
ed=$(median "$work/edit.dagger") ep=$(median "$work/edit.direct") eh=$(median "$work/edit.hand")
cat <<EOF
load-cold     ${cold} s                          dagger functions, after pruning the engine's cache (n=1)
load-warm     ${warm} s   $(ratio "$warm" "$cold") of cold            dagger functions (n=$n)
unchanged     ${sd} s / ${sp} s = $(ratio "$sd" "$sp")       dagger call ship / pathctl ship, nothing changed; goal at most 5 s
edited        ${ed} s / ${ep} s = $(ratio "$ed" "$ep")       dagger call ship / pathctl ship, after an edit of the source
by-hand       ${ed} s / ${eh} s = $(ratio "$ed" "$eh")       dagger call ship / the peers' commands as withExec steps, after an edit
overhead      $(over "$ed" "$ep") s edited, $(over "$sd" "$sp") s unchanged   of the module layer over pathctl ship; goal at most 3 s
load          $(cut -d' ' -f1-3 /proc/loadavg)
EOF
