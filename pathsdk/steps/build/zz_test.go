package build_test
import ("testing";"time";"os";"encoding/json";"log/slog"
"github.com/pavedpaths/paths/pathsdk/step"
"github.com/pavedpaths/paths/pathsdk/steps/fetch"
"github.com/pavedpaths/paths/pathsdk/steps/build"
"github.com/pavedpaths/paths/pathsdk/step/steptest"
)
func TestZZ(t *testing.T) {
	src := os.Getenv("ZZ_SRC")
	cache, _ := os.MkdirTemp("", "zz"); cache = "/tmp/zzcache"; os.MkdirAll(cache, 0o755)
	env := func() step.Env { return step.Env{Log: slog.New(slog.NewTextHandler(os.Stderr,nil)), Work: t.TempDir(), Out: t.TempDir(), Cache: cache, Exec: steptest.Execer{}, Jobs: 2, Now: time.Now} }
	in, _ := json.Marshal(map[string]any{"source": src, "go": "/usr/local/go/bin/go", "goproxy": "file:///root/go/pkg/mod/cache/download,https://proxy.golang.org"})
	s := time.Now()
	res, err := fetch.New().Run(t.Context(), env(), in)
	t.Log("fetch", time.Since(s), err)
	var fo fetch.Output
	json.Unmarshal(res.Output, &fo)
	for range 3 {
	s = time.Now()
	b := map[string]any{"source": fo.Source, "sourceDigest": fo.Digest, "modules": fo.Modules, "modcache": fo.ModCache, "goroot": fo.GoRoot, "toolchainDigest": fo.ToolchainDigest, "base": fo.Base, "baseDigest": fo.BaseDigest}
	in, _ = json.Marshal(b)
	res, err = build.New().Run(t.Context(), env(), in)
	t.Log("build", time.Since(s), err, string(res.Output))
	}
}
