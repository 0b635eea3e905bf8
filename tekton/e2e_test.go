//go:build e2e

package tekton_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	ready "github.com/pavedpaths/paths/tekton/internal/world"
)

// TestTektonShips is the road of an honest tenant: the README's commands as they stand, and
// at their end an image that anybody can verify.
func TestTektonShips(t *testing.T) {
	w := released(t)
	service := w.Service
	if os.Getenv("QUICK") != "" {
		service = hello
	}
	url, commit := w.repo(t, "orders", service)
	commands, err := ready.Commands(".")
	if err != nil {
		t.Fatal(err)
	}
	file, err := w.Shell(url, commit, "orders")
	if err != nil {
		t.Fatal(err)
	}
	// In a shell that knows nothing but what that file says.
	sh := exec.Command("sh", "-eu", "-c", ". '"+file+"'\nrun=none digest=none\ntrap 'echo run=${run#*/} digest=$digest' EXIT\n"+commands)
	sh.Env = []string{"HOME=" + t.TempDir()}
	shell := ended(t, sh)
	text := shell.stdout
	t.Logf("%s%s", text, shell.stderr)
	last := regexp.MustCompile(`(?m)^run=(\S+) digest=(\S*)$`).FindStringSubmatch(text)
	if last == nil {
		t.Fatalf("exit %d", shell.code)
	}
	if shell.code != 0 {
		w.explain(t, last[1])
		t.Fatalf("exit %d", shell.code)
	}
	r := w.settled(t, last[1], time.Minute)
	if r.Metadata.Annotations["pavedpaths.dev/signed"] != "true" {
		w.explain(t, last[1])
		t.Fatalf("signed: %q", r.Metadata.Annotations["pavedpaths.dev/signed"])
	}
	ref := image("orders") + "@" + last[2]
	for _, want := range []string{"PASSED", "SLSA Build L2", "builders/tekton/v1", "build.node is shared", " signed: " + last[2]} {
		if !strings.Contains(text, want) {
			t.Errorf("the README's commands do not say %q", want)
		}
	}
	var provenance struct {
		RunDetails struct {
			Metadata struct{ InvocationID string }
		}
	}
	raw := w.pathctl(t, "evidence", "get", ref, "provenance").ok(t)
	if err := json.Unmarshal([]byte(raw), &provenance); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(provenance.RunDetails.Metadata.InvocationID, r.Metadata.UID) {
		t.Errorf("the invocation is %q, not run %s", provenance.RunDetails.Metadata.InvocationID, r.Metadata.UID)
	}
	t.Run("the same on every host", func(t *testing.T) { w.same(t, commit, ref) })
	t.Run("promoted", func(t *testing.T) { w.promoted(t, ref) })
}

// promoted takes the image to another repository, as the platform team's Task does.
func (w *world) promoted(t *testing.T, ref string) {
	from, digest, _ := strings.Cut(ref, "@")
	to := local + "/production/orders"
	params := map[string]string{"from": from, "image-digest": digest, "to": to + ":v1"}
	count := func() map[string]int { return w.published(t, to+"@"+digest) }
	promote := func(params map[string]string) pipelineRun { return w.task(t, "promote", "promoter", params) }
	if r := promote(params); r.Status.Conditions[0].Status != "True" {
		t.Fatalf("%+v: %s", r.Status.Conditions, r.result("refusal"))
	}
	w.pathctl(t, "verify", to+":v1").ok(t)
	first, source := count(), w.published(t, ref)
	for typ := range source {
		if first[typ] == 0 {
			t.Errorf("%s did not come along", typ)
		}
	}
	release := false
	for typ := range first {
		release = release || strings.Contains(typ, "/release/")
	}
	if !release {
		t.Errorf("no release is signed: %v", first)
	}
	if r := promote(params); r.Status.Conditions[0].Status != "True" {
		t.Errorf("again: %+v: %s", r.Status.Conditions, r.result("refusal"))
	}
	if diff := cmp.Diff(first, count()); diff != "" {
		t.Errorf("promoted twice, it has other evidence (-once +twice):\n%s", diff)
	}
	// An image that nobody has attested goes nowhere.
	bare, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := bare.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at, err := name.NewRepository(w.RegistryHost + "/" + apps + "/example/bare")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(at.Digest(d.String()), bare); err != nil {
		t.Fatal(err)
	}
	r := promote(map[string]string{"from": image("bare"), "image-digest": d.String(), "to": local + "/production/bare"})
	if r.Status.Conditions[0].Status != "False" || r.result("refusal") == "" {
		t.Errorf("an image without evidence is promoted: %+v %q", r.Status.Conditions, r.result("refusal"))
	}
	gone, err := name.NewRepository(w.RegistryHost + "/production/bare")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(gone.Digest(d.String())); err == nil {
		t.Error("it was copied all the same")
	}
}
