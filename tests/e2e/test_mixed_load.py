"""Thousands of tasks of every kind in one worker: each starts once, and ends as its kind should."""

import random
from dataclasses import dataclass
from uuid import UUID

import pytest

from tests.support.environment import Environment

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Kind:
    """A task of `mixed_tasks`, the number of sends, and the expected outcome."""

    task: str
    count: int
    code: str | None

    @property
    def task_name(self) -> str:
        return "exit" if self.task == "exit_now" else self.task


KINDS = [
    Kind("ok", 2460, None),
    Kind("ok_async", 1200, None),
    Kind("fail", 400, "SHOP_CLOSED"),
    Kind("boom", 300, "UNHANDLED_EXCEPTION"),
    Kind("boom_async", 100, "UNHANDLED_EXCEPTION"),
    Kind("leave", 60, "UNHANDLED_EXCEPTION"),
    Kind("wrong_type", 100, "RETURN_TYPE_MISMATCH"),
    Kind("no_result", 100, "TASK_EXCEPTION"),
    Kind("unserialisable", 100, "WORKER_SERIALIZATION_ERROR"),
    Kind("exit_now", 60, "WORKER_CRASHED"),
    Kind("kill", 60, "WORKER_CRASHED"),
    Kind("big", 60, None),
]


def send_all(environment: Environment) -> dict[UUID, str]:
    """Send all tasks in a shuffled order, which is the same in every run; return the keys by id."""
    keys = [(kind.task, f"{kind.task}-{number}") for kind in KINDS for number in range(kind.count)]
    random.Random(4711).shuffle(keys)  # noqa: S311
    sent: dict[UUID, str] = {}
    for task, key in keys:
        more = [key.ljust(MEGABYTE, "x")] if task == "big" else []
        sent[UUID(environment.send(task, key, *more).task_id)] = key
    return sent


@pytest.mark.timeout(180)
def test_each_of_thousands_of_tasks_starts_once_and_ends_as_expected(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=4")
    sent = send_all(environment)
    assert len(sent) == 5_000
    environment.wait_until_all_ended(120)

    begun = environment.counts()
    assert set(begun) == set(sent.values())
    assert set(begun.values()) == {1}

    expected = {(kind.task_name, "FAILED" if kind.code else "COMPLETED", kind.code): kind.count for kind in KINDS}
    assert environment.ended() == expected

    results = environment.session.execute(
        "select id, result #>> '{}' from horsies.history where status = 'COMPLETED' and task_name <> 'big'"
    )
    assert [(task_id, text) for task_id, text in results if text != f"done {sent[task_id]}"] == []
    big = environment.session.execute("select id, result #>> '{}' from horsies.history where task_name = 'big'")
    assert [task_id for task_id, text in big if text[::-1] != sent[task_id].ljust(MEGABYTE, "x")] == []

    deaths = worker.log().count("child.died")
    assert deaths == 120
    assert len(worker.processes()) == 2 + 4
    assert worker.stop() == 0
    worker.assert_gone()
    assert environment.worker_rows() == 0
