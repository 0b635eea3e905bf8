package tekton

import (
	"io"
	"log"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/remote/oci"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/paths"
)

// TestBundle pushes the bundle to a registry, and takes it from there as Tekton does.
func TestBundle(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	repo := strings.TrimPrefix(srv.URL, "http://") + "/paths/tekton"
	ref, err := Push(t.Context(), Committed(), repo)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Push(t.Context(), Committed(), repo); err != nil || again != ref {
		t.Errorf("a second time it is %s, %v; want %s", again, err, ref)
	}
	other := Committed()
	other.PlainGit = true
	if changed, err := Push(t.Context(), other, repo); err != nil || changed == ref {
		t.Errorf("another Pipeline has the same digest %s, %v", changed, err)
	}
	r := oci.NewResolver(ref, authn.DefaultKeychain)
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range list {
		got = append(got, o.APIVersion+" "+o.Kind+" "+o.Name)
	}
	want := []string{"tekton.dev/v1 pipeline microservice"}
	for _, s := range catalog.Steps() {
		want = append(want, "tekton.dev/v1 task "+s.Spec().Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	o, _, err := r.Get(t.Context(), "pipeline", "microservice")
	if err != nil {
		t.Fatal(err)
	}
	have, ok := o.(*pipeline.Pipeline)
	if !ok {
		t.Fatalf("a %T", o)
	}
	p, err := pathPipeline(paths.Microservice(), Committed())
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(p); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p.Spec, have.Spec); d != "" {
		t.Error(d)
	}
	if _, _, err := r.Get(t.Context(), "task", AttestTask); err == nil {
		t.Error("what signs is part of what builds")
	}
}

func TestPushWantsARepository(t *testing.T) {
	for _, place := range []string{"", "registry.example.com/paths:v1", "registry.example.com/paths@" + zeros, "https://registry.example.com/paths"} {
		if ref, err := Push(t.Context(), Committed(), place); err == nil || !strings.Contains(err.Error(), "give HOST/NAME") {
			t.Errorf("%q: %s, %v", place, ref, err)
		}
	}
}
