"""Mistakes in tests are refused before anything is sent, with a message that names the fix."""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from horsies import AppConfig, Horsies, HorsiesError, PostgresConfig, TaskError, TaskResult
from horsies.testing import DrainRefusedError, QueueTestError, TestDatabases, TestQueue
from tests.testing.shop import add, app

USES: list[Callable[[TestQueue], object]] = [
    lambda queue: queue.run(add, 1),
    lambda queue: queue.drain(),
    lambda queue: asyncio.run(queue.drain_async()),
    lambda queue: queue.start(app.workflow("one", [add.node()(1)], definition_key="one.v1")),
    lambda queue: queue.outcomes(),
    lambda queue: queue.sent(),
    lambda queue: queue.assert_not_sent(add),
    lambda queue: queue.now(),
    lambda queue: queue.advance("1 hour"),
    lambda queue: queue.freeze(datetime(2031, 5, 6, tzinfo=UTC)),
    lambda queue: queue.tick_schedules(),
    lambda queue: queue.disconnect(),
    lambda queue: queue.worker().__enter__(),
]
NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
other = Horsies(AppConfig(broker=PostgresConfig(database_url=NOWHERE)))


@other.task("count_boxes")
def count_boxes(number: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=number)


@pytest.mark.parametrize("uses_before", [0, 1])
def test_a_queue_works_only_within_its_block(database_url: str, uses_before: int) -> None:
    queue = TestQueue(app, database_url=database_url)
    for _ in range(uses_before):
        with queue:
            assert queue.run(add, 1).is_ok()
    for use in USES:
        with pytest.raises(QueueTestError, match=r"works only within its block: with TestQueue\(app\) as queue: …"):
            use(queue)
    with queue:
        assert len(queue.sent()) == uses_before
        assert queue.run(add, 1).is_ok()


def test_tasks_and_workflows_of_another_app_are_not_sent_to_its_own_database(queue: TestQueue) -> None:
    spec = other.workflow("boxes", [count_boxes.node()(1)], definition_key="boxes.v1")
    with pytest.raises(QueueTestError, match=r"count_boxes belongs to another app.*horsies\(its_app\)"):
        queue.run(count_boxes, 1)
    with pytest.raises(QueueTestError, match="the workflow boxes belongs to another app"):
        queue.start(spec)


def test_run_and_start_send_nothing_while_an_event_loop_runs(queue: TestQueue) -> None:
    async def run() -> None:
        queue.run(add, 1)

    async def start() -> None:
        queue.start(app.workflow("one", [add.node()(1)], definition_key="one.v1"))

    with pytest.raises(DrainRefusedError, match=r"await task\.send_async\(…\), then await queue\.drain_async\(\)"):
        asyncio.run(run())
    with pytest.raises(DrainRefusedError, match=r"await spec\.start_async\(\), then await queue\.drain_async\(\)"):
        asyncio.run(start())
    assert queue.sent() == []
    assert not queue.drain()


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_are_at_least_one(queue: TestQueue, number: int) -> None:
    with pytest.raises(ValueError, match=f"crash takes times=1 or more, got {number}"):
        queue.crash("claimed", times=number)
    with pytest.raises(ValueError, match=f"disconnect takes times=1 or more, got {number}"):
        queue.disconnect(times=number)
    with pytest.raises(ValueError, match=f"drain takes limit=1 or more, got {number}"):
        queue.drain(limit=number)
    with pytest.raises(ValueError, match=f"drain takes limit=1 or more, got {number}"):
        asyncio.run(queue.drain_async(limit=number))


@pytest.mark.parametrize("delta", [3, None, "", "3 parsecs", "999999999 years"])
def test_advance_names_what_it_takes(queue: TestQueue, delta: object) -> None:
    with pytest.raises(ValueError, match='advance takes a timedelta or an interval of PostgreSQL such as "3 days"'):
        queue.advance(cast("Any", delta))


@pytest.mark.parametrize("at", ["2031-05-06", date(2031, 5, 6), None])
def test_freeze_names_what_it_takes(queue: TestQueue, at: object) -> None:
    with pytest.raises(ValueError, match="freeze takes a datetime with a time zone"):
        queue.freeze(cast("Any", at))


