"""Invalid sends return an `Err` that names the parameter, raise no exception, and send nothing."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from horsies import TaskSendError, TaskSendErrorCode, TaskSendResult, is_err
from tests.support.environment import Environment

NOW = datetime.now(UTC)


def check_refused(environment: Environment, sent: TaskSendResult[Any], *says: str) -> None:
    assert is_err(sent)
    error: TaskSendError = sent.err_value
    assert error.code is TaskSendErrorCode.VALIDATION_FAILED
    assert [part for part in says if part not in error.message] == [], error.message
    assert error.message.encode()  # the message can be printed
    assert (error.retryable, error.task_id, error.payload) == (False, None, None)
    assert environment.live_tasks() == 0


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "value"),
        ((1.0, "m", 3), {}, "3"),
        ((1.0,), {"value": 2.0}, "value"),
        ((1.0,), {"colour": "red"}, "colour"),
        (("1.0",), {}, "value: "),
        ((None,), {}, "value: "),
        ((1.0, 5), {}, "unit: "),
        ((1.0,), {"exact": 1}, "exact: "),
        ((math.nan,), {}, "value: "),
        ((-math.inf,), {}, "value: "),
        ((1.0, "lone \ud800 surrogate"), {}, "unit: "),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    environment: Environment, *, asynchronous: bool, args: tuple[object, ...], kwargs: dict[str, object], says: str
) -> None:
    async def send() -> Any:
        return await environment.tasks.measure.send_async(*args, **kwargs)

    sent = asyncio.run(send()) if asynchronous else environment.tasks.measure.send(*args, **kwargs)
    check_refused(environment, sent, says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"good_until": NOW.replace(tzinfo=None)}, "good_until must be an aware datetime"),
        ({"good_until": "tomorrow"}, "good_until"),
        ({"good_until": NOW.date()}, "good_until"),
        ({"good_until": timedelta(hours=1)}, "good_until"),
        ({"delay": -0.001}, "delay must be a number of seconds"),
        ({"delay": math.nan}, "delay"),
        ({"delay": math.inf}, "delay"),
        ({"delay": "5"}, "delay"),
        ({"delay": True}, "delay"),
        ({"delay": timedelta(seconds=5)}, "delay"),
        ({"delay": 1e12}, "delay"),
        ({"delay": 10**400}, f"got 1{'0' * 79}…"),
        ({"delay": 10**5000}, "got <int, whose repr raised ValueError>"),
        ({"priority": 10**5000}, "got <int, whose repr raised ValueError>"),
        ({"priority": 0}, "priority must be a whole number from 1 (highest) to 100"),
        ({"priority": 101}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"priority": True}, "priority"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    environment: Environment, options: dict[str, Any], says: str
) -> None:
    check_refused(environment, environment.tasks.ok.with_options(**options).send("key"), says)


@pytest.mark.parametrize("delay", [-1, math.nan, "soon", None])
def test_a_schedule_in_the_past_or_at_no_time_is_refused(environment: Environment, delay: Any) -> None:
    check_refused(environment, environment.tasks.ok.schedule(delay, "key"), "delay", repr(delay))


def test_the_edges_are_accepted(environment: Environment) -> None:
    for options in ({"delay": 0}, {"delay": 0.0}, {"priority": 1}, {"priority": 100}, {"good_until": NOW}):
        assert environment.tasks.ok.with_options(**options).send("key").is_ok()
    assert environment.tasks.measure.send(1, exact=True).is_ok()  # an int is accepted as a float
    assert environment.tasks.measure.send(-0.0).is_ok()
    assert environment.live_tasks() == 7
