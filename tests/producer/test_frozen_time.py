"""Programs may freeze the time with freezegun; a waiting producer is not affected."""

import threading
import time
from collections.abc import Iterator
from uuid import UUID

import freezegun
import pytest

from horsies import PostgresConfig
from horsies.codes import RetrievalCode
from tests.producer.conftest import NewShop
from tests.producer.shop import Do, Hand, Shop
from tests.support.factories import done


@pytest.fixture
def frozen() -> Iterator[float]:
    """Freeze the time except for the clock of asyncio, as the documentation of freezegun advises."""
    with freezegun.freeze_time("2001-02-03 04:05:06", real_asyncio=True):
        yield time.time()


def end_soon(hand: Hand, task: str) -> threading.Timer:
    timer = threading.Timer(0.5, lambda: hand.end(UUID(task), lambda fence: done(fence, b"8")))
    timer.start()
    return timer


def test_a_wait_ends_when_its_time_is_over(do: Do, shop: Shop, frozen: float) -> None:
    handle = do(shop.add.send, 5, 3).unwrap()
    assert do(handle.get, timeout_ms=300).err_value.error_code is RetrievalCode.WAIT_TIMEOUT
    assert time.time() == frozen


def test_a_wait_ends_with_its_task(do: Do, shop: Shop, hand: Hand, frozen: float) -> None:
    handle = do(shop.add.send, 5, 3).unwrap()
    timer = end_soon(hand, handle.task_id)
    assert do(handle.get, timeout_ms=20_000).ok_value == 8
    timer.join()
    assert time.time() == frozen


def test_a_wait_without_notices_polls(do: Do, new_shop: NewShop, hand: Hand, database_url: str, frozen: float) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=database_url, pgbouncer_transaction_mode=True))
    handle = do(shop.add.send, 5, 3).unwrap()
    timer = end_soon(hand, handle.task_id)
    assert do(handle.get, timeout_ms=20_000).ok_value == 8
    timer.join()
    assert time.time() == frozen
