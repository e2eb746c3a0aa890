"""The memory of `send_many` does not grow with its input, except for the handles."""

import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from horsies.producer import batches, bulk
from tests.producer.shop import Shop
from tests.support.sessions import Session, scalar

TASKS = 6_000
CHARACTERS = 2_000


@pytest.fixture
def traced() -> Iterator[None]:
    """Trace all allocations."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_only_a_few_batches_are_in_memory(shop: Shop, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_TASKS", 200)
    monkeypatch.setattr(bulk, "MOST_BYTES_KEPT", 1_000_000)
    shop.plain.send_many([("x",)]).unwrap()
    tracemalloc.reset_peak()
    handles = shop.plain.send_many(("x" * CHARACTERS,) for _ in range(TASKS)).unwrap()
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    assert len(handles) == TASKS == scalar(db, "select count(*) from horsies.tasks") - 1
    assert peak - held < TASKS * CHARACTERS / 3, "all arguments together need three times as much"
