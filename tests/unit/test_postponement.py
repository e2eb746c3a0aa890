"""`RateLimited` and `Snooze` as values: what they ask for, and how a `TaskResult` holds them."""

import pickle
from typing import Any

import pytest

from horsies.codes import OutcomeCode
from horsies.postponement import AttemptPostponed, Postponement, PostponeScope, RateLimited, Snooze, read_postponement
from horsies.task_result import TaskError, TaskResult

DAY_S = 86_400.0
RATE_LIMITED, SNOOZED = OutcomeCode.RATE_LIMITED, OutcomeCode.SNOOZED


def asked(answer: AttemptPostponed) -> Postponement:
    return read_postponement(answer.code, answer.data)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RateLimited(), (RATE_LIMITED, 30.0, "key")),
        (RateLimited(0), (RATE_LIMITED, 0.0, "key")),
        (RateLimited(retry_after=2.5, scope="queue"), (RATE_LIMITED, 2.5, "queue")),
        (RateLimited(30 * DAY_S, "task"), (RATE_LIMITED, 30 * DAY_S, "task")),
        (Snooze(60), (SNOOZED, 60.0, "task")),
    ],
    ids=repr,
)
def test_what_an_answer_asks_for(answer: AttemptPostponed, expected: tuple[OutcomeCode, float, str]) -> None:
    assert asked(answer)[:4] == (*expected, None)


WRONG: list[Any] = [True, "120", None, float("nan"), float("inf"), [1], 10**400, -1, 30 * DAY_S + 1]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: repr(wrong)[:10])
@pytest.mark.parametrize("kind", [RateLimited, Snooze])
def test_a_delay_that_is_not_valid_becomes_the_default(kind: type[RateLimited | Snooze], wrong: Any) -> None:
    found = asked(kind(wrong))
    assert (found.seconds, found.ignored_names) == (30.0, ("retry_after",))
    limits = "retry_after was ignored, because it must be a number of seconds from 0 to 2592000 (30 days), got "
    assert limits + type(wrong).__name__ in found.message


@pytest.mark.parametrize("wrong", ["tenant", None, 1, ["key"], PostponeScope])
def test_a_scope_that_does_not_exist_becomes_the_default(wrong: Any) -> None:
    found = asked(RateLimited(5, wrong))
    assert (found.seconds, found.scope, found.ignored_names) == (5.0, PostponeScope.KEY, ("scope",))
    assert 'scope was ignored, because it must be "key", "queue" or "task"' in found.message


@pytest.mark.parametrize("data", [None, "text", [], {}, {"scope": "key"}])
def test_an_error_with_the_code_alone_is_an_answer(data: Any) -> None:
    assert read_postponement(RATE_LIMITED, data) == Postponement(RATE_LIMITED, 30.0, PostponeScope.KEY)


def test_a_snooze_is_for_the_task_alone_whatever_its_data_says() -> None:
    assert read_postponement(SNOOZED, {"retry_after": 1, "scope": "queue"}).scope is PostponeScope.TASK


def test_a_result_holds_an_answer_as_an_error() -> None:
    result: TaskResult[Any, Any] = TaskResult(err=RateLimited(12, "queue"))
    assert result.err == TaskError(
        error_code=RATE_LIMITED, message="rate limited for 12 s", data={"retry_after": 12, "scope": "queue"}
    )
    assert result == TaskResult(err=RateLimited(12, "queue"))
    snoozed: TaskResult[Any, Any] = TaskResult(err=Snooze(0.5))
    assert snoozed.err == TaskError(error_code=SNOOZED, message="snoozed for 0.5 s", data={"retry_after": 0.5})


def test_answers_are_exceptions_with_a_message() -> None:
    with pytest.raises(AttemptPostponed, match=r"^rate limited for 3600 s$"):
        raise RateLimited(3600)


@pytest.mark.parametrize("answer", [RateLimited(5, "task"), Snooze(7)])
def test_answers_can_be_compared_and_pickled(answer: AttemptPostponed) -> None:
    again = pickle.loads(pickle.dumps(answer))  # noqa: S301 - its own bytes
    assert again == answer
    assert type(again) is type(answer)
    assert len({again, answer}) == 1
    assert answer not in (RateLimited(6, "task"), Snooze(8), "answer")
