"""Tracing is off, and costs no import, in a program without a tracer provider; and trace ids in log records."""

import logging
import subprocess
import sys
import threading

import pytest
from opentelemetry import trace

from horsies import TaskLogFilter
from horsies.events import JsonFormatter, TextFormatter
from horsies.tracing.provider import FLUSH_WITHIN_S, flush_spans, trace_ids, tracing
from tests.support.spans import traced

WITHOUT = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Missing())
import logging
from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskLogFilter, TaskResult

app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/nowhere")))


@app.task("add")
def add(a: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a)


failed = add.send(1)
assert failed.err_value.retryable, failed
record = logging.makeLogRecord({})
TaskLogFilter().filter(record)
print(record.trace_id, record.span_id, record.task_id, "opentelemetry" in sys.modules)
"""


def test_it_works_without_the_extra() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["-", "-", "-", "False"]


def test_the_api_alone_makes_no_spans() -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert tracing() is trace_ids() is None


def test_a_provider_is_looked_up_at_each_use() -> None:
    with traced():
        first = tracing()
        assert first is tracing() is not None
    assert tracing() is None
    with traced():
        assert tracing() not in (None, first)


def test_log_records_have_the_ids_of_the_current_span() -> None:
    record = logging.makeLogRecord({"msg": "handed over"})
    with traced(), trace.get_tracer("shop").start_as_current_span("work") as span:
        TaskLogFilter().filter(record)
        current = span.get_span_context()
    trace_id = trace.format_trace_id(current.trace_id)
    assert logging.Formatter("%(trace_id)s %(span_id)s").format(record) == (
        f"{trace_id} {trace.format_span_id(current.span_id)}"
    )
    assert f"handed over logger=root trace_id={trace_id}" in TextFormatter().format(record).replace("=None", "=root")
    assert f'"trace_id": "{trace_id}"' in JsonFormatter().format(record)


def test_a_record_that_has_a_trace_keeps_it() -> None:
    record = logging.makeLogRecord({"trace_id": "from elsewhere"})
    with traced(), trace.get_tracer("shop").start_as_current_span("work"):
        TaskLogFilter().filter(record)
    assert vars(record)["trace_id"] == "from elsewhere"


def test_a_flush_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    given, released = list[int](), threading.Event()

    def never_end(timeout_millis: int) -> None:
        given.append(timeout_millis)
        released.wait()

    monkeypatch.setattr("horsies.tracing.provider.FLUSH_WITHIN_S", 0.05)
    with traced():
        monkeypatch.setattr(trace.get_tracer_provider(), "force_flush", never_end)
        flush_spans()
        assert [thread.name for thread in threading.enumerate() if thread.name == "horsies-flush"]
        released.set()
    assert given == [50]
    assert FLUSH_WITHIN_S < 5
