package build

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	kobuild "github.com/google/ko/pkg/build"

	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// ko builds the plan. The import path is given in full, which spares ko loading
// the package only to find it out.
func ko(ctx context.Context, p plan, source string, jobs int) (mutate.Appendable, error) {
	var platforms []string
	for _, pl := range p.platforms {
		platforms = append(platforms, pl.String())
	}
	flags := kobuild.FlagArray{"-buildvcs=false"}
	if len(p.tags) > 0 {
		flags = append(flags, "-tags="+strings.Join(p.tags, ","))
	}
	opts := []kobuild.Option{
		kobuild.WithBaseImages(func(context.Context, string) (name.Reference, kobuild.Result, error) {
			base, ok := p.base.Image.(kobuild.Result)
			if !ok {
				return nil, nil, fmt.Errorf("%T is no base image", p.base.Image)
			}
			return baseName(p.base.Name), base, nil
		}),
		kobuild.WithPlatforms(platforms...),
		kobuild.WithCreationTime(v1.Time{Time: p.created}),
		kobuild.WithKoDataCreationTime(v1.Time{Time: p.created}),
		kobuild.WithUser(baseimage.User),
		kobuild.WithTrimpath(true),
		kobuild.WithDisabledSBOM(), // the attester makes it, from the image's bytes
		kobuild.WithJobs(max(jobs, 1)),
		// Clipped, because ko appends to the flags of each platform at once.
		kobuild.WithConfig(map[string]kobuild.Config{p.importPath: {Flags: slices.Clip(flags), Ldflags: p.ldflags}}),
	}
	for k, v := range p.about {
		opts = append(opts, kobuild.WithAnnotation(k, v), kobuild.WithLabel(k, v))
	}
	b, err := kobuild.NewGo(ctx, source, opts...)
	if err != nil {
		return nil, err
	}
	res, err := b.Build(ctx, kobuild.StrictScheme+p.importPath)
	if err != nil {
		return nil, err
	}
	img, ok := res.(mutate.Appendable)
	if !ok {
		return nil, fmt.Errorf("ko built a %T, which is neither image nor index", res)
	}
	return img, nil
}

// withEnviron runs f while the process has exactly the environment env, and
// while what the log package is told goes to logger.
//
// ko takes the environment of the go commands that it starts from its own
// process, and reads KO_GO_PATH, KOCACHE and TMPDIR there; it has no option to
// pass all of it. A step must not depend on the environment of its process, so
// for the time of the call there is none but what the step says. This is the
// only function of the SDK that changes its process, and fit for a process of
// the build zone only, which runs this one step.
func withEnviron(lock *sync.Mutex, env []string, logger *slog.Logger, f func() error) error {
	lock.Lock()
	defer lock.Unlock()
	before := os.Environ()
	defer setEnviron(before)
	if logger != nil {
		out, flags := log.Writer(), log.Flags()
		defer func() { log.SetOutput(out); log.SetFlags(flags) }()
		log.SetFlags(0)
		log.SetOutput(logWriter{logger})
	}
	setEnviron(env)
	return f()
}

func setEnviron(env []string) {
	os.Clearenv()
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
			os.Setenv(k, v) // fails for names with '=' or NUL only
		}
	}
}

type logWriter struct{ logger *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.logger.Debug(strings.TrimSpace(string(p)), "from", "ko")
	return len(p), nil
}

// baseName is a reference to a base image as people know it. ko takes nothing
// from it but the name for an annotation.
type baseName string

var _ name.Reference = baseName("")

func (n baseName) String() string           { return string(n) }
func (n baseName) Context() name.Repository { return name.Repository{} }
func (n baseName) Identifier() string       { return string(n) }
func (n baseName) Name() string             { return string(n) }
func (n baseName) Scope(string) string      { return "" }

// maxLines bounds the compiler's output in an error.
const maxLines = 40

// compileError says what the compiler said, with paths relative to the source,
// and nothing of how it was called.
func compileError(err error, source string, f gomod.Folders) error {
	m := regexp.MustCompile(`(?s)go build: (exit status \d+|signal: [a-z]+): (.*)`).FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("build image: %w", err)
	}
	text := strings.NewReplacer(source+"/", "", f.GOROOT+"/", "GOROOT/", f.ModCache+"/", "", f.Tmp+"/", "").Replace(strings.TrimSpace(m[2]))
	lines := strings.Split(text, "\n")
	if len(lines) > maxLines {
		lines = append(lines[:maxLines], fmt.Sprintf("... and %d more lines", len(lines)-maxLines))
	}
	text = strings.Join(lines, "\n")
	switch {
	case strings.HasPrefix(m[1], "signal"):
		return fmt.Errorf("go build was ended (%s): give the machine more memory, or build with fewer jobs\n%s", m[1], text)
	case strings.Contains(text, "no space left on device"):
		return fmt.Errorf("go build found no space on the disk: free some where the cache is\n%s", text)
	}
	// The tests meet the same lines, and may meet them first: a gate for both.
	return &step.GateError{Gate: "the source does not compile", Findings: []string{"\n" + text}, Fix: "mend these lines: go build ./..."}
}
