"""Every operation is tested in both styles, against a real server; no test may leave a connection behind."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

import pytest

from horsies import PostgresConfig, TaskError, TaskHandle, TaskResult
from tests.producer.shop import Do, Hand, Shop
from tests.support.sessions import Session, column, open_session
from tests.support.waiting import wait_until


class NewShop(Protocol):
    """Makes an app on a database; it is closed with the test."""

    def __call__(self, url: str | None = None, broker: PostgresConfig | None = None, **config: Any) -> Shop: ...


def connections(db: Session, name: str = "horsies") -> list[int]:
    """The backends that serve this library in the session's database."""
    asked = "select pid from pg_stat_activity where datname = current_database() and application_name = %s"
    return column(db, asked, name)


def blocked(db: Session) -> int:
    """How many sessions of the database wait for a lock."""
    ours = "database = (select oid from pg_database where datname = current_database())"
    return len(column(db, f"select pid from pg_locks where not granted and {ours}"))


@contextmanager
def locked_out(db: Session) -> Generator[None]:
    """Every send waits."""
    with db.transaction():
        db.execute("lock table horsies.tasks in access exclusive mode")
        yield


def listeners(db: Session) -> list[int]:
    """The backends that serve a listening thread which has polled at least once."""
    polled = "select pid from pg_stat_activity where query like '%%ended_among%%' and state = 'idle'"
    return column(db, f"{polled} and datname = current_database() and pid <> pg_backend_pid()")


@pytest.fixture
def db(database_url: str) -> Iterator[Session]:
    """A session of the test's database. In the end, no app has a connection to it any more."""
    with open_session(database_url) as session:
        yield session
        wait_until(lambda: not connections(session), 5, lambda: f"the end of backends {connections(session)}")


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest, db: Session) -> Iterator[Do]:
    """Calls a method, or its ``_async`` twin."""
    assert db
    doing = Do(request.param)
    yield doing
    doing.close()


@pytest.fixture
def new_shop(database_url: str, db: Session) -> Iterator[NewShop]:
    """Makes apps; of the test's own database unless another one is named."""
    assert db
    shops: list[Shop] = []

    def new_shop(url: str | None = None, broker: PostgresConfig | None = None, **config: Any) -> Shop:
        shops.append(Shop(broker or PostgresConfig(database_url=url or database_url), **config))
        return shops[-1]

    yield new_shop
    for shop in shops:
        shop.app.close()


@pytest.fixture
def shop(new_shop: NewShop) -> Shop:
    """An app on the test's database."""
    return new_shop()


@pytest.fixture
def hand(db: Session) -> Hand:
    """A worker driven by the test."""
    return Hand(db)


class Wait:
    """A `get` that has begun to wait, in a thread of its own."""

    def __init__(self, do: Do, shop: Shop, db: Session, threads: ThreadPoolExecutor) -> None:
        self.handle: TaskHandle[int] = do(shop.add.send, 1).unwrap()
        self.task_id = UUID(self.handle.task_id)
        self.result: Future[TaskResult[int, TaskError]] = threads.submit(
            do, self.handle.get, 30_000
        )  # a test that fails leaves no wait behind
        wait_until(lambda: shop.waiters.awaited() and listeners(db), describe="a listener")

    def check(self) -> None:
        assert self.result.result(timeout=10).ok_value == 1


type BeginWait = Callable[[Shop], Wait]


@pytest.fixture
def begin_wait(do: Do, db: Session) -> Iterator[BeginWait]:
    """Begins a `get` that waits."""
    with ThreadPoolExecutor() as threads:
        yield lambda shop: Wait(do, shop, db, threads)
