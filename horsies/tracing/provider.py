"""Whether this process makes spans, without an import of OpenTelemetry.

A program that makes spans has imported ``opentelemetry.trace``, because it has set a tracer provider with it. In any
other program, this module looks up one name in a dictionary, and `horsies.tracing.spans`, which needs OpenTelemetry, is
never imported.
"""

import sys
import threading
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from horsies.tracing.spans import Tracing

_API = "opentelemetry.trace"
FLUSH_WITHIN_S = 3.0
"""The longest time for which the end of a child waits for the export of its spans, in seconds."""


def tracing() -> "Tracing | None":
    """Return what makes spans. Return None if the program has set no tracer provider."""
    return None if _API not in sys.modules else _spans().Tracing.find()


@cache
def _spans() -> ModuleType:
    return import_module("horsies.tracing.spans")


def trace_ids() -> tuple[str, str] | None:
    """Return the trace id and the span id of the current span, as hex digits. Return None if there is no span."""
    found = tracing()
    return None if found is None else found.current_ids()


def flush_spans() -> None:
    """Export the spans of this process that have ended, for at most `FLUSH_WITHIN_S`.

    The export runs in a thread, because some exporters ignore the time that they are given.
    """
    found = tracing()
    if found is not None:
        exporting = threading.Thread(target=found.flush, args=(FLUSH_WITHIN_S,), name="horsies-flush", daemon=True)
        exporting.start()
        exporting.join(FLUSH_WITHIN_S)
