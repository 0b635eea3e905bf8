package main

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// writeTrust writes what signers and verifiers are given: which services to ask, and
// what they are verified with. There is no log for certificates, which Fulcio can do
// without; so certificates hold no proof of one, and the trusted root names none.
func writeTrust(c *config) error {
	cert, ca, err := readChain(c, "fulcio")
	if err != nil {
		return err
	}
	leaf, tsa, err := readChain(c, "tsa")
	if err != nil {
		return err
	}
	key, err := readKey(c, "rekor")
	if err != nil {
		return err
	}
	_, id, err := note.KeyHash(origin, key.Public())
	if err != nil {
		return err
	}
	since := cert.NotBefore
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: ca, Intermediates: []*x509.Certificate{cert}, ValidityPeriodStart: since, URI: c.url("fulcio"),
		}},
		nil,
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: tsa, Leaf: leaf, ValidityPeriodStart: since, URI: c.url("tsa"),
		}},
		map[string]*root.TransparencyLog{fmt.Sprintf("%x", id): {
			BaseURL: c.url("rekor"), ID: id, ValidityPeriodStart: since,
			HashFunc: crypto.SHA256, PublicKey: key.Public(), SignatureHashFunc: crypto.SHA256,
		}})
	if err != nil {
		return err
	}
	service := func(name, suffix string, version uint32) root.Service {
		return root.Service{URL: c.url(name) + suffix, MajorAPIVersion: version, ValidityPeriodStart: since, Operator: "paths test"}
	}
	any := root.ServiceConfiguration{Selector: prototrustroot.ServiceSelector_ANY}
	signing, err := root.NewSigningConfig(root.SigningConfigMediaType02,
		[]root.Service{service("fulcio", "", 1)},
		[]root.Service{service("issuer", peoplePath, 1)},
		[]root.Service{service("rekor", "", 2)}, any,
		[]root.Service{service("tsa", "/api/v1/timestamp", 1)}, any)
	if err != nil {
		return err
	}
	for name, v := range map[string]json.Marshaler{"trusted_root.json": trusted, "signing_config.json": signing} {
		text, err := v.MarshalJSON()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := write(c.path(name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// origin is the log's name in its checkpoints: the host of its URL, which verifiers
// compare it with.
const origin = "127.0.0.1"
