"""The memory of `send_many` does not grow with its input, except for the handles.

`HORSIES_TASKS_AT_ONCE=1000000` with `pytest --timeout=900` sends that many tasks; see ``make test-sends``.
"""

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from horsies.producer import batches, bulk
from tests.producer.shop import Shop
from tests.support.sessions import Session, scalar

TASKS_AT_ONCE = int(os.environ.get("HORSIES_TASKS_AT_ONCE", "60000"))
MOST_BYTES = 96 << 20
TASKS = 6_000
CHARACTERS = 2_000
ROOT = Path(__file__).parents[2]


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


def test_a_producer_needs_little_memory_beyond_its_handles(database_url: str, db: Session) -> None:
    command = [sys.executable, "-m", "tests.producer.sending_many", database_url, str(TASKS_AT_ONCE)]
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert scalar(db, "select count(*) from horsies.tasks") == TASKS_AT_ONCE + 1
    assert 0 < int(process.stdout) <= MOST_BYTES, f"{int(process.stdout) >> 20} MB"
