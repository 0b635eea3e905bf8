package legacy

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// mediaType is that of the bundle version in which a log's promise is enough.
const mediaType = "application/vnd.dev.sigstore.bundle+json;version=0.1"

// bundle makes a Sigstore bundle of what was found, so that one verifier reads
// all. Nothing is verified here.
func (s Source) bundle() (*bundle.Bundle, error) {
	if len(s.Bundle) > 0 {
		var b bundle.Bundle
		if err := b.UnmarshalJSON(s.Bundle); err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
		if len(b.GetVerificationMaterial().GetTlogEntries()) == 0 {
			return nil, ErrNoLogProof
		}
		if n := len(b.GetDsseEnvelope().GetSignatures()); n != 1 {
			return nil, fmt.Errorf("bundle: an envelope with %d signatures, want one", n)
		}
		return &b, nil
	}
	var env envelope
	if err := json.Unmarshal(s.Envelope, &env); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if env.PayloadType != evidence.PayloadType {
		return nil, fmt.Errorf("envelope: payload type is %.80q, want %s", env.PayloadType, evidence.PayloadType)
	}
	if n := len(env.Signatures); n != 1 {
		return nil, fmt.Errorf("envelope: %d signatures, want one", n)
	}
	signed := env.Signatures[0]
	payload, err := decode64("payload", env.Payload)
	if err != nil {
		return nil, err
	}
	sig, err := decode64("signatures[0].sig", signed.Sig)
	if err != nil {
		return nil, err
	}
	cert := s.Certificate
	if len(cert) == 0 {
		cert = []byte(signed.Cert)
	}
	block, _ := pem.Decode(cert)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("envelope: it comes without the signer's certificate, so nobody can say who signed it")
	}
	if len(s.Entry) == 0 {
		return nil, ErrNoLogProof
	}
	entry, err := s.logEntry()
	if err != nil {
		return nil, err
	}
	b, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType: mediaType,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
				Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}},
			}},
			TlogEntries: []*protorekor.TransparencyLogEntry{entry},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			PayloadType: env.PayloadType, Payload: payload,
			Signatures: []*protodsse.Signature{{Keyid: signed.KeyID, Sig: sig}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	return b, nil
}

func (s Source) logEntry() (*protorekor.TransparencyLogEntry, error) {
	e, err := parseEntry(s.Entry)
	if err != nil {
		return nil, err
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(e.Body, &kind); err != nil {
		return nil, fmt.Errorf("log entry: body: %w", err)
	}
	id, err := hex.DecodeString(e.LogID)
	if err != nil {
		return nil, fmt.Errorf("log entry: logID: %w", err)
	}
	if len(e.Verification.SignedEntryTimestamp) == 0 {
		return nil, errors.New("log entry: it lacks the log's signed promise (signedEntryTimestamp), which alone says when the entry was made")
	}
	out := &protorekor.TransparencyLogEntry{
		LogIndex: e.LogIndex, LogId: &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    e.IntegratedTime,
		CanonicalizedBody: e.Body,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: e.Verification.SignedEntryTimestamp},
	}
	if p := e.Verification.InclusionProof; p != nil {
		proof := &protorekor.InclusionProof{LogIndex: p.LogIndex, TreeSize: p.TreeSize, Checkpoint: &protorekor.Checkpoint{Envelope: p.Checkpoint}}
		for _, text := range append([]string{p.RootHash}, p.Hashes...) {
			h, err := hex.DecodeString(text)
			if err != nil {
				return nil, fmt.Errorf("log entry: inclusion proof: %w", err)
			}
			proof.Hashes = append(proof.Hashes, h)
		}
		proof.RootHash, proof.Hashes = proof.Hashes[0], proof.Hashes[1:]
		out.InclusionProof = proof
	}
	return out, nil
}
