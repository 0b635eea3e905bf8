package controller

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Config is what an operator can set.
type Config struct {
	Destination  string        // below which images and evidence go
	Verify       bool          // whether a verifier follows the attester
	Signers      int           // signing TaskRuns at once
	Timeout      time.Duration // of one signing TaskRun
	RetryBase    time.Duration // before the second attempt; doubled before each later one
	RetryMax     time.Duration // between two attempts, at most
	RetryWindow  time.Duration // since the first attempt; none begins later
	Retention    time.Duration // of signing TaskRuns that have ended
	CollectEvery time.Duration // between two looks for TaskRuns to delete
	Workers      int           // runs looked at at once

	// Between tries of a request to the API server that failed.
	ErrorBackoff, ErrorBackoffMax time.Duration
}

// Flags declares the flags of c, with their defaults.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Destination, "destination", "", "`prefix` of the repositories below which a run's parameter image must lie, where image and evidence go; {tenant} in it is replaced by the tenant's name")
	fs.BoolVar(&c.Verify, "verify", true, "start the verifier after the attester")
	fs.IntVar(&c.Signers, "signers", 8, "signing TaskRuns that run at once, of all tenants")
	fs.DurationVar(&c.Timeout, "signer-timeout", 30*time.Minute, "time for one signing TaskRun")
	fs.DurationVar(&c.RetryBase, "retry-base", 15*time.Second, "wait before the second attempt to sign; doubled before each later one")
	fs.DurationVar(&c.RetryMax, "retry-max", 10*time.Minute, "longest wait between two attempts")
	fs.DurationVar(&c.RetryWindow, "retry-window", time.Hour, "time since the first attempt after which no other begins")
	fs.DurationVar(&c.Retention, "retention", 24*time.Hour, "age at which signing TaskRuns are deleted, and after which a run that nobody holds is left alone")
	fs.DurationVar(&c.CollectEvery, "collect-every", 10*time.Minute, "time between two looks for TaskRuns to delete")
	fs.IntVar(&c.Workers, "workers", 4, "runs looked at at once")
	fs.DurationVar(&c.ErrorBackoff, "error-backoff", 500*time.Millisecond, "wait before a failed request to the API server is tried again; doubled each time")
	fs.DurationVar(&c.ErrorBackoffMax, "error-backoff-max", 2*time.Minute, "longest wait before a failed request is tried again")
}

// Check reports settings that can't work.
func (c *Config) Check() error {
	var errs []error
	if c.Destination == "" {
		errs = append(errs, errors.New("--destination is missing: name what the repositories of images begin with"))
	}
	if c.Signers < 1 || c.Workers < 1 {
		errs = append(errs, errors.New("--signers and --workers must be at least 1"))
	}
	for name, d := range map[string]time.Duration{
		"signer-timeout": c.Timeout, "retry-base": c.RetryBase, "retry-max": c.RetryMax, "retry-window": c.RetryWindow,
		"retention": c.Retention, "collect-every": c.CollectEvery, "error-backoff": c.ErrorBackoff, "error-backoff-max": c.ErrorBackoffMax,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("--%s must be longer than 0", name))
		}
	}
	// TaskRuns are the memory of what was tried: deleting them too early would sign again.
	if c.Retention < c.RetryWindow+c.RetryMax+c.Timeout {
		errs = append(errs, errors.New("--retention must be longer than --retry-window, --retry-max and --signer-timeout together"))
	}
	return errors.Join(errs...)
}

// backoff is the wait after attempt n.
func (c *Config) backoff(n int) time.Duration {
	d := c.RetryBase
	for ; n > 0 && d < c.RetryMax; n-- {
		d *= 2
	}
	return min(d, c.RetryMax)
}

// below is what the repositories of a tenant's images begin with.
func (c *Config) below(namespace string) string {
	return strings.ReplaceAll(strings.TrimSuffix(c.Destination, "/"), "{tenant}", strings.TrimPrefix(namespace, BuildPrefix)) + "/"
}

// misplaced says why a run's image may not go where the run wants it, if it may not.
func (c *Config) misplaced(r run) string {
	switch below := c.below(r.namespace); {
	case !place.MatchString(r.wanted):
		return fmt.Sprintf("the parameter image is not HOST/NAME or HOST/NAME:TAG: %q", clean(r.wanted, maxQuote))
	case !strings.HasPrefix(r.wanted, below):
		return fmt.Sprintf("the parameter image is %q, and images of %s go below %s", clean(r.wanted, maxQuote), r.namespace, below)
	}
	return ""
}

// place matches where an image may go: a repository, and a tag if it is to have one.
var place = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$`)

// repository is a place without its tag.
func repository(place string) string {
	if i := strings.LastIndexByte(place, ':'); i > strings.LastIndexByte(place, '/') {
		return place[:i]
	}
	return place
}

var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
