"""`TaskLogFilter`: the running task in log records, in the formats of the worker and of a user."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from logging.handlers import QueueHandler
from queue import SimpleQueue
from uuid import UUID

import pytest

from horsies import AppConfig, CurrentTask, Horsies, PostgresConfig, TaskLogFilter
from horsies.events import JsonFormatter, ShortFormatter, TextFormatter, event
from horsies.tasks.current import Reporter, Running

ID = UUID("01a2147b-3ac9-7436-8cd9-4df6c5012836")
SHOWN = f"task=ship_order id={ID} attempt=2"

type Attach = Callable[[logging.Handler], logging.Logger]


@pytest.fixture
def running() -> Running:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://h/db")))
    return Running(
        CurrentTask(Reporter(app.producer.runner), ID, 2, name="ship_order", queue="default", timeout_ms=None)
    )


@pytest.fixture
def attach() -> Iterator[Attach]:
    """Yield a function that adds a handler with the filter to the root logger, and returns the logger of a user."""
    root, added = logging.getLogger(), list[logging.Handler]()

    def attach(handler: logging.Handler) -> logging.Logger:
        handler.addFilter(TaskLogFilter())
        root.addHandler(handler)
        added.append(handler)
        return logging.getLogger("shop.parcels")

    yield attach
    for handler in added:
        root.removeHandler(handler)


def formatted_by(formatter: logging.Formatter) -> tuple[logging.StreamHandler[io.StringIO], io.StringIO]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    return handler, written


@pytest.mark.parametrize("formatter", [TextFormatter(), ShortFormatter()], ids=["text", "short"])
def test_a_line_of_a_task_names_the_task(running: Running, attach: Attach, formatter: logging.Formatter) -> None:
    handler, written = formatted_by(formatter)
    log = attach(handler)
    with running:
        log.warning("handed over")
    log.warning("outside")
    inside, outside = written.getvalue().splitlines()
    assert inside.endswith(f"WARNING handed over logger=shop.parcels {SHOWN}")
    assert outside.endswith("WARNING outside logger=shop.parcels")


def test_json_has_the_task_as_fields(running: Running, attach: Attach) -> None:
    handler, written = formatted_by(JsonFormatter())
    log = attach(handler)
    with running:
        log.warning("handed over")
    log.warning("outside")
    inside, outside = map(json.loads, written.getvalue().splitlines())
    assert (inside["task"], inside["id"], inside["attempt"]) == ("ship_order", str(ID), 2)
    assert not {"task", "id", "attempt"} & set(outside)


def test_an_event_shows_each_field_once(running: Running, attach: Attach) -> None:
    handler, written = formatted_by(TextFormatter())
    attach(handler)
    with running:
        event("hook.failed", level=logging.WARNING, task="ship_order", reason="closed")
    assert written.getvalue().endswith(f"hook.failed {SHOWN} reason=closed\n")


def test_a_formatter_of_a_user_can_name_the_task_and_its_absence(running: Running, attach: Attach) -> None:
    handler, written = formatted_by(logging.Formatter("%(message)s %(task_name)s %(task_id)s %(task_attempt)s"))
    log = attach(handler)
    with running:
        log.warning("inside")
    log.warning("outside")
    assert written.getvalue().splitlines() == [f"inside ship_order {ID} 2", "outside - - -"]


def test_a_record_that_passed_a_queue_keeps_its_task(running: Running, attach: Attach) -> None:
    """A QueueHandler logs in the thread of the task, and the handlers behind it in another one."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    log = attach(QueueHandler(queue))
    with running:
        log.warning("queued")
    handler, written = formatted_by(TextFormatter())
    handler.addFilter(TaskLogFilter())
    handler.handle(queue.get())
    assert written.getvalue().endswith(f"{SHOWN}\n")
