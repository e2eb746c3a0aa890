"""`current_task`: reports of a running task, written in the background, and the replies to them."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from horsies import current_task
from horsies.db.queries.worker import Fence
from horsies.tasks.current import CurrentTask, Reporter, Running
from tests.producer.conftest import NewShop, blocked, locked_out
from tests.producer.shop import Hand, Shop
from tests.support.proxy import Proxy
from tests.support.sessions import Session, column, row
from tests.support.waiting import wait_until


@pytest.fixture
def fence(shop: Shop, hand: Hand) -> Fence:
    """Return the fence of a running task."""
    return hand.claim(UUID(shop.add.send(1).unwrap().task_id))


@pytest.fixture
def reporter(shop: Shop) -> Reporter:
    return Reporter(shop.app.producer.runner)


@pytest.fixture
def task(reporter: Reporter, fence: Fence) -> Iterator[CurrentTask]:
    """Yield the running task as its own code sees it."""
    task = CurrentTask(reporter, fence.task_id, 1, name="weigh", queue="default", timeout_ms=None)
    with Running(task):
        yield task
    reporter.settle(task)


def stored(db: Session) -> Any:
    [report] = column(db, "select progress from horsies.tasks")
    return report


def test_outside_of_a_task_there_is_none(task: CurrentTask) -> None:
    assert current_task() is task
    alone: list[CurrentTask | None] = []
    thread = threading.Thread(target=lambda: alone.append(current_task()))
    thread.start()
    thread.join()
    assert alone == [None]


def test_threads_and_tasks_of_asyncio_belong_to_the_task(task: CurrentTask) -> None:
    async def look() -> list[CurrentTask | None]:
        return [current_task(), await asyncio.to_thread(current_task), await asyncio.create_task(nested())]

    async def nested() -> CurrentTask | None:
        return current_task()

    assert asyncio.run(look()) == [task] * 3


def test_its_attributes(reporter: Reporter, fence: Fence) -> None:
    before = datetime.now(UTC)
    task = CurrentTask(reporter, fence.task_id, 3, name="weigh", queue="mail", timeout_ms=90_000)
    assert (task.id, task.attempt, task.queue) == (str(fence.task_id), 3, "mail")
    assert task.deadline is not None
    assert timedelta(0) <= task.deadline - before - timedelta(seconds=90) < timedelta(seconds=10)
    assert CurrentTask(reporter, fence.task_id, 1, name="weigh", queue="mail", timeout_ms=None).deadline is None


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ((0.25,), b'{"done":0.25,"total":1,"note":null}'),
        ((3, 10), b'{"done":3,"total":10,"note":null}'),
        ((1, 1, "näher"), '{"done":1,"total":1,"note":"näher"}'.encode()),
        ((0, 2.5, "\ud800\0"), b'{"done":0,"total":2.5,"note":"\\\\ud800\\u0000"}'),
    ],
)
def test_a_report_is_written(db: Session, task: CurrentTask, said: tuple[Any, ...], written: bytes) -> None:
    task.progress(*said)
    wait_until(lambda: stored(db) == written, describe=lambda: f"{written!r}, not {stored(db)!r}")


def test_info_shows_the_progress(shop: Shop, fence: Fence, task: CurrentTask, reporter: Reporter) -> None:
    task.progress(3, 10, note="pages")
    reporter.settle(task)
    info = shop.app.handle(str(fence.task_id)).info().unwrap()
    assert info is not None
    assert info.progress == {"done": 3, "total": 10, "note": "pages"}


@pytest.mark.parametrize(
    "said", [(-0.1,), (1.5,), (50,), (3, 2), (0, 0), (float("nan"),), (1, float("nan")), (0, float("inf"))]
)
def test_invalid_progress_is_refused(db: Session, task: CurrentTask, said: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="progress must be from 0 to the total"):
        task.progress(*said)
    assert stored(db) is None


def test_a_tight_loop_writes_periodically_and_the_last_report(
    db: Session, task: CurrentTask, reporter: Reporter
) -> None:
    db.execute("create table writes (n int)")
    db.execute(
        "create function note() returns trigger language plpgsql as"
        " 'begin insert into public.writes values (1); return new; end'"
    )
    db.execute("create trigger note after update of progress on horsies.tasks execute function note()")
    most = 200_000
    for done in range(most + 1):
        task.progress(done, most)
    reporter.settle(task)
    assert stored(db) == b'{"done":200000,"total":200000,"note":null}'
    assert len(column(db, "select n from writes")) < 200


def test_a_report_never_blocks(db: Session, task: CurrentTask, reporter: Reporter) -> None:
    with locked_out(db):
        task.progress(0.1)
        wait_until(lambda: blocked(db))
        task.progress(0.2)
        assert task.cancelled is False
        assert reporter.has_pending_report(task)
    wait_until(lambda: stored(db) == b'{"done":0.2,"total":1,"note":null}')


def test_a_cancelled_task_learns_of_it(shop: Shop, task: CurrentTask) -> None:
    assert task.cancelled is False
    shop.app.handle(task.id).cancel()
    wait_until(lambda: task.cancelled)
    task.progress(0.5)
    assert task.cancelled is True


def test_a_report_brings_the_answer_along(shop: Shop, task: CurrentTask, reporter: Reporter, db: Session) -> None:
    shop.app.handle(task.id).cancel()
    task.progress(0.5)
    reporter.settle(task)
    assert task.cancelled is True
    assert row(db, "history", UUID(task.id))["progress"] is None


def test_a_restored_database_receives_the_report(
    new_shop: NewShop, db: Session, fence: Fence, proxy: Proxy, tcp_database_url: str
) -> None:
    reporter = Reporter(new_shop(proxy.url(tcp_database_url)).app.producer.runner)
    task = CurrentTask(reporter, fence.task_id, 1, name="weigh", queue="default", timeout_ms=None)
    proxy.refuse()
    task.progress(0.1)
    task.progress(0.2)
    reporter.submit(task, None)
    assert task.cancelled is False
    proxy.accept()
    wait_until(lambda: stored(db) == b'{"done":0.2,"total":1,"note":null}')


def test_a_task_that_ends_does_not_wait_long_for_a_database_that_is_away(
    new_shop: NewShop, fence: Fence, proxy: Proxy, tcp_database_url: str
) -> None:
    reporter = Reporter(new_shop(proxy.url(tcp_database_url)).app.producer.runner)
    task = CurrentTask(reporter, fence.task_id, 1, name="weigh", queue="default", timeout_ms=None)
    proxy.refuse()
    task.progress(0.1)
    reporter.settle(task)
    wait_until(lambda: not reporter.has_pending_report(task))


def test_one_thread_writes_for_all(shop: Shop, hand: Hand, reporter: Reporter, db: Session) -> None:
    handles = [shop.add.send(1).unwrap() for _ in range(5)]
    tasks = [
        CurrentTask(reporter, UUID(handle.task_id), 1, name="weigh", queue="default", timeout_ms=None)
        for handle in handles
    ]
    hand.claim(UUID(handles[0].task_id))
    before = threading.active_count()
    for number, each in enumerate(tasks):
        each.progress(number, 4)
    assert threading.active_count() == before + 1
    for each in tasks:
        reporter.settle(each)
    found = column(db, "select (progress ->> 'done')::int from horsies.tasks order by 1")
    assert found == [0, 1, 2, 3, 4]
