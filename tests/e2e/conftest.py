"""The environment of an end-to-end test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environment import Environment, new_environment
from tests.support.sessions import open_session
from tests.support.shell import Shell


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> Iterator[Environment]:
    """Yield a separate environment for the test."""
    with new_environment(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Iterator[Shell]:
    """Yield a shell whose environment names the test's database."""
    with open_session(database_url) as session:
        yield Shell(tmp_path, database_url, session)
