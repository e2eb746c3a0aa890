"""Database sessions of a test, and threads in which their calls may block."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.sessions import InBackground, NewSession, Session, open_session


@pytest.fixture
def _opened() -> list[Session]:
    return []


@pytest.fixture
def new_session(database_url: str, _opened: list[Session]) -> Iterator[NewSession]:
    """Opens sessions of the test's database; they are closed with the test."""
    with ExitStack() as stack:

        def new_session() -> Session:
            _opened.append(stack.enter_context(open_session(database_url)))
            return _opened[-1]

        yield new_session


@pytest.fixture
def db(new_session: NewSession) -> Session:
    """A session of the test's database."""
    return new_session()


@pytest.fixture
def other(new_session: NewSession) -> Session:
    """Another session of the same database."""
    return new_session()


@pytest.fixture
def in_background(new_session: NewSession, _opened: list[Session]) -> Iterator[InBackground]:
    """Runs calls in threads, where they may wait for a lock; a wait that outlives its test is cancelled."""
    assert new_session
    with ThreadPoolExecutor() as threads:
        yield threads.submit
        for session in _opened:
            session.cancel_safe()
