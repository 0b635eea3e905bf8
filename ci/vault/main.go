// Vault is a HashiCorp Vault for tests: the real core, its HTTP API and its transit
// engine, in memory and on loopback. It is unsealed, it forgets everything when it
// ends, and its root token is in a file that only its owner can read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address of the API, on loopback")
	token := flag.String("token-file", "", "file that gets the root token")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *listen, *token); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

// run serves until the context ends. When the API answers, its address is printed.
func run(ctx context.Context, listen, tokenFile string) error {
	if tokenFile == "" {
		return errors.New("-token-file is missing: name a file for the root token")
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return err
	}
	if !addr.IP.IsLoopback() {
		return fmt.Errorf("-listen %s is not on loopback: whoever reaches it needs no TLS", listen)
	}
	core, token, err := unsealed(ctx)
	if err != nil {
		return err
	}
	defer core.ShutdownWait()
	if err := write(tokenFile, token); err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core: core, ListenerConfig: &configutil.Listener{Address: l.Addr().String(), TLSDisable: true},
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("http://%s\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// unsealed makes a core with the engine at transit/, and returns its root token.
func unsealed(ctx context.Context) (*vault.Core, string, error) {
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Warn, Output: os.Stderr})
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, "", err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:        storage,
		Logger:          logger,
		DisableMlock:    true,
		LogicalBackends: builtin(),
		BuiltinRegistry: builtin(),
	})
	if err != nil {
		return nil, "", fmt.Errorf("make the core: %w", err)
	}
	one := &vault.SealConfig{Type: "shamir", SecretShares: 1, SecretThreshold: 1, StoredShares: 1}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: one, RecoveryConfig: &vault.SealConfig{}})
	if err != nil {
		return nil, "", fmt.Errorf("initialize: %w", err)
	}
	if _, err := core.Unseal(made.SecretShares[0]); err != nil {
		return nil, "", fmt.Errorf("unseal: %w", err)
	}
	if core.Sealed() {
		return nil, "", errors.New("it is still sealed")
	}
	mount := &logical.Request{Operation: logical.UpdateOperation, Path: "sys/mounts/transit", ClientToken: made.RootToken, Data: map[string]any{"type": "transit"}}
	answer, err := core.HandleRequest(namespace.RootContext(ctx), mount)
	if err == nil && answer != nil {
		err = answer.Error()
	}
	if err != nil {
		return nil, "", fmt.Errorf("mount transit: %w", err)
	}
	return core, made.RootToken, nil
}

// write makes a file of the owner's alone appear at once, whole.
func write(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".token-*") // made with 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
