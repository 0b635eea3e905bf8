package controller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// trust is the list of bundles whose Pipelines are signed for: key pipelines of ConfigMap
// trust. It is read when it is needed; a yes is believed for a minute, a no for a second,
// since a no is for good.
type trust struct {
	client dynamic.Interface

	mu      sync.Mutex
	bundles map[string]bool
	read    time.Time
}

func (t *trust) has(ctx context.Context, bundle string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	age := time.Since(t.read)
	if age < time.Minute && t.bundles[bundle] {
		return true, nil
	}
	if age < time.Second {
		return false, nil
	}
	u, err := t.client.Resource(configMaps).Namespace(SigningNamespace).Get(ctx, "trust", metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("get ConfigMap trust in %s, which lists trusted bundles in its key pipelines: %w", SigningNamespace, err)
	}
	lines, found, _ := unstructured.NestedString(u.Object, "data", "pipelines")
	if !found {
		return false, fmt.Errorf("ConfigMap trust in %s has no key pipelines: list the trusted bundles there, one REPOSITORY@DIGEST a line", SigningNamespace)
	}
	t.bundles, t.read = map[string]bool{}, time.Now()
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			t.bundles[line] = true
		}
	}
	return t.bundles[bundle], nil
}
