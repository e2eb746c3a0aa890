"""`drain` takes turns between keys, and obeys rates and holds, as a worker does."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    PostgresConfig,
    QueueMode,
    RateLimit,
    RateLimited,
    TaskError,
    TaskResult,
    current_task,
)
from horsies.testing import TestQueue
from tests.testing.shop import NOWHERE

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
KEYS_OF_A_CLAIM = 500

app = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url=NOWHERE),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[
            CustomQueueConfig(name="turns", max_concurrency=None, takes_turns=True),
            CustomQueueConfig(
                name="slow", max_concurrency=None, rate_limit=RateLimit(limit=3, per_seconds=60, burst=1)
            ),
            CustomQueueConfig(
                name="rated", max_concurrency=None, rate_limit_per_key=RateLimit(limit=6, per_seconds=60, burst=1)
            ),
        ],
    )
)
ran: list[str] = []


@app.task("serve", queue_name="turns", key_by="tenant")
def serve(tenant: str) -> TaskResult[None, TaskError]:
    ran.append(tenant)
    return TaskResult(ok=None)


@app.task("call", queue_name="rated", key_by="tenant")
def call(tenant: str) -> TaskResult[None, TaskError]:
    ran.append(tenant)
    return TaskResult(ok=None)


@app.task("unnamed", queue_name="rated")
def unnamed() -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


@app.task("call_slowly", queue_name="slow")
def call_slowly() -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


@app.task("refused", queue_name="rated", key_by="tenant")
def refused(tenant: str) -> TaskResult[None, TaskError]:
    task = current_task()
    assert task is not None
    ran.append(tenant)
    if len(ran) == 1:
        return TaskResult(err=RateLimited(retry_after=30))
    return TaskResult(ok=None)


@pytest.fixture
def queue(database_url: str) -> Iterator[TestQueue]:
    """The queue of the app above."""
    ran.clear()
    with TestQueue(app, database_url=database_url) as running:
        yield running


def test_keys_take_turns(queue: TestQueue) -> None:
    serve.send_many([("a",)] * 4 + [("b",)] * 2 + [("c",)]).unwrap()
    queue.drain()
    assert "".join(ran) == "abcabaa"


def test_turns_continue_in_the_next_drain(queue: TestQueue) -> None:
    serve.send_many([("a",)] * 2 + [("b",)]).unwrap()
    queue.drain(until=lambda: len(ran) == 1)
    queue.drain()
    assert "".join(ran) == "aba"


def test_a_rate_is_kept_by_the_clock_of_the_test(queue: TestQueue) -> None:
    queue.freeze(NOON)
    call.send_many([("a",)] * 3 + [("b",)]).unwrap()
    assert len(queue.drain()) == 2
    queue.advance("1 minute")
    assert [each.at.strftime("%M:%S") for each in queue.drain()] == ["00:10", "00:20"]
    assert "".join(ran) == "abaa"


def test_the_rate_of_a_queue_is_kept(queue: TestQueue) -> None:
    queue.freeze(NOON)
    call_slowly.send_many([()] * 5).unwrap()
    queue.advance("1 minute")
    assert [each.at.strftime("%M:%S") for each in queue.drain()] == ["00:00", "00:20", "00:40", "01:00"]
    queue.freeze(NOON.replace(minute=2))
    assert len(queue.drain()) == 1


def test_a_key_is_held_as_long_as_a_task_asks_for(queue: TestQueue) -> None:
    queue.freeze(NOON)
    refused.send_many([("a",), ("a",)]).unwrap()
    queue.advance("1 minute")
    assert [each.at.strftime("%M:%S") for each in queue.drain()] == ["00:00", "00:30", "00:40"]


def test_more_keys_than_one_claim_looks_at(queue: TestQueue) -> None:
    queue.freeze(NOON)
    tenants = [f"k{number:04}" for number in range(KEYS_OF_A_CLAIM + 100)]
    call.send_many([(tenant,) for tenant in tenants]).unwrap()
    queue.drain()
    call.send_many([(tenant,) for tenant in [*tenants, "z"]]).unwrap()
    assert len(queue.drain()) == 1
    assert ran[-1] == "z"


def test_tasks_without_a_key_share_a_rate(queue: TestQueue) -> None:
    queue.freeze(NOON)
    unnamed.send_many([()] * 4).unwrap()
    queue.advance("1 minute")
    assert [each.at.strftime("%M:%S") for each in queue.drain()] == ["00:00", "00:10", "00:20", "00:30"]
