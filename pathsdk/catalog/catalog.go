// Package catalog is the only registration there is: the list of steps and the
// list of paths.
package catalog

import (
	"github.com/pavedpaths/paths/pathsdk/internal/nearest"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/steps/build"
	"github.com/pavedpaths/paths/pathsdk/steps/custom"
	"github.com/pavedpaths/paths/pathsdk/steps/fetch"
	"github.com/pavedpaths/paths/pathsdk/steps/provenance"
	"github.com/pavedpaths/paths/pathsdk/steps/publish"
	"github.com/pavedpaths/paths/pathsdk/steps/receive"
	"github.com/pavedpaths/paths/pathsdk/steps/sbom"
	"github.com/pavedpaths/paths/pathsdk/steps/scan"
	"github.com/pavedpaths/paths/pathsdk/steps/test"
	"github.com/pavedpaths/paths/pathsdk/steps/vulndb"
)

// Steps lists every step, in the order in which paths use them.
func Steps() []step.Step {
	return []step.Step{
		fetch.New(),
		test.New(),
		build.New(),
		custom.New(),
		publish.New(),
		receive.New(),
		vulndb.New(),
		sbom.New(),
		scan.New(),
		provenance.New(),
	}
}

// Paths lists every paved path.
func Paths() []paths.Path {
	return []paths.Path{
		paths.Microservice(),
	}
}

// Step returns the step of that name; an unknown name wraps step.ErrUsage.
func Step(name string) (step.Step, error) {
	var names []string
	for _, s := range Steps() {
		if s.Spec().Name == name {
			return s, nil
		}
		names = append(names, s.Spec().Name)
	}
	return nil, step.Usagef("no step is called %q; %s", name, nearest.Hint(name, names))
}

// Path returns the path of that name; an unknown name wraps step.ErrUsage.
func Path(name string) (paths.Path, error) {
	var names []string
	for _, p := range Paths() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return paths.Path{}, step.Usagef("no path is called %q; %s", name, nearest.Hint(name, names))
}
