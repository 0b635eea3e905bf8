package attest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tilespb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	// rekorTiles is the API version of Rekor v2, a log made of tiles.
	rekorTiles = 2
	// retries is how often a service is asked again, within the time of one question.
	retries = 5
	// trying bounds one of those tries.
	trying = 10 * time.Second
	// maxEntry bounds a log's answer, which holds the entry.
	maxEntry = 64 << 20
)

// retrying asks again when a service does not answer, or answers 5xx or 429. All
// questions that signing asks are safe to be asked twice.
func retrying(transport http.RoundTripper) http.RoundTripper {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.HTTPClient = &http.Client{Transport: transport, Timeout: trying}
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = retries, 200*time.Millisecond, 5*time.Second
	// The last answer says more than that there were so many.
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &retryablehttp.RoundTripper{Client: c}
}

// tiles adds entries to Rekor v2.
type tiles struct {
	url    string
	client *http.Client
}

var _ sign.RekorV2Client = (*tiles)(nil)

func newTiles(url string, transport http.RoundTripper) *tiles {
	return &tiles{url: strings.TrimSuffix(url, "/"), client: &http.Client{Transport: retrying(transport), Timeout: asking}}
}

// Add implements sign.RekorV2Client.
func (t *tiles) Add(ctx context.Context, entry any) (*protorekor.TransparencyLogEntry, error) {
	dsse, ok := entry.(*tilespb.DSSERequestV002)
	if !ok {
		return nil, fmt.Errorf("entry of type %T, want a DSSE envelope", entry)
	}
	body, err := protojson.Marshal(&tilespb.CreateEntryRequest{Spec: &tilespb.CreateEntryRequest_DsseRequestV002{DsseRequestV002: dsse}})
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
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxEntry+1))
	if err != nil {
		return nil, fmt.Errorf("%s: read answer: %w", t.url, err)
	}
	if len(answer) > maxEntry {
		return nil, fmt.Errorf("%s: the answer is larger than %d bytes", t.url, maxEntry)
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
