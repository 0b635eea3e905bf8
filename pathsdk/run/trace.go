package run

import (
	"context"

	"github.com/pavedpaths/paths/pathsdk/telemetry"
)

// traced puts each call into a span.
func (r *Runner) traced(next invoker) invoker {
	return func(ctx context.Context, c *call) (outcome, error) {
		ctx, span := telemetry.Task(ctx, c.id, r.id, string(c.spec.Zone))
		o, err := next(ctx, c)
		span.SetAttributes(telemetry.CachedKey.Bool(o.cached), telemetry.DigestKey.String(string(o.result.Subject.Digest)))
		telemetry.End(span, true, err)
		return o, err
	}
}
