"""Traces: spans of OpenTelemetry for sends and attempts, made only in programs that have set a tracer provider."""