@pytest.mark.parametrize("given", [None, "tests.testing.shop:app", 5])
def test_the_app_is_an_app(given: object) -> None:
    with pytest.raises(TypeError, match=r"TestQueue takes the app, a Horsies object: TestQueue\(app\); got"):
        TestQueue(cast("Any", given))


def test_a_queue_has_one_database(database_url: str) -> None:
    with pytest.raises(ValueError, match="database_url= or connection=, not both"):
        TestQueue(app, database_url=database_url, connection=object())


async def _given_async(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        _refused_without_effect(connection)
        assert (await (await connection.execute("select 1")).fetchone()) == (1,)


def _refused_without_effect(connection: object) -> None:
    kind = f"got <{type(connection).__module__}.{type(connection).__qualname__} "
    before = app.config
    with pytest.raises(QueueTestError, match=r"connection= takes a connection of Django") as caught:
        TestQueue(app, connection=connection).__enter__()
    assert kind in str(caught.value)
    assert "use TestQueue(app) and connect the code under test to queue.database_url" in str(caught.value)
    assert app.config is before


@pytest.mark.parametrize("missing", [None, "horsies.testing.django_connection"])
def test_connections_of_other_libraries_are_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    if missing is not None:
        monkeypatch.setitem(sys.modules, missing, None)  # as if Django were not installed
    asyncio.run(_given_async(database_url))
    with psycopg.connect(database_url) as connection:
        _refused_without_effect(connection)
        assert connection.execute("select 1").fetchone() == (1,)


async def _sends_in_a_transaction(queue: TestQueue) -> tuple[int, int, int]:
    async with await psycopg.AsyncConnection.connect(queue.database_url) as connection:
        handle = (await add.with_options(connection=connection).send_async(1)).unwrap()
        before = len(await queue.drain_async())
        await connection.commit()
        after = len(await queue.drain_async())
    return before, after, (await handle.get_async()).unwrap()


def test_code_with_an_asynchronous_connection_connects_to_the_database_of_the_queue(queue: TestQueue) -> None:
    assert asyncio.run(_sends_in_a_transaction(queue)) == (0, 1, 2)


def test_a_database_that_cannot_be_opened_is_named() -> None:
    url = "postgresql://nobody:pw-of-nobody@127.0.0.1:1/nowhere"
    with pytest.raises(QueueTestError, match=r"the database of the test, .*127\.0\.0\.1.* cannot be opened") as caught:
        TestQueue(app, database_url=url).__enter__()
    assert "pw-of-nobody" not in str(caught.value)
    with pytest.raises(HorsiesError, match="database_url"):
        TestQueue(app, database_url="mysql://localhost/shop").__enter__()


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        ("tables", "horsies_setup takes module:function, such as \"tables:create\", got 'tables'"),
        (":create", "horsies_setup takes module:function"),
        ("tables:", "horsies_setup takes module:function"),
        ("nowhere:create", r"there is no module 'nowhere'.*add pythonpath = \[\".\"\] to the settings of pytest"),
        ("tests.nowhere:create", r"there is no module 'tests\.nowhere'"),
        ("tests.testing.shop:create", r"the module 'tests\.testing\.shop' has no function 'create'"),
    ],
)
def test_a_setup_that_is_no_function_is_named(setup: str, message: str) -> None:
    with pytest.raises(QueueTestError, match=message):
        TestDatabases(setup)


def test_a_setup_whose_module_cannot_be_imported_shows_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables_with_a_mistake.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        TestDatabases("tables_with_a_mistake:create")


def test_a_database_that_is_in_use_is_refused(database_url: str) -> None:
    producer = Horsies(AppConfig(broker=PostgresConfig(database_url=database_url)))

    @producer.task("used")
    def used() -> TaskResult[None, TaskError]:
        return TaskResult(ok=None)

    used.send().unwrap()
    with pytest.raises(QueueTestError, match="is not one of tests.*contains tasks or workers"):
        TestQueue(app, database_url=database_url).__enter__()
    producer.close()
