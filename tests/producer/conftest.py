"""Every operation is tested in both styles, against a real server; no test may leave a connection behind."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

import pytest

from horsies import PostgresConfig, TaskError, TaskHandle, TaskResult
from tests.producer.shop import Do, Hand, Shop
from tests.support import pooler
from tests.support.callers import AWAITED, BLOCKING, OLDEST_FOR_DJANGO, Caller
from tests.support.pooler import pooled_config
from tests.support.sessions import Session, column, open_session
from tests.support.waiting import wait_until


class NewShop(Protocol):
    """Makes an app with a database; the app is closed at the end of the test."""

    def __call__(self, url: str | None = None, broker: PostgresConfig | None = None, **config: Any) -> Shop: ...


def connections(db: Session, name: str = "horsies") -> list[int]:
    """Return the backends that serve this library in the session's database."""
    asked = "select pid from pg_stat_activity where datname = current_database() and application_name = %s"
    return column(db, asked, name)


def blocked(db: Session) -> int:
    """Count the sessions of the database that wait for a lock."""
    ours = "database = (select oid from pg_database where datname = current_database())"
    return len(column(db, f"select pid from pg_locks where not granted and {ours}"))


@contextmanager
def locked_out(db: Session) -> Generator[None]:
    """Make every send wait for a lock."""
    with db.transaction():
        db.execute("lock table horsies.tasks in access exclusive mode")
        yield


def listeners(db: Session) -> list[int]:
    """Return the backends of listening threads that have polled at least once."""
    polled = "select pid from pg_stat_activity where query like '%%ended_among%%' and state = 'idle'"
    return column(db, f"{polled} and datname = current_database() and pid <> pg_backend_pid()")


@pytest.fixture
def db(database_url: str) -> Iterator[Session]:
    """Yield a session of the test's database. At the end, no app may have a connection to it."""
    with open_session(database_url) as session:
        yield session
        if pooler.MODE is not None:
            return  # the sessions are those of PgBouncer
        wait_until(lambda: not connections(session), 5, lambda: f"the end of backends {connections(session)}")


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest, db: Session) -> Iterator[Do]:
    """Yield a caller of methods or of their ``_async`` twins."""
    assert db
    doing = Do(request.param)
    yield doing
    doing.close()


@pytest.fixture
def new_shop(database_url: str, db: Session) -> Iterator[NewShop]:
    """Yield a factory of apps. By default they use the database of the test."""
    assert db
    shops: list[Shop] = []

    def new_shop(url: str | None = None, broker: PostgresConfig | None = None, **config: Any) -> Shop:
        default = pooled_config(database_url) if url is None else PostgresConfig(database_url=url)
        shops.append(Shop(broker or default, **config))
        return shops[-1]

    yield new_shop
    for shop in shops:
        shop.app.close()


@pytest.fixture
def shop(new_shop: NewShop) -> Shop:
    """Return an app with the database of the test."""
    return new_shop()


@pytest.fixture
def hand(db: Session) -> Hand:
    """Return a worker that the test drives."""
    return Hand(db)


@pytest.fixture(params=[*BLOCKING, *AWAITED])
def caller(request: pytest.FixtureRequest, tcp_database_url: str, shop: Shop, db: Session) -> Iterator[Caller]:
    """Yield a program of each kind, and an app with the same database."""
    if "Django" in request.param:
        need_django(db)
    made = Caller(request.param, tcp_database_url)
    yield made
    if made.do.style == "async":
        made.do(shop.app.close)
    made.do.close()


def need_django(db: Session) -> None:
    """Skip the test if Django does not work with the server."""
    if db.info.server_version < OLDEST_FOR_DJANGO:
        pytest.skip("this Django needs a newer PostgreSQL")


class Wait:
    """A `get` that waits in a separate thread."""

    def __init__(self, do: Do, shop: Shop, db: Session, threads: ThreadPoolExecutor) -> None:
        self.handle: TaskHandle[int] = do(shop.add.send, 1).unwrap()
        self.task_id = UUID(self.handle.task_id)
        self.result: Future[TaskResult[int, TaskError]] = threads.submit(
            do, self.handle.get, 30_000
        )  # a failed test must leave no waiting thread behind
        wait_until(lambda: shop.waiters.awaited() and listeners(db), describe="a listener")

    def check(self) -> None:
        assert self.result.result(timeout=10).ok_value == 1


type BeginWait = Callable[[Shop], Wait]


@pytest.fixture
def begin_wait(do: Do, db: Session) -> Iterator[BeginWait]:
    """Yield a function that starts a waiting `get`."""
    with ThreadPoolExecutor() as threads:
        yield lambda shop: Wait(do, shop, db, threads)
