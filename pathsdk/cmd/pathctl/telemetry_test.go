package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A run is one trace: the caller's, if there is one, through all three
// processes.
func TestTraceOfShip(t *testing.T) {
	var mu sync.Mutex
	names := map[string]string{} // span to its trace
	var attrs []string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var req collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range req.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					names[s.GetName()] = hex.EncodeToString(s.GetTraceId())
					for _, a := range s.GetAttributes() {
						attrs = append(attrs, a.GetKey()+"="+a.GetValue().GetStringValue())
					}
				}
			}
		}
	}))
	defer receiver.Close()
	shipOnce(t)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	cmd := pathctlProcess(t, shipped.home, "ship", shipped.src, "--vuln-db", shipped.db)
	// Whoever runs this test may export traces, too.
	cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, "OTEL_") })
	cmd.Env = append(cmd.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "TRACEPARENT=00-"+trace+"-b7ad6b7169203331-01")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ship: %v\n%s", err, out)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"RUN microservice", "fetch", "test", "build", "publish", "sbom", "scan", "provenance", "sign", "verify"} {
		if names[want] != trace {
			t.Errorf("span %q has trace %q, want the caller's", want, names[want])
		}
	}
	for _, want := range []string{"cicd.pipeline.name=microservice", "cicd.pipeline.task.name=build", "cicd.pipeline.task.type=build", "cicd.pipeline.task.run.result=success"} {
		if !slices.Contains(attrs, want) {
			t.Errorf("no attribute %s in %s", want, strings.Join(attrs, " "))
		}
	}
}
