"""The spans of sends and attempts. This module needs ``opentelemetry-api``; see `horsies.tracing.provider`.

Names and attributes follow the semantic conventions of OpenTelemetry for messaging. No attribute has an argument, a
result or the text of an exception.
"""

import json
import logging
from collections.abc import Mapping
from contextvars import Token
from typing import Any, Self

from opentelemetry import baggage as baggage_api
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from horsies.events import event
from horsies.tracing.policy import TracePolicy
from horsies.version import __version__

SYSTEM = "horsies"
MAX_CONTEXT_BYTES = 8192
"""The largest trace context that a task carries. Baggage that does not fit is left out."""

_TRACE = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()

type Attributes = Mapping[str, str | int]


class SendSpan:
    """The span of a send, which has begun.

    Attributes:
        context: The JSON that the task carries.
    """

    def __init__(self, span: Span, context: bytes) -> None:
        self._span = span
        self.context = context

    def end(self, error_type: str | None, attributes: Attributes) -> None:
        """End the span.

        Args:
            error_type: The code of the error; None: the send has succeeded.
            attributes: Attributes that are known now.
        """
        _end(self._span, error_type, attributes)


class AttemptSpan:
    """The span of an attempt, which is the current span until it ends.

    Attributes:
        traceparent: Identifies the span, in the format of W3C Trace Context.
    """

    def __init__(self, span: Span, token: Token[Context]) -> None:
        self._span = span
        self._token = token
        self.traceparent = _inject(span).get("traceparent", "")

    def end(self, error_type: str | None, attributes: Attributes) -> None:
        """End the span, in the context in which it began.

        Args:
            error_type: The code of the error; None: the attempt has not failed.
            attributes: Attributes that are known now.
        """
        context_api.detach(self._token)
        _end(self._span, error_type, attributes)


class Tracing:
    """Makes the spans of this process, with the tracer provider of the program."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer(SYSTEM, __version__)

    @classmethod
    def find(cls) -> Self | None:
        """Return what makes spans with the current provider. Return None if the program has set none."""
        provider = trace.get_tracer_provider()
        if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider):
            return None
        if _latest[0] is not provider:
            _latest[:] = [provider, cls(provider)]
        return _latest[1]

    def begin_send(self, name: str, policy: TracePolicy, attributes: Attributes) -> SendSpan | None:
        """Begin the span of a send, as a child of the current span. Return None if a span processor fails.

        Args:
            name: The name of the task or the workflow; empty: it is not known.
            policy: The settings of the app.
            attributes: Further attributes.
        """
        given = {"messaging.operation.name": "send", "messaging.operation.type": "send", **attributes}
        try:
            span = self._start(f"send {name}".strip(), None, SpanKind.PRODUCER, given, [])
            return SendSpan(span, _encode(span, policy))
        except Exception as error:  # noqa: BLE001 - a span processor of the user may raise anything
            _report(error)
            return None

    def begin_attempt(
        self, name: str, trace_context: bytes, policy: TracePolicy, attributes: Attributes
    ) -> AttemptSpan | None:
        """Begin the span of an attempt, and make it the current span. Return None if a span processor fails.

        Args:
            name: The name of the task.
            trace_context: The stored trace context of the task; empty: it has none.
            policy: The settings of the app.
            attributes: Further attributes.
        """
        given = {"messaging.operation.name": "process", "messaging.operation.type": "process", **attributes}
        try:
            parent, links = _stored_relations(trace_context, policy)
            span = self._start(f"process {name}", parent, SpanKind.CONSUMER, given, links)
            token = context_api.attach(trace.set_span_in_context(span, parent))
            return AttemptSpan(span, token)
        except Exception as error:  # noqa: BLE001 - a span processor of the user may raise anything
            _report(error)
            return None

    def current_ids(self) -> tuple[str, str] | None:
        """Return the trace id and the span id of the current span, as hex digits. Return None if there is no span."""
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return None
        return trace.format_trace_id(current.trace_id), trace.format_span_id(current.span_id)

    def flush(self, within_s: float) -> None:
        """Let the provider export the spans that have ended, if it can."""
        force_flush = getattr(self._provider, "force_flush", None)
        if force_flush is not None:
            try:
                force_flush(int(within_s * 1000))
            except Exception as error:  # noqa: BLE001 - an exporter of the user may raise anything
                _report(error)

    def _start(
        self, name: str, parent: Context | None, kind: SpanKind, attributes: Attributes, links: list[Link]
    ) -> Span:
        given = {"messaging.system": SYSTEM, **attributes}
        return self._tracer.start_span(name, parent, kind, given, links)


_latest: list[Any] = [None, None]  # the provider that was seen last, and what makes spans with it


def _end(span: Span, error_type: str | None, attributes: Attributes) -> None:
    try:
        span.set_attributes(attributes)
        if error_type is not None:
            span.set_attribute("error.type", error_type)
            span.set_status(Status(StatusCode.ERROR))
        span.end()
    except Exception as error:  # noqa: BLE001 - a span processor of the user may raise anything
        _report(error)


def _report(error: Exception, cause: str = "a span processor or an exporter raised") -> None:
    event("trace.failed", level=logging.WARNING, reason=f"{cause} {type(error).__name__}")


def _inject(span: Span) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _TRACE.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier


def _encode(span: Span, policy: TracePolicy) -> bytes:
    """Return the trace context of a task as JSON: the span of the send and, if configured, the sender's baggage."""
    carrier = _inject(span)
    if policy.carries_baggage:
        with_baggage = dict(carrier)
        _BAGGAGE.inject(with_baggage)
        encoded = json.dumps(with_baggage).encode()
        if len(encoded) <= MAX_CONTEXT_BYTES:
            return encoded
    return json.dumps(carrier).encode()


def _stored_relations(trace_context: bytes, policy: TracePolicy) -> tuple[Context, list[Link]]:
    """Return the parent context and the links of an attempt; none if the task carries no valid trace context."""
    try:
        carried: dict[str, Any] = json.loads(trace_context) if trace_context else {}
        return _relations(carried, policy)
    except Exception as error:  # noqa: BLE001 - a direct call of a function of the database can store any JSON
        _report(error, "the trace context of the task is not valid, so the span has no links: reading it raised")
        return Context(), []


def _relations(carried: dict[str, Any], policy: TracePolicy) -> tuple[Context, list[Link]]:
    """Return the parent context of an attempt, and the links of its span.

    With ``trace_relation="child"`` the span of the sender is the parent; it is a link otherwise. Without a parent, the
    attempt begins a trace, whatever span is current in the worker.
    """
    sender = _TRACE.extract(carried, Context())
    is_child = policy.relation == "child"
    links = [] if is_child else _link(sender, "send")
    if "attempt" in carried:
        links += _link(_TRACE.extract({"traceparent": carried["attempt"]}, Context()), "attempt")
    for upstream in carried.get("links", ()):
        links += _link(_TRACE.extract({"traceparent": upstream}, Context()), "upstream")
    parent = sender if is_child else Context()
    if policy.carries_baggage and "baggage" in carried:
        for name, value in baggage_api.get_all(_BAGGAGE.extract(carried, Context())).items():
            parent = baggage_api.set_baggage(name, value, parent)
    return parent, links


def _link(context: Context, relation: str) -> list[Link]:
    target = trace.get_current_span(context).get_span_context()
    return [Link(target, {"horsies.link": relation})] if target.is_valid else []
