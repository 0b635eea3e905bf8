#!/bin/bash
# Compares verifying and signing with the peers' own: sigstore-go as a library for the
# same bundle, and cosign 2 and 3 as commands on the same image, registry and Sigstore.
# N (10) runs of each, by turns; the median counts. A command of pathctl verifies all
# evidence and judges it; one of cosign verifies one type.
#
# slsa-verifier verify-vsa does less than any of them: it reads one VSA from a file, one
# signature by a key, and compares digest, verifier, resource and level. pathctl has no
# command for a VSA in a file: evidence get, which reads image and evidence from the
# registry, verifies all signatures and prints the VSA, comes nearest. slsa-verifier's
# verify-artifact and verify-image ask Sigstore's TUF repository for a root before they
# look at anything: offline they can't be run, nor compared.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
N=${N:-10}
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false -gcflags=all=-dwarf=false}"

echo "verifying one bundle, as a library (ratio: at most 1.3):"
go test ./pathsdk/attest -run '^$' -bench VerifyIdentity -benchtime 3s -count 3 | awk '
	/ours/ { a = !a || $3 < a ? $3 : a } /sigstore-go/ { b = !b || $3 < b ? $3 : b }
	END { printf "  ours %.2f ms, sigstore-go %.2f ms, ratio %.2f\n", a/1e6, b/1e6, a/b }'

bin=$(scripts/verifiers.sh)
export PATHS_SIGSTORE=$root/.bench/sigstore
eval "$(scripts/sigstore.sh up)"
work=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$work" "$port" >"$work/registry.yaml"
OTEL_TRACES_EXPORTER=none "$bin/registry" serve "$work/registry.yaml" >"$work/registry.log" 2>&1 &
registry=$!
trap 'kill $registry; scripts/sigstore.sh down; rm -rf "$work"' EXIT

export PATHS_HOME=$work/home PATHS_IDENTITY_TOKEN_FILE=$work/token
issuer=$(python3 -c 'import json, os; print("http://127.0.0.1:%d/github" % json.load(open(os.environ["PATHS_SIGSTORE"] + "/ports.json"))["issuer"])')
subject=https://github.com/acme/orders/.github/workflows/attest.yaml@refs/heads/main
bin/pathctl key init >/dev/null
cat >"$PATHS_HOME/trust.yaml" <<TRUST
apiVersion: pavedpaths.dev/v1
kind: TrustRoot
signers:
- {name: attester, roles: [attester], maxTier: observed, maxBuildLevel: 1, identity: {trustedRoot: $PATHS_TRUSTED_ROOT, issuer: "$issuer", subject: "$subject"}}
- {name: verifier, key: keys/verifier.pub, roles: [verifier], maxTier: derived, maxBuildLevel: 0}
TRUST
bin/pathctl vulndb make examples/vulndb --out "$work/db" >/dev/null
bin/sigstore token -life 1h -out "$work/token"
ref=127.0.0.1:$port/team/orders
bin/pathctl ship examples/microservice-go --vuln-db "$work/db" --to "$ref:v1" >"$work/ship.log" 2>&1 || { cat "$work/ship.log" >&2; exit 1; }

echo '{"note": "a predicate"}' >"$work/predicate.json"
checks="--type slsaprovenance1 --trusted-root $PATHS_TRUSTED_ROOT --certificate-identity $subject --certificate-oidc-issuer $issuer --use-signed-timestamps --insecure-ignore-sct --allow-http-registry"
signs="--yes --type custom --predicate $work/predicate.json --identity-token $work/token --allow-http-registry"
verify_pathctl() { bin/pathctl verify "$ref:v1"; }
summary_pathctl() { bin/pathctl evidence get "$image" vsa; }
summary_slsa_verifier() {
	"$bin/slsa-verifier" verify-vsa --attestation-path "$work/vsa.json" --public-key-path "$PATHS_HOME/keys/verifier.pub" \
		--subject-digest "${image#*@}" --verifier-id https://github.com/pavedpaths/paths/verifiers/pathctl/v1 \
		--resource-uri "$image" --verified-level SLSA_BUILD_LEVEL_1
}
verify_cosign3() { "$bin/cosign3" verify-attestation $checks "$ref:v1"; }
verify_cosign2() { "$bin/cosign2" verify-attestation --new-bundle-format $checks "$ref:v1"; }
# The VSA's envelope, as its bundle in the registry has it.
image=$ref@$(bin/pathctl verify "$ref:v1" --attest --output json | python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])')
bundle=$(bin/pathctl evidence ls "$image" --output json | python3 -c 'import json, sys; print(next(e["digest"] for e in json.load(sys.stdin) if e["type"] == "https://slsa.dev/verification_summary/v1"))')
blobs=http://127.0.0.1:$port/v2/team/orders
layer=$(curl -fsS -H 'Accept: application/vnd.oci.image.manifest.v1+json' "$blobs/manifests/$bundle" | python3 -c 'import json, sys; print(json.load(sys.stdin)["layers"][0]["digest"])')
curl -fsS "$blobs/blobs/$layer" | python3 -c 'import json, sys; json.dump(json.load(sys.stdin)["dsseEnvelope"], sys.stdout)' >"$work/vsa.json"
# Everything signed anew, for a repository that is new each time.
sign_pathctl() { rm -rf "$PATHS_HOME/cache/attest/bundles"; bin/pathctl ship examples/microservice-go --vuln-db "$work/db" --to "$ref-$RANDOM:v1" --output json; }
sign_cosign3() { "$bin/cosign3" attest $signs --signing-config "$PATHS_SIGNING_CONFIG" --trusted-root "$PATHS_TRUSTED_ROOT" "$ref:v1"; }

# times NAME runs a function, and adds its milliseconds to a file.
times() {
	local start
	start=$(date +%s%N)
	"$1" >"$work/out" 2>&1 || { echo "$1 failed:" >&2; cat "$work/out" >&2; exit 1; }
	echo $((($(date +%s%N) - start) / 1000)) >>"$work/$1"
}
median() { sort -n "$work/$1" | awk '{ a[NR] = $1 } END { printf "%.0f ms", (a[int((NR+1)/2)] + a[int(NR/2)+1]) / 2000 }'; }
for _ in $(seq "$N"); do
	for f in verify_pathctl summary_pathctl summary_slsa_verifier verify_cosign3 verify_cosign2 sign_pathctl sign_cosign3; do times $f; done
done
echo "commands, median of $N:"
echo "  pathctl verify, $(grep -c . <(bin/pathctl evidence ls "$ref:v1")) lines of evidence and a policy: $(median verify_pathctl)"
echo "  pathctl evidence get, one VSA out of all that is read and verified, no policy: $(median summary_pathctl)"
echo "  slsa-verifier verify-vsa, one VSA in a file and its key: $(median summary_slsa_verifier)"
echo "  cosign 3 verify-attestation, one type: $(median verify_cosign3)"
echo "  cosign 2 verify-attestation, one type: $(median verify_cosign2)"
echo "  pathctl ship, nothing new but signatures (7, all logged): $(median sign_pathctl)"
echo "  cosign 3 attest, one signature: $(median sign_cosign3)"
