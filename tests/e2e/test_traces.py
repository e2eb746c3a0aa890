"""Spans of real workers: exported by their children, also those that end at the stop of the worker."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.environment import Environment
from tests.support.spans import context_of, traced
from tests.support.workers import WorkerProcess

TRACED = """
import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from mixed_tasks import app


@app.on_child_process_start
def export_spans() -> None:
    file = open(f"spans-{os.getpid()}", "w")
    exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\\n")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    trace.set_tracer_provider(provider)
"""
AT_IMPORT = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from mixed_tasks import app

trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
"""
STUCK = TRACED.replace(
    "    trace.set_tracer_provider(provider)",
    "    provider.force_flush = lambda timeout_millis: open('flushing', 'w').close() or time.sleep(3600)\n"
    "    trace.set_tracer_provider(provider)",
).replace("import os\n", "import os\nimport time\n")


def worker_of(environment: Environment, source: str, *args: str) -> WorkerProcess:
    (environment.folder / "traced.py").write_text(source)
    return environment.worker(*args, app="traced:app")


def exported(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("spans-*")) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        ["--start-method=fork", "--processes=2"],
        ["--start-method=spawn", "--processes=1"],
        ["--start-method=fork", "--processes=1", "--concurrency=4"],
    ],
    ids=" ".join,
)
def test_no_span_is_lost_when_the_worker_stops(environment: Environment, options: list[str]) -> None:
    worker = worker_of(environment, TRACED, *options)
    with traced() as spans:
        handles = [environment.send("ok", f"task-{number}") for number in range(20)]
        sent = {handle.task_id: span for handle, span in zip(handles, spans.named("send ok"), strict=True)}
    assert all(handle.get(timeout_ms=40_000).is_ok() for handle in handles)
    assert not exported(environment.folder), "the spans wait for the end of their children"
    assert worker.stop() == 0
    found = exported(environment.folder)
    assert {span["name"] for span in found} == {"process ok"}
    assert {span["attributes"]["messaging.message.id"] for span in found} == set(sent)
    assert len(found) == len(sent)
    for span in found:
        (link,) = span["links"]
        assert (
            int(link["context"]["span_id"], 16) == context_of(sent[span["attributes"]["messaging.message.id"]]).span_id
        )


def test_a_provider_that_does_not_end_its_flush_does_not_keep_the_worker(environment: Environment) -> None:
    worker = worker_of(environment, STUCK, "--processes=1")
    assert environment.send("ok", "task").get(timeout_ms=40_000).is_ok()
    assert worker.stop() == 0
    assert (environment.folder / "flushing").exists()


def test_a_provider_with_a_thread_at_import_is_refused_with_the_place_for_it(environment: Environment) -> None:
    worker = worker_of(environment, AT_IMPORT)
    assert worker.wait() == 1
    assert "Otel" in worker.log()
    assert "tracer providers" in worker.log()
    assert "@app.on_child_process_start" in worker.log()
