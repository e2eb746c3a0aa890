"""The tasks of the benchmarks in a program that has imported the API of OpenTelemetry and has set no provider."""

from bench_tasks import app
from opentelemetry import trace

__all__ = ["app", "trace"]
