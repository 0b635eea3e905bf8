package gomod

import (
	"os"
	"path/filepath"
)

// Folders are where the go command finds and keeps things when it compiles the
// service.
type Folders struct {
	GOROOT   string
	ModCache string
	// GOCache is shared by the steps of the build zone, so that what one
	// compiled the next does not compile again.
	GOCache string
	// Home and Tmp are private to one run of a step.
	Home string
	Tmp  string
}

// Make makes GOCache, Home and Tmp.
func (f Folders) Make() error {
	for _, d := range []string{f.GOCache, f.Tmp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return MakeHome(f.Home)
}

// MakeHome makes a home for go commands, with telemetry off as a user of Linux would say
// with "go telemetry off". No variable says it, and the go command would start a process
// there that outlives it.
func MakeHome(home string) error {
	dir := filepath.Join(home, ".config", "go", "telemetry")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "mode"), []byte("off"), 0o644)
}

// Env returns the whole environment for a go command that compiles the service
// in the folder source. Nothing of it depends on the machine or its user but
// the folders, and those reach no output under -trimpath: the same inputs give
// the same bytes. The network is off.
//
// Use the same flags in every step, -trimpath among them: each set of flags
// has its own compiled packages in the cache.
func Env(f Folders, source string) []string {
	return []string{
		"CGO_ENABLED=0",
		"GO111MODULE=on",
		"GOCACHE=" + f.GOCache,
		"GOENV=off",
		"GOFLAGS=" + Flags(source),
		"GOMODCACHE=" + f.ModCache,
		"GOPATH=" + filepath.Join(f.Home, "go"),
		"GOPROXY=off",
		"GOROOT=" + f.GOROOT,
		"GOSUMDB=off", // go.sum has every sum; fetch saw to it
		"GOTMPDIR=" + f.Tmp,
		"GOTOOLCHAIN=local",
		"GOVCS=*:off",
		"GOWORK=off",
		"HOME=" + f.Home,
		"PATH=" + filepath.Join(f.GOROOT, "bin"), // no git, no compiler of the host
		"TMPDIR=" + f.Tmp,
		"TZ=UTC",
	}
}

// Flags returns the GOFLAGS for the source: a vendored source is built from
// its vendor folder, another one from the module cache, and neither changes
// go.mod.
func Flags(source string) string {
	mod := "-mod=readonly"
	if Vendored(source) {
		mod = "-mod=vendor"
	}
	return mod + " -buildvcs=false"
}

// Vendored reports whether the module in source has its dependencies in a
// vendor folder.
func Vendored(source string) bool {
	fi, err := os.Stat(filepath.Join(source, "vendor", "modules.txt"))
	return err == nil && fi.Mode().IsRegular()
}
