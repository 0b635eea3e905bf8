package attest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tilespb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	// rekorTiles is the API version of Rekor v2, a log made of tiles.
	rekorTiles = 2
	// retries is how often a service is asked again, within the time of one question.
	retries = 8
	// trying bounds one of those tries.
	trying = 10 * time.Second
	// maxAnswer bounds an answer: a log's entry with its proof, or 256 entries.
	maxAnswer = 16 << 20
)

// retrying asks again when a service does not answer, or answers 5xx or 429. All
// questions that signing asks are safe to be asked twice.
func retrying(transport http.RoundTripper) http.RoundTripper {
	c := retryablehttp.NewClient()
	c.Logger = nil
	if transport == nil {
		transport = http.DefaultTransport
	}
	c.HTTPClient = &http.Client{Transport: whole{transport}, Timeout: trying}
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = retries, 200*time.Millisecond, time.Second
	// Several signatures are on their way at once: they must not come back at once.
	c.Backoff = retryablehttp.LinearJitterBackoff
	// The last answer says more than that there were so many.
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &retryablehttp.RoundTripper{Client: c}
}

// whole gives an answer when all of it has come: one that is cut off is none, and worth
// another try.
type whole struct{ http.RoundTripper }

func (w whole) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// tiles adds entries to Rekor v2.
type tiles struct {
	url     string
	client  *http.Client
	trusted *root.TrustedRoot
}

var _ sign.RekorV2Client = (*tiles)(nil)

func newTiles(url string, transport http.RoundTripper, trusted *root.TrustedRoot) *tiles {
	return &tiles{url: strings.TrimSuffix(url, "/"), client: &http.Client{Transport: retrying(transport), Timeout: asking}, trusted: trusted}
}

// Add implements sign.RekorV2Client. The log takes a signature and the digest of what
// was signed, so that an envelope goes there as its pre-authentication encoding's.
func (t *tiles) Add(ctx context.Context, entry any) (*protorekor.TransparencyLogEntry, error) {
	in, ok := entry.(*tilespb.DSSERequestV002)
	if !ok || len(in.GetEnvelope().GetSignatures()) != 1 || len(in.GetVerifiers()) != 1 {
		return nil, fmt.Errorf("entry of type %T, want a DSSE envelope with one signature", entry)
	}
	// Every key that signs here is for SHA-256.
	sum := sha256.Sum256(dsse.PAE(in.GetEnvelope().GetPayloadType(), in.GetEnvelope().GetPayload()))
	body, err := protojson.Marshal(&tilespb.CreateEntryRequest{Spec: &tilespb.CreateEntryRequest_HashedRekordRequestV002{
		HashedRekordRequestV002: &tilespb.HashedRekordRequestV002{
			Digest:    sum[:],
			Signature: &tilespb.Signature{Content: in.GetEnvelope().GetSignatures()[0].GetSig(), Verifier: in.GetVerifiers()[0]},
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url+"/api/v2/log/entries", bytes.NewReader(body))
	if err != nil {
		return nil, step.Usagef("URL of the log: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body) // whole gives no more than maxAnswer
	if err != nil {
		return nil, fmt.Errorf("%s: read answer: %w", t.url, err)
	}
	// An answer that was lost on its way, or another run: the log has it.
	if index, ok := duplicateOf(answer); ok && resp.StatusCode == http.StatusConflict {
		return t.find(ctx, index)
	}
	if resp.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("%s answers %s: %.300s", t.url, resp.Status, bytes.TrimSpace(answer))
	}
	var e protorekor.TransparencyLogEntry
	if err := protojson.Unmarshal(answer, &e); err != nil {
		return nil, fmt.Errorf("%s: unreadable entry: %w", t.url, err)
	}
	if e.GetInclusionProof() == nil {
		return nil, errors.New(t.url + ": the entry has no inclusion proof")
	}
	return &e, nil
}
