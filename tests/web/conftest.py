"""Fixtures of the tests of the web interface."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from horsies import Horsies
from tests.support.sessions import NewSession, Session, open_session
from tests.support.web import Visitor, open_app


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


@pytest.fixture
def visitor(app: Horsies) -> Visitor:
    """Return a client with all rights."""
    return Visitor(app)


@pytest.fixture
def new_session(database_url: str) -> Iterator[NewSession]:
    """Open further sessions in the database of the test; they are closed with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(open_session(database_url))
