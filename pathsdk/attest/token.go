package attest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxToken bounds an identity token in bytes; those of Kubernetes and GitHub have less than
// 4 KiB.
const MaxToken = 64 << 10

// claimed is what an identity token says of itself. Nothing is verified: the
// certificate authority does that.
type claimed struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Email    string `json:"email"`
	Workflow string `json:"job_workflow_ref"`
	Expiry   int64  `json:"exp"`
}

// id tells identities apart by what certificate authorities make names of.
func (c claimed) id() string {
	return strings.Join([]string{"identity", c.Issuer, c.Subject, c.Email, c.Workflow}, "\n")
}

// readToken reads the claims of a JSON Web Token (RFC 7519).
func readToken(text string) (claimed, error) {
	var c claimed
	if len(text) > MaxToken {
		return c, fmt.Errorf("%d bytes are more than the limit of %d", len(text), MaxToken)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return c, errors.New("it is no JSON Web Token: want three parts with dots between")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, errors.New("it is no JSON Web Token: its claims are not base64url") // never a part of it
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, errors.New("it is no JSON Web Token: its claims are no JSON object")
	}
	if c.Issuer == "" || c.Subject == "" {
		return c, errors.New("it names no issuer or no subject")
	}
	if c.Expiry > 0 && time.Now().Unix() > c.Expiry {
		return c, fmt.Errorf("it ran out at %s: get a new one", time.Unix(c.Expiry, 0).UTC().Format(time.RFC3339))
	}
	return c, nil
}
