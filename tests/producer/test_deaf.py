"""Waiting while nothing can be heard: garbage in notices, and a process without file descriptors or threads."""

import asyncio
import os
import resource
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from uuid import UUID

import pytest

from horsies import RetrievalCode
from tests.producer.conftest import BeginWait, NewShop, listeners
from tests.producer.shop import OFTEN, RARELY, Hand, Shop
from tests.support.pooler import counts_sessions
from tests.support.sessions import Session, column
from tests.support.waiting import wait_until

type Shortage = Callable[[], AbstractContextManager[None]]

GARBAGE = [
    "",
    " ",
    "zz",
    "z" * 32,
    "0" * 31,
    "0" * 33,
    "{} COMPLETED",
    " COMPLETED add\n1",
    "not-an-id COMPLETED add\n1",
    "é" * 32,
    "0" * 32 + "\n" + "0" * 32,
    "\u0661" * 32,
    "x" * 7_000,
]


@contextmanager
def no_file_descriptors() -> Generator[None]:
    """This process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the names
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    fillers: list[int] = []
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_threads() -> Generator[None]:
    """This process can start no thread: there is no memory for a stack of that size."""
    before = threading.stack_size(1 << 46)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        yield
    finally:
        threading.stack_size(before)


@counts_sessions
def test_garbage_in_notices_is_ignored(begin_wait: BeginWait, new_shop: NewShop, hand: Hand, db: Session) -> None:
    shop = new_shop(resilience=RARELY)
    wait = begin_wait(shop)
    before = listeners(db)
    for payload in GARBAGE:
        db.execute("select pg_notify('horsies.done', %s)", (payload,))
    assert len(shop.waiters.awaited()) == 1
    hand.end(wait.task_id)
    wait.check()
    assert listeners(db) == before


@pytest.mark.parametrize("shortage", [no_file_descriptors, no_threads], ids=["no file descriptors", "no threads"])
def test_a_wait_polls_while_no_listener_can_be_started(
    new_shop: NewShop, hand: Hand, db: Session, shortage: Shortage
) -> None:
    shop = new_shop(resilience=OFTEN)

    async def wait_for_two() -> None:
        first, second = [(await shop.add.send_async(n)).unwrap() for n in range(2)]
        with shortage():
            timed_out = await first.get_async(timeout_ms=300)
            assert timed_out.err_value.error_code is RetrievalCode.WAIT_TIMEOUT
            waiting = asyncio.create_task(first.get_async(timeout_ms=30_000))
            await awaited(shop, first.task_id)
            hand.end(UUID(first.task_id), notice=False)
            assert (await waiting).is_ok()
        waiting = asyncio.create_task(second.get_async(timeout_ms=30_000))
        await asyncio.to_thread(wait_until, lambda: listeners(db), 10, "a listener")
        hand.end(UUID(second.task_id))
        assert (await waiting).is_ok()

    asyncio.run(wait_for_two())


async def awaited(shop: Shop, task_id: str) -> None:
    """Return when somebody waits for a task."""
    while UUID(task_id) not in shop.waiters.awaited():  # noqa: ASYNC110 - no thread is left that would set an event
        await asyncio.sleep(0)


def test_a_wait_that_began_before_hears_again_after_the_shortage(
    begin_wait: BeginWait, new_shop: NewShop, hand: Hand, db: Session
) -> None:
    wait = begin_wait(new_shop(resilience=RARELY))
    before = listeners(db)
    with no_file_descriptors():
        column(db, "select pg_terminate_backend(pid) from unnest(%s::int[]) as pid", before)
        wait_until(lambda: not listeners(db), describe="the end of the listener")
        hand.end(wait.task_id)  # nobody hears the notice
    wait.check()
