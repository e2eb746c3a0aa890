"""A failed send is logged by the producer, because the program may ignore the result."""

import asyncio
import json
import logging
import pickle
from collections.abc import Callable

import pytest

from horsies import (
    AppConfig,
    Err,
    Horsies,
    PostgresConfig,
    TaskError,
    TaskResult,
    TaskSendError,
    UnwrapError,
    WorkflowStartError,
)
from horsies.events import JsonFormatter, TextFormatter
from horsies.producer.suppression import Suppression, sends_suppressed

SECRET = "4111-1111-1111-1111"
AWAY = "postgresql://me:hunter2@127.0.0.1:1/none"


@pytest.fixture
def app() -> Horsies:
    return Horsies(AppConfig(broker=PostgresConfig(database_url=AWAY)))


def charge(card: str, cents: int = 1) -> TaskResult[int, TaskError]:
    raise AssertionError(card, cents)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_an_unreachable_database_is_logged_with_name_code_and_reason(
    app: Horsies, caplog: pytest.LogCaptureFixture
) -> None:
    error = app.task("charge")(charge).send(SECRET).unwrap_err()
    [line] = warnings(caplog)
    assert line.startswith("task.send_failed task=charge code=ENQUEUE_FAILED reason=")
    assert "Connection refused" in line
    assert f"id={error.task_id}" in line
    assert SECRET not in caplog.text + repr(error)


def test_awaited_sends_and_replays_are_logged_too(app: Horsies, caplog: pytest.LogCaptureFixture) -> None:
    task = app.task("charge")(charge)
    error = asyncio.run(task.send_async(SECRET)).unwrap_err()
    asyncio.run(task.retry_send_async(error)).unwrap_err()
    task.retry_schedule(error).unwrap_err()
    task.schedule(-1, SECRET).unwrap_err()
    task.with_options(priority=101).send(SECRET).unwrap_err()
    codes = [line.split("code=")[1].split()[0] for line in warnings(caplog)]
    assert codes == ["ENQUEUE_FAILED"] * 2 + ["VALIDATION_FAILED"] * 3
    assert all(line.startswith("task.send_failed task=charge ") for line in warnings(caplog))
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("send", "reason"),
    [
        (lambda task: task.send(SECRET, cents=SECRET), "the argument 'cents' is not valid"),
        (lambda task: task.send(SECRET, SECRET, SECRET), "the arguments are not valid"),
        (lambda task: task.send(card=SECRET, extra=SECRET), "the argument 'extra' is not valid"),
        (lambda task: task.send(), "the argument 'card' is not valid"),
    ],
    ids=["value", "too many", "unknown", "missing"],
)
def test_arguments_that_do_not_fit_are_not_shown(
    app: Horsies, caplog: pytest.LogCaptureFixture, send: Callable[..., object], reason: str
) -> None:
    assert isinstance(send(app.task("charge")(charge)), Err)
    [line] = warnings(caplog)
    assert line == f'task.send_failed task=charge code=VALIDATION_FAILED reason="{reason}"'
    assert SECRET not in caplog.text


def test_a_suppressed_send_is_logged(app: Horsies, caplog: pytest.LogCaptureFixture) -> None:
    with sends_suppressed():
        app.task("charge")(charge).send(SECRET).unwrap_err()
    [line] = warnings(caplog)
    assert "code=SEND_SUPPRESSED" in line
    assert "during the import of task modules: move the send into a function" in line


def test_a_send_that_a_check_provokes_is_not_logged(app: Horsies, caplog: pytest.LogCaptureFixture) -> None:
    task = app.task("charge")(charge)
    spec = app.workflow("charges", [task.node()(card=SECRET)], definition_key="charges.v1")
    with sends_suppressed(), sends_suppressed(Suppression.CHECK):
        assert "during a check" in task.send(SECRET).unwrap_err().message
        assert "during a check" in spec.start().unwrap_err().message
    assert warnings(caplog) == []


def test_a_start_of_a_workflow_that_fails_is_logged(app: Horsies, caplog: pytest.LogCaptureFixture) -> None:
    spec = app.workflow("payment", [app.task("charge")(charge).node()(card=SECRET)], definition_key="payment.v1")
    failed = spec.start().unwrap_err()
    spec.retry_start(WorkflowStartError(failed.code, failed.message)).unwrap_err()
    away, invalid = warnings(caplog)
    assert away.startswith("workflow.start_failed workflow=payment code=ENQUEUE_FAILED reason=")
    assert f"id={failed.workflow_id}" in away
    assert invalid.startswith("workflow.start_failed workflow=payment code=VALIDATION_FAILED reason=")
    assert SECRET not in caplog.text


def test_a_line_of_ours_and_one_of_the_programs_show_the_same_facts(
    app: Horsies, caplog: pytest.LogCaptureFixture
) -> None:
    app.task("charge")(charge).send(cents=1).unwrap_err()
    [record] = caplog.records
    ours = TextFormatter().format(record)
    assert ours.endswith(f"WARNING {record.getMessage()}")
    document = json.loads(JsonFormatter().format(record))
    assert (document["event"], document["task"], document["code"]) == (
        "task.send_failed",
        "charge",
        "VALIDATION_FAILED",
    )


def test_unwrap_raises_an_exception_that_says_why(app: Horsies) -> None:
    with pytest.raises(UnwrapError, match="ENQUEUE_FAILED: .*Connection refused") as caught:
        app.task("charge")(charge).send(SECRET).unwrap()
    error = caught.value.error
    assert isinstance(error, TaskSendError)
    assert caught.value.__cause__ is error.exception is not None
    assert isinstance(caught.value, ValueError)
    assert SECRET not in str(caught.value) + repr(caught.value)
    with pytest.raises(UnwrapError, match="VALIDATION_FAILED: .*cents"):
        _ = app.task("charge")(charge).send(SECRET, cents=None).ok_value  # type: ignore[arg-type] # refused at run time
    with pytest.raises(UnwrapError, match="no value: 'why'"):
        Err("why").unwrap()


def test_the_exception_of_unwrap_can_be_pickled() -> None:
    back = pickle.loads(pickle.dumps(UnwrapError("why")))  # noqa: S301 - pickled here
    assert (str(back), back.error) == ("the call failed, so it has no value: 'why'", "why")
