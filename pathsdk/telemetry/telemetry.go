// Package telemetry sets up OpenTelemetry tracing and names our spans and
// attributes, after the CI/CD semantic conventions of OpenTelemetry 1.40.
package telemetry

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/pavedpaths/paths/pathsdk/telemetry"

// Attributes beyond the semantic conventions.
const (
	ZoneKey   = attribute.Key("pavedpaths.zone")
	CachedKey = attribute.Key("pavedpaths.cached")
	DigestKey = attribute.Key("pavedpaths.subject.digest")
)

// Setup starts the export of traces over OTLP/HTTP if the host's environment
// names an endpoint, and continues the trace in traceparent. Without an endpoint
// nothing leaves the machine. The returned function flushes; call it once.
func Setup(ctx context.Context, version, endpoint, traceparent, tracestate string) (context.Context, func(context.Context) error, error) {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate})
	if endpoint == "" {
		return ctx, func(context.Context) error { return nil }, nil
	}
	// The exporter reads OTEL_EXPORTER_OTLP_* itself, as users expect of it.
	exp, err := otlptracehttp.New(ctx)
	if err != nil {
		return ctx, nil, fmt.Errorf("export traces to %s: %w", endpoint, err)
	}
	res := resource.NewSchemaless(semconv.ServiceName("pathctl"), semconv.ServiceVersion(version))
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exp), sdktrace.WithResource(res))
	otel.SetTracerProvider(tp)
	return ctx, tp.Shutdown, nil
}

// Traceparent is the W3C trace context of ctx, for a child process; empty
// without one.
func Traceparent(ctx context.Context) string {
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c["traceparent"]
}

// Pipeline starts the span of one run of a path.
func Pipeline(ctx context.Context, path, run string) (context.Context, trace.Span) {
	return otel.Tracer(scope).Start(ctx, "RUN "+path, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.CICDPipelineName(path), semconv.CICDPipelineRunID(run)))
}

// Past makes the span of a node that ran before, where nothing could report it.
func Past(ctx context.Context, node, run, zone string, started, finished time.Time) {
	_, span := task(ctx, node, run, zone, trace.WithTimestamp(started))
	span.SetAttributes(semconv.CICDPipelineTaskRunResultSuccess)
	span.End(trace.WithTimestamp(finished))
}

// Task starts the span of one node of a path.
func Task(ctx context.Context, node, run, zone string) (context.Context, trace.Span) {
	return task(ctx, node, run, zone)
}

func task(ctx context.Context, node, run, zone string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	attrs := []attribute.KeyValue{
		semconv.CICDPipelineTaskName(node), semconv.CICDPipelineTaskRunID(run + "/" + node), ZoneKey.String(zone),
	}
	switch node {
	case "build":
		attrs = append(attrs, semconv.CICDPipelineTaskTypeBuild)
	case "test":
		attrs = append(attrs, semconv.CICDPipelineTaskTypeTest)
	}
	return otel.Tracer(scope).Start(ctx, node, append(opts, trace.WithAttributes(attrs...))...)
}

// End ends the span of a pipeline or a task with its result.
func End(span trace.Span, task bool, err error) {
	result := semconv.CICDPipelineResultSuccess
	if task {
		result = semconv.CICDPipelineTaskRunResultSuccess
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		result = semconv.CICDPipelineResultFailure
		if task {
			result = semconv.CICDPipelineTaskRunResultFailure
		}
	}
	span.SetAttributes(result)
	span.End()
}
