"""Behind a PgBouncer in transaction mode no session is ours: nothing is set or prepared in one, nothing heard in one."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from horsies import PostgresConfig
from tests.client.conftest import NewShop
from tests.client.shop import Do, Hand, Shop
from tests.client.test_waiting import RARELY, Wait
from tests.support.sessions import Session, column, scalar
from tests.support.waiting import wait_until

LISTENING = (
    "select client_addr::text from pg_stat_activity where query like '%%ended_among%%' and pid <> pg_backend_pid()"
)


@contextmanager
def session_of(shop: Shop) -> Generator[Session]:
    """The session of the app's only connection."""
    with shop.app._drivers._sync._open_pool().connection() as session:
        yield session


@pytest.mark.parametrize("behind_pooler", [False, True])
def test_sessions_are_left_alone(new_shop: NewShop, database_url: str, behind_pooler: bool) -> None:  # noqa: FBT001
    shop = new_shop(broker=PostgresConfig(database_url=database_url, pgbouncer_transaction_mode=behind_pooler))
    for number in range(10):
        handle = shop.add.send(number).unwrap()
        assert handle.info().is_ok()
    with session_of(shop) as session:
        limit = scalar(session, "show statement_timeout")
        prepared = scalar(session, "select count(*) from pg_prepared_statements")
    assert (limit, prepared > 0) == (("0", False) if behind_pooler else ("30s", True))


def test_without_a_way_around_it_waiting_is_asking(
    do: Do, new_shop: NewShop, database_url: str, db: Session, hand: Hand
) -> None:
    shop = new_shop(
        broker=PostgresConfig(database_url=database_url, pgbouncer_transaction_mode=True), resilience=RARELY
    )
    with ThreadPoolExecutor() as threads:
        wait = Wait(do, shop, db, threads)
        hand.end(wait.task_id, notice=False)
        wait.check()
        asked = "select count(*) from pg_stat_activity where query ilike 'listen%%' and datname = current_database()"
        assert scalar(db, asked) == 0


def test_with_a_way_around_it_waiting_is_listening(
    do: Do, new_shop: NewShop, database_url: str, tcp_database_url: str, db: Session, hand: Hand
) -> None:
    broker = PostgresConfig(
        database_url=tcp_database_url, session_database_url=database_url, pgbouncer_transaction_mode=True
    )
    shop = new_shop(broker=broker, resilience=RARELY)
    with ThreadPoolExecutor() as threads:
        wait = Wait(do, shop, db, threads)
        wait_until(lambda: column(db, LISTENING) == [None], describe="one that came by the socket")
        hand.end(wait.task_id)
        wait.check()
