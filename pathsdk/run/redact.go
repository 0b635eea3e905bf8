package run

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// redacted hides the content of a call's secret inputs from its log. Secrets
// shorter than 6 bytes are not hidden: replacing them would garble every line.
func (r *Runner) redacted(c *call, next slog.Handler) slog.Handler {
	var pairs []string
	_, _ = pathFields(c.spec.Inputs, c.in, func(f step.Field, path string) (string, error) {
		if f.Kind != step.KindSecret {
			return path, nil
		}
		if b, err := bounded.ReadFile(path, 1<<20); err == nil {
			if s := strings.TrimSpace(string(b)); len(s) >= 6 {
				pairs = append(pairs, s, "[redacted]")
				if q, err := json.Marshal(s); err == nil {
					pairs = append(pairs, strings.Trim(string(q), `"`), "[redacted]")
				}
			}
		}
		return path, nil
	})
	if len(pairs) == 0 {
		return next
	}
	return &redactor{next: next, replace: strings.NewReplacer(pairs...)}
}

type redactor struct {
	next    slog.Handler
	replace *strings.Replacer
}

func (h *redactor) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h *redactor) Handle(ctx context.Context, rec slog.Record) error {
	clean := slog.NewRecord(rec.Time, rec.Level, h.replace.Replace(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

func (h *redactor) attr(a slog.Attr) slog.Attr {
	return slog.String(a.Key, h.replace.Replace(a.Value.String()))
}

func (h *redactor) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &redactor{next: h.next.WithAttrs(clean), replace: h.replace}
}

func (h *redactor) WithGroup(name string) slog.Handler {
	return &redactor{next: h.next.WithGroup(name), replace: h.replace}
}
