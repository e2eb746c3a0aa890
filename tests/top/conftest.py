"""Fixtures of the tests of the view in a terminal."""

from collections.abc import Iterator

import pytest

from horsies import Horsies
from tests.support.sessions import Session, open_session
from tests.support.web import open_app


@pytest.fixture
def db(database_url: str) -> Iterator[Session]:
    """Yield a session in the database of the test."""
    with open_session(database_url) as session:
        yield session


@pytest.fixture
def app(database_url: str) -> Iterator[Horsies]:
    """Yield an app on the database of the test."""
    opened = open_app(database_url)
    yield opened
    opened.close()
