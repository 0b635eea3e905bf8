package main

import (
	"context"
	"time"

	"github.com/sigstore/timestamp-authority/pkg/server"
	"github.com/spf13/viper"
)

// verbTSA is the hidden verb of the process that is the timestamp authority.
const verbTSA = "tsa"

// serveTSA is the timestamp authority's own server, without the one for metrics that
// its command starts beside it: that one has a fixed port, of which a machine has one.
func serveTSA(ctx context.Context, c *config) error {
	for k, v := range map[string]any{
		"timestamp-signer": "file", "timestamp-signer-hash": "sha256",
		"file-signer-key-path": c.path("keys", "tsa.key"), "certificate-chain-path": c.path("keys", "tsa.pem"),
	} {
		viper.Set(k, v)
	}
	s := server.NewRestAPIServer("127.0.0.1", c.Ports["tsa"], []string{"http"}, false, 30*time.Second, 30*time.Second)
	go func() {
		<-ctx.Done()
		_ = s.Shutdown()
	}()
	return s.Serve()
}
