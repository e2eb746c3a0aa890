"""Secrets in the reports of attempts: texts are replaced, and the names that programs read stay."""

import json
from typing import Any
from uuid import uuid4

import pytest

from horsies import (
    AppConfig,
    Horsies,
    OutcomeCode,
    PostgresConfig,
    RateLimited,
    RetryPolicy,
    Secret,
    TaskError,
    TaskResult,
)
from horsies.db.queries.worker import Fence
from horsies.worker.ipc import Job, Report
from horsies.worker.runtime.executor import Executor
from horsies.worker.runtime.reports import ReadyCall


class DeclinedError(TaskError):
    """A payment that was declined."""

    receipt: Secret[str] | None = None


app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://h/db")))


@app.task(
    "charge",
    retry_policy=RetryPolicy.fixed([1], auto_retry_for=["TIMEOUT_X"]),
    exception_mapper={OSError: "UPSTREAM_SLOW"},
    default_unhandled_error_code="SURPRISING",
)
def charge(card: Secret[str], answer: Any = None) -> TaskResult[None, DeclinedError]:
    if isinstance(answer, BaseException):
        raise answer
    return TaskResult(err=answer)


EXECUTOR = Executor(app.registry, {KeyError: "KEY_MISSING"}, "APP_DEFAULT", app.producer.runner)


def report_of(card: str, answer: Any) -> tuple[Report, dict[str, Any]]:
    job = Job(Fence(uuid4(), 1), 1, "charge", "default", json.dumps({"card": card}).encode())
    call = EXECUTOR.prepare(job)
    assert isinstance(call, ReadyCall)
    EXECUTOR.attempts.add(job)
    report = EXECUTOR.run(ReadyCall(job, call.definition, (card, answer), {}, call.scrub))
    return report, json.loads(report.result)


@pytest.mark.parametrize(
    ("card", "answer", "code"),
    [
        ("TIMEOUT", DeclinedError(error_code="TIMEOUT_X"), "TIMEOUT_X"),
        ("UPSTREAM", OSError(), "UPSTREAM_SLOW"),
        ("SURPRISING", RuntimeError(), "SURPRISING"),
        ("MISSING", KeyError(), "KEY_MISSING"),
        ("DEFAULT", DeclinedError(error_code="APP_DEFAULT"), "APP_DEFAULT"),
        ("EXPIRED", DeclinedError(error_code=OutcomeCode.TASK_EXPIRED), "TASK_EXPIRED"),
        ("LIMITED", RateLimited(5), "RATE_LIMITED"),
        ("TIMEOUT", DeclinedError(error_code="TIMEOUT_Y"), "[redacted]_Y"),
        ("ORDER-17", DeclinedError(error_code="NO ORDER-17"), "NO [redacted]"),
    ],
)
def test_a_secret_does_not_change_a_declared_error_code(card: str, answer: Any, code: str) -> None:
    report, stored = report_of(card, answer)
    assert report.error_code == stored["error_code"] == code


@pytest.mark.parametrize("card", ["message", "error_code", "exception", "traceback"])
def test_a_secret_does_not_change_the_names_of_the_fields_of_an_error(card: str) -> None:
    _report, stored = report_of(card, RuntimeError(f"no {card}"))
    assert list(stored) == ["error_code", "message", "data", "exception"]
    assert list(stored["exception"]) == ["type", "message", "traceback"]
    assert stored["exception"]["message"] == "no [redacted]"
    assert "no [redacted]" in stored["message"]
    report, stored = report_of(card, DeclinedError(error_code="DECLINED", message=card, data={card: card}))
    assert stored == {
        "error_code": "DECLINED",
        "message": "[redacted]",
        "data": {"[redacted]": "[redacted]"},
        "exception": None,
        "receipt": None,
    }
    report, stored = report_of(card, RateLimited(5))
    assert stored["error_code"] == "RATE_LIMITED"
    assert report.retry_after == 5


def test_a_secret_field_of_an_error_is_sealed() -> None:
    job = Job(Fence(uuid4(), 1), 1, "charge", "default", b"{}")
    error = DeclinedError(error_code="DECLINED", receipt="receipt-17", message="no 4111-1111")
    call = ReadyCall(job, app.registry.get("charge"), (), {}, None)
    report = EXECUTOR.conclude(call, TaskResult(err=error))
    _nothing, public, complete = report.result.split(b"\x1e")
    assert json.loads(public) == {**json.loads(complete), "receipt": "[redacted]"}
    assert json.loads(complete)["receipt"] == "receipt-17"
