package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	busybox   = "/bin/busybox" // Debian's busybox-static
	caBundle  = "/etc/ssl/certs/ca-certificates.crt"
	seedProxy = "/go/seedproxy"
	imagePath = "PATH=/usr/local/go/bin:/go/bin:/usr/local/bin:/usr/bin:/bin"
)

// images writes the images that the engine and our modules need, as OCI layouts
// below made: base (a shell), go (with the toolchain of this machine), and sdk, in
// which Dagger compiles modules in Go, with its digest beside it.
func images(c config, lib, made string) error {
	env := map[string]string{}
	for _, name := range []string{"GOROOT", "GOPROXY", "GOSUMDB"} {
		var err error
		if env[name], err = output("go", "env", name); err != nil {
			return err
		}
	}
	var l layer
	l.shell()
	if _, err := l.write(filepath.Join(made, "base"), v1.Config{Env: []string{imagePath}}); err != nil {
		return err
	}
	l.dir("go/pkg/mod", 0o755) // the engine mounts its caches on these two
	l.dir("root/.cache/go-build", 0o755)
	l.tree("usr/local/go", env["GOROOT"], func(rel string) bool {
		return rel == "test" || rel == "doc" || rel == "api" || filepath.Base(rel) == "testdata"
	})
	if err := l.git(); err != nil {
		return err
	}
	config := func(proxy string, more ...string) v1.Config {
		return v1.Config{WorkingDir: "/", Env: append([]string{
			imagePath, "HOME=/root", "GOPATH=/go", "GOTOOLCHAIN=local", "GOPROXY=" + proxy, "GOSUMDB=" + env["GOSUMDB"],
		}, more...)}
	}
	if _, err := l.write(filepath.Join(made, "go"), config(env["GOPROXY"])); err != nil {
		return err
	}
	l.copy("usr/local/bin/codegen", filepath.Join(lib, "codegen"))
	if err := l.seed(); err != nil {
		return err
	}
	// otel-go has no record in the checksum database as seen through some proxies;
	// the seed has a copy that was checked against our own go.sum.
	digest, err := l.write(filepath.Join(made, "sdk"), config("file://"+seedProxy+","+env["GOPROXY"], "CGO_ENABLED=0", "GONOSUMDB=github.com/dagger/otel-go"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(made, "sdk.digest"), []byte(digest.String()), 0o644)
}

// shell is busybox with every applet, and what programs expect of a system.
func (l *layer) shell() {
	for _, d := range []string{"bin", "usr/bin", "usr/local/bin", "etc/ssl/certs", "root", "proc", "sys", "dev", "run"} {
		l.dir(d, 0o755)
	}
	l.dir("tmp", 0o1777)
	l.dir("var/tmp", 0o1777)
	l.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	l.text("etc/group", "root:x:0:\n")
	l.text("etc/shadow", "root:*:::::::\n")
	l.copy(strings.TrimPrefix(caBundle, "/"), caBundle)
	l.copy(strings.TrimPrefix(busybox, "/"), busybox)
	applets, err := output(busybox, "--list")
	if l.err == nil {
		l.err = err
	}
	for _, applet := range strings.Fields(applets) {
		if applet != "busybox" {
			l.link("bin/"+applet, "busybox")
		}
	}
	l.link("usr/bin/env", "../../bin/busybox")
}

// git is git as an image of Docker's has it: with what fetches from a URL, and with
// what serves one, which tests start.
func (l *layer) git() error {
	dir, err := output("git", "--exec-path")
	if err != nil {
		return err
	}
	l.programs("/usr/bin/git", filepath.Join(dir, "git-remote-http"), filepath.Join(dir, "git-http-backend"))
	l.link(strings.TrimPrefix(filepath.Join(dir, "git-remote-https"), "/"), "git-remote-http")
	return nil
}

// seed adds a module proxy in the file system, for what Dagger asks for by commit
// or without a version: proxies that answer exact versions alone don't know it.
// What is not in it falls through to the next proxy.
func (l *layer) seed() error {
	commit, err := sdkCommit()
	if err != nil {
		return err
	}
	for _, module := range []string{"dagger.io/dagger", "github.com/dagger/querybuilder", "github.com/dagger/otel-go"} {
		raw, err := output("go", "mod", "download", "-json", module)
		if err != nil {
			return err
		}
		var m struct{ Version, Info, GoMod, Zip string }
		if err := json.Unmarshal([]byte(raw), &m); err != nil {
			return fmt.Errorf("go mod download %s: %w", module, err)
		}
		at := func(name string) string { return strings.TrimPrefix(seedProxy, "/") + "/" + module + "/" + name }
		l.copy(at("@v/"+m.Version+".info"), m.Info)
		l.copy(at("@v/"+m.Version+".mod"), m.GoMod)
		l.copy(at("@v/"+m.Version+".zip"), m.Zip)
		if module == "dagger.io/dagger" {
			// The released version stands for the commit that the engine names.
			l.copy(at("@v/"+commit+".info"), m.Info)
			continue
		}
		l.text(at("@v/list"), "")
		l.copy(at("@latest"), m.Info)
	}
	return l.err
}

// sdkCommit is the commit by which the engine asks for dagger.io/dagger.
func sdkCommit() (string, error) {
	dir, err := output("go", "list", "-f", "{{.Dir}}", "github.com/dagger/dagger/core/sdk")
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(filepath.Join(dir, "go_sdk.go"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`goSDKLibVersion = "([0-9a-f]{40})"`).FindSubmatch(source)
	if m == nil {
		return "", fmt.Errorf("%s/go_sdk.go names no commit of dagger.io/dagger: has the SDK changed?", dir)
	}
	return string(m[1]), nil
}
