"""Spans of OpenTelemetry in tests: a tracer provider for one test, and the spans that it has exported."""

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once


class Spans:
    """The spans that have ended since the test began."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        """Read the spans of an exporter."""
        self._exporter = exporter

    def all(self) -> list[ReadableSpan]:
        """Return all spans, in the order in which they ended."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans with a name, in the order in which they ended."""
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """Return the only span with a name."""
        (span,) = self.named(name)
        return span


@contextmanager
def traced(*processors: SpanProcessor) -> Generator[Spans]:
    """Set a tracer provider, which the API allows once in a process, and take it away again at the end."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "tests"}), shutdown_on_exit=False)
    for processor in (SimpleSpanProcessor(exporter), *processors):
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    try:
        yield Spans(exporter)
    finally:
        trace._TRACER_PROVIDER = None  # pyright: ignore[reportPrivateUsage]
        trace._TRACER_PROVIDER_SET_ONCE = Once()  # pyright: ignore[reportPrivateUsage]
        provider.shutdown()


def links_of(span: ReadableSpan) -> list[tuple[str, int]]:
    """Return what each link of a span stands for, and the id of the span that it leads to."""
    return [(str((link.attributes or {})["horsies.link"]), link.context.span_id) for link in span.links]


def id_of(span: ReadableSpan) -> int:
    """Return the id of a span."""
    return context_of(span).span_id


def context_of(span: ReadableSpan) -> trace.SpanContext:
    """Return the context of a span, which every span that has ended has."""
    context = span.get_span_context()
    assert context is not None
    return context
