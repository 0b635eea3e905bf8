//go:build e2e

package tekton_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTektonShips is the road of an honest tenant: one PipelineRun, and at its end an
// image that anybody can verify.
func TestTektonShips(t *testing.T) {
	w := cluster(t)
	service := example(t)
	if os.Getenv("QUICK") != "" {
		service = hello(t)
	}
	url, commit := w.repo(t, "orders", service)
	image := local + "/" + apps + "/example/orders"
	name := w.start(t, w.pipelineRun(url, commit, image))
	r := w.settled(t, name, 10*time.Minute)
	if r.Metadata.Annotations["pavedpaths.dev/signed"] != "true" {
		w.explain(t, name)
		t.Fatalf("signed: %q", r.Metadata.Annotations["pavedpaths.dev/signed"])
	}
	ref := image + "@" + r.result("IMAGE_DIGEST")
	v := w.pathctl(t, "verify", ref, "-o", "json")
	if v.code != 0 {
		t.Fatalf("exit %d\n%s%s", v.code, v.stdout, v.stderr)
	}
	text := w.pathctl(t, "verify", ref).ok(t)
	t.Log(text)
	for _, want := range []string{"PASSED", "SLSA Build L2", "builders/tekton/v1", "build.node is shared"} {
		if !strings.Contains(text, want) {
			t.Errorf("the verdict does not say %q", want)
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
}
