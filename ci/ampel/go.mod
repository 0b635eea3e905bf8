module ci/ampel

go 1.26.0

require (
	github.com/carabiner-dev/policy v0.5.0
	github.com/google/cel-go v0.28.0
	github.com/hjson/hjson-go/v4 v4.6.0
	google.golang.org/protobuf v1.36.11
)

require (
	buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go v1.36.11-20260415201107-50325440f8f2.1 // indirect
	cel.dev/expr v0.25.1 // indirect
	dario.cat/mergo v1.0.2 // indirect
	github.com/Microsoft/go-winio v0.6.2 // indirect
	github.com/ProtonMail/go-crypto v1.4.1 // indirect
	github.com/antlr4-go/antlr/v4 v4.13.1 // indirect
	github.com/carabiner-dev/attestation v0.2.1 // indirect
	github.com/carabiner-dev/signer v0.4.5 // indirect
	github.com/carabiner-dev/vcslocator v0.4.3 // indirect
	github.com/cloudflare/circl v1.6.3 // indirect
	github.com/cyphar/filepath-securejoin v0.6.1 // indirect
	github.com/emirpasic/gods v1.18.1 // indirect
	github.com/go-git/gcfg v1.5.1-0.20230307220236-3a3c6141e376 // indirect
	github.com/go-git/go-billy/v5 v5.8.1-0.20260407233109-416e0a5b21a8 // indirect
	github.com/go-git/go-git/v5 v5.18.0 // indirect
	github.com/golang/groupcache v0.0.0-20241129210726-2c02b8208cf8 // indirect
	github.com/in-toto/attestation v1.2.0 // indirect
	github.com/jbenet/go-context v0.0.0-20150711004518-d14ea06fba99 // indirect
	github.com/kevinburke/ssh_config v1.6.0 // indirect
	github.com/klauspost/cpuid/v2 v2.3.0 // indirect
	github.com/nozzle/throttler v0.0.0-20180817012639-2ea982251481 // indirect
	github.com/pjbgf/sha1cd v0.5.0 // indirect
	github.com/sergi/go-diff v1.4.0 // indirect
	github.com/skeema/knownhosts v1.3.2 // indirect
	github.com/xanzy/ssh-agent v0.3.3 // indirect
	golang.org/x/crypto v0.51.0 // indirect
	golang.org/x/exp v0.0.0-20251209150349-8475f28825e9 // indirect
	golang.org/x/net v0.54.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.37.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260414002931-afd174a4e478 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260414002931-afd174a4e478 // indirect
	gopkg.in/warnings.v0 v0.1.2 // indirect
)

// The checksum database does not know the versions that policy 0.5.0 asks for, or the
// proxy has them not. Its parser needs the first; its types do not.
exclude github.com/carabiner-dev/collector v0.3.4

replace (
	github.com/carabiner-dev/signer => github.com/carabiner-dev/signer v0.4.3
	github.com/carabiner-dev/vcslocator => github.com/carabiner-dev/vcslocator v0.4.0
	github.com/go-git/go-billy/v5 => github.com/go-git/go-billy/v5 v5.8.0
)
