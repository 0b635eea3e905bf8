package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dagger/paths/internal/dagger"
)

// The example goes the whole way by the microservice module; what was shipped
// verifies, and one changed byte does not.
//
// +check
func (p *Paths) EndToEnd(ctx context.Context) error {
	tool := p.pathctl()
	keys := p.golang().
		WithMountedFile("/pathctl", tool).
		WithExec([]string{"/pathctl", "--home", "/keys", "key", "init"})
	db := p.golang().
		WithMountedFile("/pathctl", tool).
		WithExec([]string{"/pathctl", "vulndb", "make", "examples/vulndb", "--out", "/db"}).
		Directory("/db")
	secret := func(name string) (*dagger.Secret, error) {
		text, err := keys.File("/keys/keys/" + name + ".key").Contents(ctx)
		if err != nil {
			return nil, err
		}
		return dag.SetSecret("e2e-"+name, text), nil
	}
	attester, err := secret("attester")
	if err != nil {
		return err
	}
	verifier, err := secret("verifier")
	if err != nil {
		return err
	}
	trust := keys.Directory("/keys")
	path := dag.Microservice(dagger.MicroserviceOpts{Tool: tool, GoImage: p.GoImage})
	store := path.Ship(p.Source.Directory("examples/microservice-go"), attester, verifier, trust, dagger.MicroserviceShipOpts{VulnDb: db}).Store()
	if store, err = store.Sync(ctx); err != nil {
		return err
	}
	verdict, err := path.Verify(trust, dagger.MicroserviceVerifyOpts{Store: store}).Verdict(ctx)
	if err != nil {
		return fmt.Errorf("what was shipped does not verify: %w", err)
	}
	if verdict != "PASSED" {
		return fmt.Errorf("what was shipped does not verify: %s", verdict)
	}
	name, text, err := signedProvenance(ctx, store)
	if err != nil {
		return err
	}
	broken := store.WithNewFile(name, strings.Replace(text, "dsseEnvelope", "dsseEnvelopf", 1))
	if _, err := path.Verify(trust, dagger.MicroserviceVerifyOpts{Store: broken}).Verdict(ctx); err == nil {
		return fmt.Errorf("a changed byte in %s went unnoticed", name)
	}
	return nil
}

// signedProvenance returns the file of a store that holds the provenance's bundle, and
// its text. Evidence that no policy asks for, as an earlier verdict, may be broken and
// change nothing.
func signedProvenance(ctx context.Context, store *dagger.Directory) (name, text string, err error) {
	blobs, err := store.Directory("blobs/sha256").Entries(ctx)
	if err != nil {
		return "", "", fmt.Errorf("list the store: %w", err)
	}
	for _, b := range blobs {
		name := "blobs/sha256/" + b
		text, err := store.File(name).Contents(ctx)
		if err != nil {
			continue // a layer, which is no text
		}
		var bundle struct {
			DSSE struct {
				Payload []byte `json:"payload"`
			} `json:"dsseEnvelope"`
		}
		var statement struct {
			PredicateType string `json:"predicateType"`
		}
		if json.Unmarshal([]byte(text), &bundle) != nil || json.Unmarshal(bundle.DSSE.Payload, &statement) != nil {
			continue
		}
		if statement.PredicateType == "https://slsa.dev/provenance/v1" {
			return name, text, nil
		}
	}
	return "", "", errors.New("the store holds no signed provenance")
}
