package gen

import (
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// No producer's container gets a secret: a step that asks for one has no function.
func TestProducersGetNoSecret(t *testing.T) {
	s := step.Spec{Meta: step.Meta{Name: "x", Summary: "Does x."}, Inputs: []step.Field{{Name: "token", Kind: step.KindSecret, Help: "a token"}}}
	for _, z := range step.Zones() {
		s.Zone = z
		code, err := daggerSteps([]step.Spec{s})
		if z.Producer() {
			if err == nil || !strings.Contains(err.Error(), "may not hold") {
				t.Errorf("zone %s: %v", z, err)
			}
		} else if err != nil || !strings.Contains(string(code), "token *dagger.Secret") {
			t.Errorf("zone %s: %v", z, err)
		}
	}
}
