"""A send, step by step: its calls of the database, and its handling of the replies."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult, TaskSendErrorCode, TaskSendOptions
from horsies.db.operations import Call, CallFailedError, Operation, Pause
from horsies.producer.send import (
    SendRequest,
    TaskSendError,
    TaskSendPayload,
    prepare,
    resend,
    send,
)
from horsies.producer.suppression import sends_suppressed
from tests.support.sessions import NOON

app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nowhere.invalid/jobs")))
REPLAY = 10  # the place of `replay` in the parameters of `enqueue`


@app.task("add", timeout_ms=1_000)
def add(a: int, b: int = 2) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


@app.task("subtract", timeout_ms=1_000)
def subtract(a: int, b: int = 2) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a - b)


def asked(*args: object, options: TaskSendOptions | None = None, **kwargs: object) -> SendRequest:
    return SendRequest(add.definition, "send", options or TaskSendOptions(), args, kwargs)


def prepared(request: SendRequest) -> TaskSendPayload:
    return prepare(app.producer, request).unwrap()


def test_a_logged_error_does_not_show_the_arguments() -> None:
    payload = prepared(asked(987654, b=123456))
    error = TaskSendError(TaskSendErrorCode.ENQUEUE_FAILED, "away", payload=payload)
    assert b"987654" in payload.request.args
    assert "987654" not in repr(error)


def drive[R](operation: Operation[R], answers: list[object]) -> tuple[list[object], R]:
    """Answer the steps of an operation in order, also with exceptions. Return the steps and the result."""
    steps: list[object] = []
    try:
        step = next(operation)
        while True:
            steps.append(step)
            answer = None if isinstance(step, Pause) else answers.pop(0)
            step = operation.throw(answer) if isinstance(answer, Exception) else operation.send(answer)
    except StopIteration as finished:
        assert not answers
        return steps, finished.value


def away(*, retryable: bool = True) -> CallFailedError:
    return CallFailedError("the database is away", retryable=retryable)


def replays(steps: list[object]) -> list[object]:
    """Return for each call whether it is a replay, and for each pause its seconds."""
    return [step.params[REPLAY] if isinstance(step, Call) else getattr(step, "seconds", step) for step in steps]


class TestOneSend:
    """Without ``resend_on_transient_err``."""

    @pytest.mark.parametrize("verdict", ["sent", "known"])
    def test_accepted(self, verdict: str) -> None:
        steps, sent = drive(send(app.producer, asked(1), str), [verdict])
        assert replays(steps) == [False]
        assert UUID(sent.unwrap()).version == 7

    def test_an_id_that_is_taken(self) -> None:
        _, sent = drive(send(app.producer, asked(1), str), ["mismatch"])
        error = sent.unwrap_err()
        assert (error.code, error.retryable) == (TaskSendErrorCode.PAYLOAD_MISMATCH, False)

    @pytest.mark.parametrize("retryable", [True, False])
    def test_an_unreachable_database(self, *, retryable: bool) -> None:
        steps, sent = drive(send(app.producer, asked(1), str), [away(retryable=retryable)])
        error = sent.unwrap_err()
        assert replays(steps) == [False]
        assert (error.code, error.message) == (TaskSendErrorCode.ENQUEUE_FAILED, "the database is away")
        assert error.retryable is retryable
        assert error.payload is not None
        assert error.task_id == str(error.payload.request.task_id)

    def test_a_refused_send_makes_no_call(self) -> None:
        steps, sent = drive(send(app.producer, asked("x"), str), [])
        assert steps == []
        assert sent.unwrap_err().code is TaskSendErrorCode.VALIDATION_FAILED


class TestResending:
    """With ``resend_on_transient_err``: up to three replays, each after a longer pause."""

    producer = replace(app.producer, resend_on_transient_err=True)

    def test_until_it_is_accepted(self) -> None:
        steps, sent = drive(send(self.producer, asked(1), str), [away(), away(), "known"])
        assert replays(steps) == [False, 0.2, True, 0.4, True]
        assert len({step.params[0] for step in steps if isinstance(step, Call)}) == 1, "another id is another task"
        assert sent.is_ok()

    def test_three_times_at_most(self) -> None:
        steps, sent = drive(send(self.producer, asked(1), str), [away()] * 4)
        assert replays(steps) == [False, 0.2, True, 0.4, True, 0.8, True]
        assert sent.unwrap_err().retryable

    def test_a_permanent_error_is_not_retried(self) -> None:
        steps, _ = drive(send(self.producer, asked(1), str), [away(retryable=False)])
        assert replays(steps) == [False]
        steps, _ = drive(send(self.producer, asked(1), str), [away(), away(retryable=False)])
        assert replays(steps) == [False, 0.2, True]
        steps, _ = drive(send(self.producer, asked(1), str), ["mismatch"])
        assert replays(steps) == [False]


def test_a_replay_repeats_the_first_request() -> None:
    steps, sent = drive(send(app.producer, asked(1), str), [away()])
    [again], accepted = drive(resend(sent.unwrap_err(), "send", add.definition, str), ["sent"])
    first = steps[0]
    assert isinstance(first, Call)
    assert isinstance(again, Call)
    assert [*map(repr, again.params)] == [*map(repr, (*first.params[:REPLAY], True, *first.params[REPLAY + 1 :]))]
    assert accepted.unwrap() == sent.unwrap_err().task_id


def test_a_replay_of_a_send_that_was_never_prepared() -> None:
    error = TaskSendError(TaskSendErrorCode.ENQUEUE_FAILED, "made by hand")
    steps, sent = drive(resend(error, "send", add.definition, str), [])
    assert (steps, sent.unwrap_err().code) == ([], TaskSendErrorCode.VALIDATION_FAILED)


class TestFingerprint:
    """The properties that make two sends the same request."""

    def test_it_is_the_same_for_the_same_request(self) -> None:
        first, second = prepared(asked(1)), prepared(asked(a=1))
        assert first.request.task_id != second.request.task_id
        assert first.request.fingerprint == second.request.fingerprint
        assert first.enqueue_sha == first.request.fingerprint.hex()
        assert len(first.enqueue_sha) == 64

    @pytest.mark.parametrize(
        "other",
        [
            asked(2),
            asked(1, 2),
            asked(1, options=TaskSendOptions(delay=1)),
            asked(1, options=TaskSendOptions(priority=1)),
            asked(1, options=TaskSendOptions(good_until=NOON)),
            replace(asked(1), definition=subtract.definition),
        ],
        ids=["value", "argument", "delay", "priority", "deadline", "task"],
    )
    def test_it_is_another_for_any_other(self, other: SendRequest) -> None:
        assert prepared(asked(1)).enqueue_sha != prepared(other).enqueue_sha

    def test_a_deadline_is_a_moment_however_it_is_written(self) -> None:
        def until(moment: Any) -> str:
            return prepared(asked(1, options=TaskSendOptions(good_until=moment))).enqueue_sha

        assert until(NOON) == until(NOON.astimezone())
        assert until(NOON) != until(NOON + timedelta(microseconds=1))


class TestSuppression:
    """While task modules are imported, a send is a side effect."""

    def is_suppressed(self) -> bool:
        return prepare(app.producer, asked(1)).map_err(lambda error: error.code).is_err()

    def test_it_can_be_nested(self) -> None:
        with sends_suppressed():
            with sends_suppressed():
                assert self.is_suppressed()
            assert self.is_suppressed()
        assert not self.is_suppressed()

    def test_it_ends_with_an_error_too(self) -> None:
        def fail() -> None:
            with sends_suppressed():
                raise LookupError

        with pytest.raises(LookupError):
            fail()
        assert not self.is_suppressed()

    def test_it_is_the_importing_threads_alone(self) -> None:
        seen: list[bool] = []
        with sends_suppressed():
            thread = threading.Thread(target=lambda: seen.append(self.is_suppressed()))
            thread.start()
            thread.join()
        assert seen == [False]


@pytest.mark.parametrize("hours", [-12, -5, 0, 5, 14])
def test_a_deadline_at_the_end_of_time_can_be_read_in_every_time_zone(hours: int) -> None:
    deadline = datetime.max.replace(tzinfo=timezone(timedelta(hours=hours)))
    request = prepare(app.producer, asked(1, options=TaskSendOptions(good_until=deadline))).unwrap().request
    assert request.good_until is not None
    for other in (-14, 0, 14):
        assert request.good_until.astimezone(timezone(timedelta(hours=other))).year == 9999


def test_other_deadlines_are_sent_as_given() -> None:
    for deadline in (None, NOON, datetime(9999, 1, 1, tzinfo=UTC)):
        request = prepare(app.producer, asked(1, options=TaskSendOptions(good_until=deadline))).unwrap().request
        assert request.good_until == deadline
