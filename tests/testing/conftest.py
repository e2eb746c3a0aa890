"""Fixtures for tests of the testing kit, on the databases of the project's own tests."""

from collections.abc import Iterator

import pytest

from horsies.testing import TestQueue
from tests.testing import shop


@pytest.fixture
def queue(database_url: str) -> Iterator[TestQueue]:
    """Yield the queue of the shop during a test."""
    shop.charged.clear()
    shop.seen.clear()
    with TestQueue(shop.app, database_url=database_url) as running:
        yield running
