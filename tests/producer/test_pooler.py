"""Behind a PgBouncer in transaction mode no session is ours: we set, prepare and hear nothing in one."""

import pytest

from horsies import PostgresConfig
from tests.producer.conftest import BeginWait, NewShop, listeners
from tests.producer.shop import RARELY, Hand
from tests.support.sessions import Session, column, scalar


@pytest.mark.parametrize(("behind_pooler", "limit"), [(False, "30s"), (True, "0")])
def test_sessions_are_left_alone(new_shop: NewShop, database_url: str, *, behind_pooler: bool, limit: str) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=database_url, pgbouncer_transaction_mode=behind_pooler))
    for number in range(10):
        assert shop.add.send(number).unwrap().info().is_ok()
    with shop.app._drivers._sync._open_pool().connection() as session:
        assert scalar(session, "show statement_timeout") == limit
        assert (scalar(session, "select count(*) from pg_prepared_statements") == 0) is behind_pooler


def test_without_a_way_around_it_waiting_is_asking(
    begin_wait: BeginWait, new_shop: NewShop, database_url: str, hand: Hand
) -> None:
    broker = PostgresConfig(database_url=database_url, pgbouncer_transaction_mode=True)
    wait = begin_wait(new_shop(broker=broker, resilience=RARELY))
    hand.end(wait.task_id, notice=False)
    wait.check()


def test_with_a_way_around_it_waiting_is_listening(
    begin_wait: BeginWait, new_shop: NewShop, hand: Hand, db: Session, database_url: str, *, tcp_database_url: str
) -> None:
    broker = PostgresConfig(
        database_url=tcp_database_url, session_database_url=database_url, pgbouncer_transaction_mode=True
    )
    wait = begin_wait(new_shop(broker=broker, resilience=RARELY))
    came_as = "select usename::text from pg_stat_activity where pid = any (%s)"
    assert column(db, came_as, listeners(db)) == [db.info.user], "as who comes through the pooler"
    hand.end(wait.task_id)
    wait.check()
