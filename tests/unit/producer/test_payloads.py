"""`PayloadPolicy`: which arguments are logged, and which are refused. Nothing here reaches a database."""

import logging
from datetime import time
from uuid import uuid4

import pytest

from horsies import (
    AppConfig,
    DailySchedule,
    ErrorCode,
    Horsies,
    HorsiesError,
    PayloadPolicy,
    PostgresConfig,
    ScheduleConfig,
    TaskError,
    TaskResult,
    TaskSchedule,
    TaskSendErrorCode,
    WorkflowStartErrorCode,
)
from horsies.db.queries.worker import Fence, Outcome, Verdict
from horsies.producer.payloads import LargeArguments, warn_of_result, wrong_size
from horsies.scheduler.plan import plan_schedules
from horsies.worker.attempt_log import AttemptLog, LogDetail
from horsies.worker.ipc import Job

NOWHERE = PostgresConfig(database_url="postgresql://127.0.0.1:1/none")
SECRET = "4111-1111"
ARGUMENTS = len('{"card":"4111-1111"}')


def charge(card: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=card)


def app_with(policy: PayloadPolicy, schedule: ScheduleConfig | None = None) -> Horsies:
    return Horsies(AppConfig(broker=NOWHERE, payload=policy, schedule=schedule))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about sizes, without the name of the event."""
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return [line.removeprefix("payload.size_exceeded ") for line in lines if line.startswith("payload.")]


def test_by_default_only_the_limit_of_the_database_refuses() -> None:
    assert wrong_size(PayloadPolicy(), "charge", 10**9 - 1) is None
    message = wrong_size(PayloadPolicy(), "charge", 10**9)
    assert message == (
        "the encoded arguments of task 'charge' have 1,000,000,000 bytes, and the database stores less than "
        "1,000,000,000: store the data elsewhere, and pass a reference to it"
    )
    assert wrong_size(PayloadPolicy(reject_bytes=10**9), "charge", 10**9) == message


def test_arguments_of_exactly_the_limit_are_accepted(caplog: pytest.LogCaptureFixture) -> None:
    policy = PayloadPolicy(warn_bytes=ARGUMENTS, reject_bytes=ARGUMENTS)
    error = app_with(policy).task("charge")(charge).send(SECRET).unwrap_err()
    assert error.code is TaskSendErrorCode.ENQUEUE_FAILED
    assert warnings(caplog) == []


def test_larger_arguments_are_refused_before_the_database_is_used(caplog: pytest.LogCaptureFixture) -> None:
    task = app_with(PayloadPolicy(warn_bytes=5, reject_bytes=ARGUMENTS - 1)).task("charge")(charge)
    expected = (
        "the encoded arguments of task 'charge' have 20 bytes, and PayloadPolicy.reject_bytes allows 19: "
        "store the data elsewhere, and pass a reference to it"
    )
    for sent in (task.send(SECRET), task.schedule(5, SECRET), task.with_options(priority=1).send(SECRET)):
        error = sent.unwrap_err()
        assert (error.code, error.message) == (TaskSendErrorCode.PAYLOAD_TOO_LARGE, expected)
        assert (error.retryable, error.task_id, error.payload) == (False, None, None)
    assert [record.getMessage() for record in caplog.records] == [
        f'task.send_failed task=charge code=PAYLOAD_TOO_LARGE reason="{expected}"'
    ] * 3
    assert SECRET not in caplog.text


def test_larger_arguments_are_logged_once_and_replays_are_not(caplog: pytest.LogCaptureFixture) -> None:
    task = app_with(PayloadPolicy(warn_bytes=ARGUMENTS - 1)).task("charge")(charge)
    error = task.send(SECRET).unwrap_err()
    task.retry_send(error).unwrap_err()
    hint = 'hint="store the data elsewhere, and pass a reference to it"'
    assert warnings(caplog) == [f"task=charge content=arguments bytes=20 warn_bytes=19 {hint}"]
    assert SECRET not in caplog.text


def test_warnings_can_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    policy = PayloadPolicy(warn_bytes=None)
    large = LargeArguments(policy)
    large.note("charge", 10**9)
    large.log()
    warn_of_result(policy, 10**9, task="charge")
    assert caplog.records == []


def test_a_bulk_send_refuses_an_item_and_the_log_names_it(caplog: pytest.LogCaptureFixture) -> None:
    task = app_with(PayloadPolicy(reject_bytes=ARGUMENTS)).task("charge")(charge)
    error = task.send_many([("1",), (SECRET,), (SECRET + "-1111",)]).unwrap_err()
    assert (error.code, error.item_index) == (TaskSendErrorCode.PAYLOAD_TOO_LARGE, 2)
    assert error.message.startswith("item 2: the encoded arguments of task 'charge' have 25 bytes, and ")
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("task.send_failed task=charge code=PAYLOAD_TOO_LARGE reason=")
    assert line.endswith(" item=2")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("is_bulk_of_app", [False, True], ids=["of a task", "of an app"])
def test_a_failed_bulk_send_is_logged_with_the_item(
    caplog: pytest.LogCaptureFixture,
    is_bulk_of_app: bool,  # noqa: FBT001
) -> None:
    app = app_with(PayloadPolicy())
    task = app.task("charge")(charge)
    calls = [task.args(SECRET), task.args(5)]  # type: ignore[arg-type] # refused at run time
    sent = app.send_many(calls) if is_bulk_of_app else task.send_many(calls)
    assert sent.unwrap_err().item_index == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    name = '"several tasks"' if is_bulk_of_app else "charge"
    reason = "the argument 'card' is not valid"
    assert line == f'task.send_failed task={name} code=VALIDATION_FAILED reason="{reason}" item=1'
    assert SECRET not in caplog.text


def test_a_bulk_send_logs_one_warning_for_each_task(caplog: pytest.LogCaptureFixture) -> None:
    app = app_with(PayloadPolicy(warn_bytes=ARGUMENTS - 1))
    first, second = app.task("charge")(charge), app.task("refund")(charge)
    calls = [first.args(SECRET), first.args("1"), second.args(SECRET + "12"), first.args(SECRET + "1")]
    app.send_many(calls).unwrap_err()
    assert [line.partition(" hint=")[0] for line in warnings(caplog)] == [
        "task=charge content=arguments count=2 bytes=21 warn_bytes=19",
        "task=refund content=arguments bytes=22 warn_bytes=19",
    ]
    assert SECRET not in caplog.text


def test_a_workflow_refuses_and_logs_arguments_of_nodes(caplog: pytest.LogCaptureFixture) -> None:
    app = app_with(PayloadPolicy(warn_bytes=ARGUMENTS - 1, reject_bytes=ARGUMENTS))
    task = app.task("charge")(charge)
    allowed = [task.node(node_id=name)(card=SECRET) for name in ("first", "second")]
    spec = app.workflow("payment", allowed, definition_key="payment.v1")
    assert spec.start().unwrap_err().code is WorkflowStartErrorCode.ENQUEUE_FAILED
    assert [line.partition(" hint=")[0] for line in warnings(caplog)] == [
        "task=charge content=arguments count=2 bytes=20 warn_bytes=19"
    ]
    spec = app.workflow("payment", [*allowed, task.node(node_id="third")(card=SECRET + "1")], definition_key="p.v1")
    error = spec.start().unwrap_err()
    assert error.code is WorkflowStartErrorCode.VALIDATION_FAILED
    assert error.message.startswith("node 'third': the encoded arguments of task 'charge' have 21 bytes, and ")
    assert SECRET not in caplog.text


def test_a_schedule_with_arguments_that_are_too_large_is_an_error_at_start() -> None:
    schedule = TaskSchedule(name="nightly", task_name="charge", pattern=DailySchedule(time(3)), args=(SECRET,))
    app = app_with(PayloadPolicy(reject_bytes=ARGUMENTS - 1), ScheduleConfig(schedules=[schedule]))
    app.task("charge")(charge)
    with pytest.raises(HorsiesError, match="have 20 bytes, and PayloadPolicy.reject_bytes allows 19") as caught:
        plan_schedules(app.config, app.registry)
    assert caught.value.code is ErrorCode.CONFIG_INVALID_SCHEDULE
    assert caught.value.notes == ("in the schedule 'nightly'",)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("error_code", [None, "REFUSED"], ids=["success", "failure"])
def test_a_worker_logs_a_large_result_when_it_is_stored(
    caplog: pytest.LogCaptureFixture, error_code: str | None
) -> None:
    attempts = AttemptLog(LogDetail.PRODUCTION, PayloadPolicy(warn_bytes=9, reject_bytes=1))
    for size, verdict in ((9, "accepted"), (10, "stale"), (10, "accepted")):
        fence = Fence(uuid4(), 1)
        outcome = Outcome(fence, error_code is None, b"0" * size, error_code, None, 1, "w/0", 1.0)
        attempts.note(Job(fence, 2, "charge", "default", b"{}"), outcome)
        attempts.confirm(outcome, Verdict(verdict, error_code, None))
    hint = 'hint="store the data elsewhere, and return a reference to it"'
    facts = f"task=charge id={fence.task_id} attempt=2 content=result bytes=10 warn_bytes=9"
    assert warnings(caplog) == [f"{facts} {hint}"]
