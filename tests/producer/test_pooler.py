"""Behind a PgBouncer in transaction mode no session is ours: we set, prepare and hear nothing in one."""

import pytest

from horsies import PostgresConfig
from horsies.db.connect import Database
from horsies.db.operations import Call, CallFailedError
from horsies.db.operations import scalar as scalar_reply
from horsies.db.pipeline import round_trip
from tests.producer.conftest import BeginWait, NewShop, listeners
from tests.producer.shop import RARELY, Hand
from tests.support.pgbouncer import PoolMode, running_pgbouncer
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


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_failed_call_leaves_no_replies_for_the_next_client(tcp_database_url: str, *, mode: PoolMode) -> None:
    """PgBouncer takes a session for idle between two transactions of a pipeline."""
    fails, takes_long, last = (
        Call(f"select {each}", (), scalar_reply) for each in ("1 / 0", "pg_sleep(0.3)::text", "'own reply'")
    )
    with running_pgbouncer(tcp_database_url, mode, pool_size=1) as pooler:
        url = pooler.url(tcp_database_url)
        database = Database(PostgresConfig(database_url=url, pgbouncer_transaction_mode=mode == "transaction"))
        for _ in range(3):
            with database.connect() as connection, pytest.raises(CallFailedError, match="division by zero"):
                round_trip(database, connection, [fails], [takes_long])
            with database.connect() as connection:
                assert round_trip(database, connection, [last], [last]) == [["own reply"]] * 2
