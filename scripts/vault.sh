#!/bin/sh
# Builds a HashiCorp Vault for tests from its Go module, once for each version and
# toolchain, and prints the program. Vault builds with a state of its sdk that was
# never released; made to fit here is the release before it, in a folder of the build:
# one type is as Vault expects it, and a method says a name that it did not.
set -eu
cd "$(dirname "$0")/../ci/vault"
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -gcflags=all=-dwarf=false' GOWORK=off GOTOOLCHAIN=local
sdk=github.com/hashicorp/vault/sdk
discover=github.com/hashicorp/go-discover

key=$({ go version; cat ../../scripts/vault.sh go.mod go.sum ./*.go restore.go.txt standin/okta/go.mod standin/okta/okta/*.go; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/paths-vault
out=$cache/$key
if [ ! -x "$out/vault" ]; then
	echo 'vault: building Vault from its Go module, once: some minutes' >&2
	mkdir -p "$cache"
	new=$(mktemp -d "$cache/.new-XXXXXX")
	trap 'rm -rf "$new"' EXIT
	trap 'exit 130' INT TERM
	go mod download "$sdk" "$discover"
	cp -R "$(go list -m -f '{{.Dir}}' "$sdk")" "$new/sdk"
	cp -R "$(go list -m -f '{{.Dir}}' "$discover")" "$new/discover"
	chmod -R u+w "$new/sdk" "$new/discover"
	sed -i 's/\(ActivationFunc func(context.Context, \*logical.Request\), string)/\1)/' "$new/sdk/framework/backend.go"
	sed -i 's/) RestorePolicy(/) restorePolicy(/' "$new/sdk/helper/keysutil/lock_manager.go"
	cp restore.go.txt "$new/sdk/helper/keysutil/restore.go"
	# A Vault in memory has nobody to look for: clouds are half of what is compiled for it alone.
	sed -i '/mdns/!{/go-discover\/provider\//d;/\.Provider{},$/d}' "$new/discover/discover.go"
	cp go.mod go.sum "$new/"
	go mod edit -replace="$sdk=$new/sdk" -replace="$discover=$new/discover" "$new/go.mod"
	go build -mod=mod -modfile="$new/go.mod" -ldflags='-s -w' -o "$new/vault" .
	rm -rf "$new/sdk" "$new/discover"
	mv -T "$new" "$out" 2>/dev/null || [ -x "$out/vault" ] # or another build was first
	find "$cache" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} +
fi
echo "$out/vault"
