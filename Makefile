# Verbs for people and for CI. Logic lives in Go and in scripts/.
# One set of flags everywhere: other flags would fill another build cache. Nobody debugs
# what is built here, and without DWARF the compiler takes a sixth less time.
export CGO_ENABLED = 0
export GOFLAGS = -trimpath -buildvcs=false -gcflags=all=-dwarf=false
SERVICE ?= examples/microservice-go

.PHONY: help build ship test conformance e2e engine engine-down e2e-dagger sigstore sigstore-down e2e-trust e2e-vault e2e-kyverno cluster cluster-down tekton e2e-cluster e2e-tekton adversary bench bench-dagger bench-verify bench-tekton fuzz mutate lint gen clean

help: ## list the verbs
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

build: ## build bin/pathctl
	@go build -ldflags='-s -w' -o bin/pathctl ./pathsdk/cmd/pathctl

ship: build ## take SERVICE (examples/microservice-go) from source to a verified image
	@scripts/ship.sh $(SERVICE)

test: ## unit, script and golden tests
	@scripts/test.sh

conformance: ## Sigstore's conformance cases, in SIGSTORE_CONFORMANCE
	@scripts/conformance.sh

e2e: build ## end-to-end: report in Chromium, hostile service, kill -9, registry faults
	@scripts/e2e.sh

engine: ## start a Dagger engine, unless there is one, and print what to export
	@scripts/engine.sh up

engine-down: ## stop the engine that make engine started
	@scripts/engine.sh down

e2e-dagger: build ## end-to-end: modules on a real engine, as consumers use them
	@scripts/e2e-dagger.sh

sigstore: ## start a Sigstore for tests on loopback, and print what to export
	@scripts/sigstore.sh up

sigstore-down: ## stop the Sigstore that make sigstore started
	@scripts/sigstore.sh down

e2e-trust: build ## end-to-end: sign by identity on a real Sigstore, as its verifiers see it
	@scripts/e2e-trust.sh

e2e-vault: build ## end-to-end: sign with a key in a real HashiCorp Vault
	@scripts/e2e-vault.sh

e2e-kyverno: build ## end-to-end: exported policies in Kyverno, policy-controller, and Conforma's and AMPEL's types
	@scripts/e2e-kyverno.sh

cluster: ## start a Kubernetes with Tekton for tests, and print what to export
	@scripts/cluster.sh up

cluster-down: ## stop the cluster that make cluster started
	@scripts/cluster.sh down

tekton: ## start a Kubernetes with Tekton and Paved Paths on it, to try, until Ctrl-C
	@scripts/try-tekton.sh

e2e-cluster: ## end-to-end: runs on a Tekton of our own, from a bundle to a keyless certificate
	@scripts/e2e-cluster.sh

e2e-tekton: ## end-to-end: runs on a real Tekton, built by tenants and signed where they can't reach
	@scripts/e2e-tekton.sh

adversary: build ## run every attack of docs/adversary.md on the real components
	@E2E='^TestAdversary$$' scripts/e2e-trust.sh

bench-dagger: build ## the modules' overhead, beside pathctl and hand-written steps
	@scripts/bench-dagger.sh

bench-verify: build ## verifying and signing, beside sigstore-go and cosign
	@scripts/bench-verify.sh

bench-tekton: ## 80 and then 250 runs at once on a real Tekton, signed, and what that costs
	@scripts/bench-tekton.sh

bench: build ## compare with the peers' own commands, side by side
	@scripts/bench.sh

fuzz: ## fuzz every parser of outside bytes, FUZZTIME (10s) each
	@scripts/fuzz.sh

mutate: ## change the verifier's code in one place at a time: tests must notice
	@scripts/mutate.sh

lint: ## gofmt and go vet
	@scripts/lint.sh

gen: build ## write the generated files
	@bin/pathctl gen . && go run ./tekton/gen

clean: ## remove what the verbs made here
	@rm -rf bin .bench $(SERVICE)/.paths
