package paths

import "github.com/pavedpaths/paths/pathsdk/step"

// Microservice is the path of a network service in Go: from source to a tested,
// reproducible, attested image.
func Microservice() Path {
	return Path{
		Name:    "microservice",
		Version: "0.1.0",
		Summary: "From the source of a Go service to a tested, reproducible, attested and verified image.",
		Policy:  "microservice",
		Inputs: []step.Field{
			{Name: "name", Kind: step.KindString, Help: "name of the image; the last element of the Go module's path when empty"},
			{Name: "package", Kind: step.KindString, Help: "the main package to build, relative to the module; found when there is only one"},
			{Name: "platforms", Kind: step.KindStrings, Default: "linux/amd64", Help: "platforms to build for; more than one makes an image index"},
			{Name: "base", Kind: step.KindString, Default: "scratch", Help: "base image by digest, or scratch for an empty one with CA certificates and a non-root user"},
			{Name: "ldflags", Kind: step.KindStrings, Default: "-s,-w", Help: "flags for the Go linker; by default without debugging symbols, which tracebacks don't need"},
			{Name: "tags", Kind: step.KindStrings, Help: "Go build tags"},
			{Name: "toolchain", Kind: step.KindString, Default: "local", Help: "Go toolchain: local, or a version such as go1.26.1 to download"},
			{Name: "testPackages", Kind: step.KindStrings, Default: "./...", Help: "package patterns to test"},
			{Name: "testTimeout", Kind: step.KindDuration, Default: "10m", Help: "time limit of all tests together"},
			{Name: "minCoverage", Kind: step.KindInt, Default: "0", Help: "lowest statement coverage in percent that passes the gate"},
			{Name: "vulnDB", Kind: step.KindStrings, Local: true, Default: "mirror.gcr.io/aquasec/trivy-db:2,ghcr.io/aquasecurity/trivy-db:2", Help: "vulnerability database: OCI references tried in turn, or one folder or archive"},
			{Name: "vex", Kind: step.KindStrings, Help: "OpenVEX documents in the source, by relative path"},
		},
		Nodes: []Node{
			{ID: "fetch", Step: "fetch", With: map[string]Wire{
				"source": Input("source"), "revision": Input("revision"), "dirty": Input("dirty"), "repository": Input("repository"),
				"goproxy": Input("goproxy"), "goprivate": Input("goprivate"), "gosumdb": Input("gosumdb"), "go": Input("go"),
				"toolchain": Input("toolchain"), "base": Input("base"), "platforms": Input("platforms"),
			}},
			{ID: "test", Step: "test", With: with(inputsFromFetch(), map[string]Wire{
				"packages": Input("testPackages"), "timeout": Input("testTimeout"), "minCoverage": Input("minCoverage"), "tags": Input("tags"),
			})},
			{ID: "build", Step: "build", With: with(inputsFromFetch(), map[string]Wire{
				"base": From("fetch", "base"), "baseDigest": From("fetch", "baseDigest"),
				"name": Input("name"), "package": Input("package"), "platforms": Input("platforms"),
				"ldflags": Input("ldflags"), "tags": Input("tags"),
				"revision": Input("revision"), "repository": Input("repository"), "created": Input("created"),
			})},
			{ID: "publish", Step: "publish", After: []string{"test"}, With: map[string]Wire{
				"layout": From("build", "layout"), "image": From("build", "digest"), "name": From("build", "name"),
				"source": From("fetch", "tarball"), "sourceDigest": From("fetch", "digest"),
				"modules": From("fetch", "modules"), "reports": Reports(),
			}},
			{ID: "receive", Step: "receive", With: map[string]Wire{
				"staging": From("publish", "staging"), "image": From("publish", "image"), "claims": From("publish", "claims"),
			}},
			{ID: "vulndb", Step: "vulndb", With: map[string]Wire{"from": Input("vulnDB")}},
			{ID: "sbom", Step: "sbom", With: map[string]Wire{
				"layout": From("receive", "layout"), "image": From("receive", "image"), "name": From("receive", "name"),
				"source": From("receive", "source"), "sourceDigest": From("receive", "sourceDigest"),
				"modules": From("receive", "modules"), "created": Input("created"),
			}},
			{ID: "scan", Step: "scan", With: map[string]Wire{
				"layout": From("receive", "layout"), "image": From("receive", "image"),
				"source": From("receive", "source"), "sourceDigest": From("receive", "sourceDigest"),
				"sboms": From("sbom", "sboms"), "vex": Input("vex"),
				"db": From("vulndb", "db"), "dbDigest": From("vulndb", "digest"), "dbUpdated": From("vulndb", "updated"), "dbSource": From("vulndb", "source"),
			}},
			{ID: "provenance", Step: "provenance", With: map[string]Wire{
				"image": From("receive", "image"), "name": From("receive", "name"), "layout": From("receive", "layout"),
				"modules": From("receive", "modules"), "sourceDigest": From("receive", "sourceDigest"),
				"dbDigest": From("vulndb", "digest"), "dbSource": From("vulndb", "source"),
				"run": Input("run"),
			}},
		},
	}
}

// inputsFromFetch wires what every step that compiles the service needs.
func inputsFromFetch() map[string]Wire {
	return map[string]Wire{
		"source": From("fetch", "source"), "sourceDigest": From("fetch", "digest"),
		"modules": From("fetch", "modules"), "modcache": From("fetch", "modcache"),
		"goroot": From("fetch", "goroot"), "toolchainDigest": From("fetch", "toolchainDigest"),
	}
}

func with(a, b map[string]Wire) map[string]Wire {
	for k, v := range b {
		a[k] = v
	}
	return a
}

// HostInputs are the inputs that a host resolves for every path: what is built,
// from which revision, and when. They are inputs, so that the same source gives
// the same digest on every host.
func HostInputs() []step.Field {
	return []step.Field{
		{Name: "source", Kind: step.KindDir, Help: "the folder with the service's source", Required: true},
		{Name: "revision", Kind: step.KindString, Help: "commit of the source; empty without version control"},
		{Name: "repository", Kind: step.KindString, Help: "URL of the source's repository"},
		{Name: "dirty", Kind: step.KindBool, Help: "the source differs from its revision"},
		{Name: "created", Kind: step.KindString, Default: "1970-01-01T00:00:00Z", Help: "creation time of what is made, in RFC 3339; the commit's time, as SOURCE_DATE_EPOCH"},
		{Name: "go", Kind: step.KindString, Default: "go", Keyless: true, Help: "the local go command"},
		{Name: "goproxy", Kind: step.KindString, Keyless: true, Help: "module proxies, as GOPROXY; what they give is fixed by go.sum"},
		{Name: "goprivate", Kind: step.KindString, Keyless: true, Help: "private module patterns, as GOPRIVATE"},
		{Name: "gosumdb", Kind: step.KindString, Default: "sum.golang.org", Keyless: true, Help: "checksum database, as GOSUMDB"},
		{Name: "run", Kind: step.KindFile, Keyless: true, Help: "the runner's own record of the producer's nodes, from which provenance is observed"},
	}
}
