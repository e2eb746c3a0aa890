"""Fixtures for tests of the testing kit, on the databases of the project's own tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from horsies.testing import TestQueue
from tests.testing import shop

PROJECT = Path(__file__).with_name("project")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project, outside of the folders with our own settings of pytest."""
    return shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture
def queue(database_url: str) -> Iterator[TestQueue]:
    """Yield the queue of the shop during a test."""
    shop.charged.clear()
    shop.seen.clear()
    with TestQueue(shop.app, database_url=database_url) as running:
        yield running
