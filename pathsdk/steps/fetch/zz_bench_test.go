package fetch_test
import ("testing";"time";"os")
func TestZZ(t *testing.T) {
	src := os.Getenv("ZZ_SRC")
	w := &world{machine: here(t), src: src, cache: os.Getenv("ZZ_CACHE"), exec: &execer{}}
	w.in = map[string]any{"source": w.src, "goproxy": os.Getenv("ZZ_PROXY"), "go": w.gocmd, "platforms": []string{"linux/amd64","linux/arm64"}}
	if w.in["goproxy"] == "" { w.in["goproxy"] = w.proxy+",https://proxy.golang.org" }
	if v := os.Getenv("ZZ_TC"); v != "" { w.in["toolchain"] = v }
	for range 5 {
	s := time.Now()
	out, err := w.run(t)
	t.Log(time.Since(s), err, w.exec.count.Load(), out)
	if err != nil { return }
	}
}
