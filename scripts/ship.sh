#!/bin/sh
# Ships a service of this repository with the repository's small vulnerability
# database, which is made here, and served by a registry on loopback so that the
# real download runs. The port is fixed, since the mirror's name is an input of the
# run. Your own services use the full database: pathctl ship .
set -eu
service=${1:?usage: scripts/ship.sh SERVICE}
home=${PATHS_HOME:-$HOME/.paths}
demo=$home/demo-vulndb
log=$(mktemp)

bin/pathctl vulndb make examples/vulndb --out "$demo" --unless-newer-than 12h
bin/pathctl vulndb serve "$demo" --listen "127.0.0.1:${VULNDB_PORT:-15071}" --output json >"$log" &
registry=$!
trap 'kill $registry 2>/dev/null || :; rm -f "$log"' EXIT
trap 'exit 130' INT TERM
tries=0
until mirror=$(sed -n 's/.*"reference": "\(.*\)".*/\1/p' "$log") && [ -n "$mirror" ]; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || { echo "scripts/ship.sh: the registry did not start; see: bin/pathctl vulndb serve $demo" >&2; exit 1; }
	sleep 0.1
done
echo "vulnerability database: the small one of this repository ($(ls examples/vulndb/*.yaml | wc -l) advisory files), for the demo only" >&2
bin/pathctl ship "$service" --vuln-db "$mirror"
