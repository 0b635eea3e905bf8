package legacy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
)

// maxSources bounds how many envelopes are read from one place.
const maxSources = 100

const maxEntry = 32 << 20 // the log keeps a copy of some envelopes

// cosign's media type and annotations of attestations that hang on an image.
const (
	envelopeMedia    = types.MediaType("application/vnd.dsse.envelope.v1+json")
	certAnnotation   = "dev.sigstore.cosign/certificate"
	bundleAnnotation = "dev.sigstore.cosign/bundle"
)

// Source is one piece of provenance as it was found. Nothing in it is verified.
type Source struct {
	// Bundle is a Sigstore bundle; if there is one, the others are empty.
	Bundle []byte
	// Envelope is a DSSE envelope in JSON.
	Envelope []byte
	// Certificate is the signer's in PEM; empty if it stands in the envelope, as
	// slsa-github-generator has it.
	Certificate []byte
	// Entry is the log entry: the answer of Rekor's API, or the "bundle" that
	// cosign keeps with an attestation. Empty if there is none.
	Entry []byte
}

// Read finds provenance in a file (a DSSE envelope or Sigstore bundle, one or
// one a line) or in an OCI layout that cosign save wrote.
func Read(path string) ([]Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readLayout(path)
	}
	b, err := bounded.ReadFile(path, attest.MaxBundle)
	if err != nil {
		return nil, err
	}
	docs := [][]byte{b}
	if !json.Valid(b) {
		docs = bytes.Split(b, []byte("\n"))
	}
	var all []Source
	for _, doc := range docs {
		if doc = bytes.TrimSpace(doc); len(doc) == 0 {
			continue
		}
		var is struct {
			MediaType string `json:"mediaType"`
		}
		_ = json.Unmarshal(doc, &is) // what it is not, the parser says
		if is.MediaType != "" {
			all = append(all, Source{Bundle: doc})
		} else {
			all = append(all, Source{Envelope: doc})
		}
		if len(all) > maxSources {
			return nil, fmt.Errorf("%s: more than %d envelopes", path, maxSources)
		}
	}
	return all, nil
}

// WithEntry gives a log entry to each source that has none.
func WithEntry(sources []Source, path string) ([]Source, error) {
	entry, err := bounded.ReadFile(path, maxEntry)
	if err != nil {
		return nil, err
	}
	out := make([]Source, len(sources))
	for i, s := range sources {
		if out[i] = s; len(s.Entry) == 0 && len(s.Bundle) == 0 {
			out[i].Entry = entry
		}
	}
	return out, nil
}

func readLayout(dir string) ([]Source, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("%s is no OCI layout: %w", dir, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var all []Source
	for _, desc := range m.Manifests {
		if !desc.MediaType.IsImage() {
			continue
		}
		img, err := index.Image(desc.Digest)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", dir, desc.Digest, err)
		}
		im, err := img.Manifest()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", dir, desc.Digest, err)
		}
		for _, l := range im.Layers {
			if l.MediaType != envelopeMedia {
				continue
			}
			if len(all) == maxSources {
				return nil, fmt.Errorf("%s: more than %d envelopes", dir, maxSources)
			}
			layer, err := img.LayerByDigest(l.Digest)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", dir, l.Digest, err)
			}
			rc, err := layer.Compressed() // as it lies there: it is not compressed
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", dir, l.Digest, err)
			}
			b, err := io.ReadAll(io.LimitReader(rc, attest.MaxBundle+1))
			rc.Close()
			if err != nil || len(b) > attest.MaxBundle {
				return nil, errors.Join(fmt.Errorf("%s: %s can't be read, or is larger than %d bytes", dir, l.Digest, attest.MaxBundle), err)
			}
			all = append(all, Source{
				Envelope: b, Certificate: []byte(l.Annotations[certAnnotation]), Entry: []byte(l.Annotations[bundleAnnotation]),
			})
		}
	}
	return all, nil
}

// logEntry is a Rekor v1 entry as both of its spellings have it.
type logEntry struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogIndex       int64  `json:"logIndex"`
	LogID          string `json:"logID"`
	Verification   struct {
		SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
		InclusionProof       *struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
	} `json:"verification"`
}

// parseEntry reads the answer of Rekor's API, which is an object with the entry
// under its UUID, or what cosign keeps, which is promise and payload.
func parseEntry(b []byte) (logEntry, error) {
	var kept struct {
		SignedEntryTimestamp []byte
		Payload              *logEntry
	}
	if err := json.Unmarshal(b, &kept); err == nil && kept.Payload != nil {
		kept.Payload.Verification.SignedEntryTimestamp = kept.SignedEntryTimestamp
		return *kept.Payload, nil
	}
	var answer map[string]logEntry
	if err := json.Unmarshal(b, &answer); err != nil || len(answer) != 1 {
		return logEntry{}, errors.New("log entry: want one entry as Rekor's API answers, or as cosign keeps it; for example: curl 'https://rekor.sigstore.dev/api/v1/log/entries?logIndex=N'")
	}
	for _, e := range answer {
		return e, nil
	}
	return logEntry{}, errors.New("unreachable")
}

// envelope is a DSSE envelope; slsa-github-generator adds the certificate.
type envelope struct {
	PayloadType string `json:"payloadType"`
	Payload     string `json:"payload"`
	Signatures  []struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
		Cert  string `json:"cert"`
	} `json:"signatures"`
}

func decode64(field, text string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("envelope: %s: %w", field, err)
	}
	return b, nil
}
