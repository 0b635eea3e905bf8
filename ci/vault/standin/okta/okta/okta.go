// Package okta stands in for Okta's SDK, which is a good part of what is compiled for
// Vault alone: enough that Vault's second factor at login compiles, and says of Okta's that
// it is not here.
package okta

import (
	"context"
	"errors"
)

var errAbsent = errors.New("this Vault for tests has no Okta: ci/vault/standin/okta is compiled into it")

// Configuration is never made.
type Configuration struct{ Context context.Context }

type ConfigSetter func(*Configuration)

func set(*Configuration) {}

func WithToken(string) ConfigSetter  { return set }
func WithOrgUrl(string) ConfigSetter { return set }
func WithCache(bool) ConfigSetter    { return set }

func NewConfiguration(...ConfigSetter) (*Configuration, error) { return nil, errAbsent }

type APIClient struct {
	UserAPI       Users
	UserFactorAPI Factors
	config        *Configuration
}

func NewAPIClient(c *Configuration) *APIClient { return &APIClient{config: c} }

func (c *APIClient) GetConfig() *Configuration { return c.config }

// Request is one that always fails.
type Request[T any] struct{}

func (r Request[T]) Filter(string) Request[T] { return r }

func (Request[T]) Execute() (answer T, response *APIResponse, err error) {
	return answer, nil, errAbsent
}

type APIResponse struct{}

type Users struct{}

func (Users) ListUsers(context.Context) (r Request[[]User]) { return r }

type User struct{}

func (*User) GetId() string { return "" }

type Factors struct{}

func (Factors) ListFactors(_ context.Context, user string) (r Request[[]Factor]) { return r }

func (Factors) VerifyFactor(_ context.Context, user, factor string) (r Request[*Verification]) {
	return r
}

func (Factors) GetFactorTransactionStatus(_ context.Context, user, factor, transaction string) (r Request[*Status]) {
	return r
}

type Factor struct{ UserFactorPush *UserFactorPush }

type UserFactorPush struct{}

func (*UserFactorPush) GetId() string { return "" }

type Verification struct{ Links map[string]any }

func (*Verification) GetFactorResult() string { return "" }

type Status struct {
	UserFactorPushTransaction, UserFactorPushTransactionWaiting         *struct{}
	UserFactorPushTransactionRejected, UserFactorPushTransactionTimeout *struct{}
}
