package fence

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBinds(t *testing.T) {
	for _, c := range []struct {
		name        string
		read, write []string
		want        []bind
	}{
		{"parents first", []string{"/usr/lib", "/usr"}, nil, []bind{{"/usr", false}}},
		{"write below read", []string{"/w"}, []string{"/w/out"}, []bind{{"/w", false}, {"/w/out", true}}},
		{"read below write", []string{"/w/in"}, []string{"/w"}, []bind{{"/w", true}, {"/w/in", false}}},
		{"both", []string{"/w"}, []string{"/w"}, []bind{{"/w", true}}},
		{"write, read, write", []string{"/w/in"}, []string{"/w", "/w/in/out"}, []bind{{"/w", true}, {"/w/in", false}, {"/w/in/out", true}}},
		{"no prefix of names", []string{"/usr", "/usr2"}, nil, []bind{{"/usr", false}, {"/usr2", false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, binds(c.read, c.write), cmp.AllowUnexported(bind{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
