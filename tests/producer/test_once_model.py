"""Random sends with keys and of unique tasks: the database agrees with a plain model after each operation.

`HORSIES_ONCE_OPERATIONS=10000` with `pytest --timeout=900` makes that many operations.
"""

import os
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.sends_at_random import SendsSideBySide
from tests.support.sessions import Session

OPERATIONS = int(os.environ.get("HORSIES_ONCE_OPERATIONS", "400"))
TOGETHER = 80
"""The number of operations of one example."""


@pytest.fixture
def both(db: Session, database_url: str) -> Iterator[SendsSideBySide]:
    made = SendsSideBySide(db, database_url)
    yield made
    made.close()


@settings(
    max_examples=OPERATIONS // TOGETHER,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), steps=st.just(TOGETHER))
def test_database_and_model_agree(both: SendsSideBySide, seed: int, steps: int) -> None:
    both.begin(Random(seed))  # noqa: S311 - to be repeated
    for _ in range(steps):
        both.step()
    assert both.done.total() >= steps
