package export

import (
	"bytes"
	"encoding/json"
	"fmt"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// trustedRoot is a signer's Sigstore.
type trustedRoot struct {
	*prototrustroot.TrustedRoot
	text string // indented as we do it, for people to read
}

func parseRoot(s Signer) (trustedRoot, error) {
	r := trustedRoot{TrustedRoot: &prototrustroot.TrustedRoot{}}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(s.Identity.TrustedRoot, r.TrustedRoot); err != nil {
		return r, step.Usagef("signer %s: trusted root: %w", s.Name, err)
	}
	if s.Identity.Log && len(r.Tlogs) == 0 {
		return r, step.Usagef("signer %s: the trusted root has no transparency log: give another, or say log: none", s.Name)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(s.Identity.TrustedRoot), "", "  "); err != nil {
		return r, fmt.Errorf("signer %s: trusted root: %w", s.Name, err)
	}
	r.text = b.String() + "\n"
	return r, nil
}
