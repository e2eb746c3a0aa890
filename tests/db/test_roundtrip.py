"""`round_trip`: several transactions of calls in one round trip, directly over libpq."""

import asyncio

import pytest
from psycopg import errors
from psycopg.pq import PipelineStatus

from horsies.config.app import PostgresConfig
from horsies.db.connect import Database
from horsies.db.operations import Call, CallFailedError, Notice, Rows
from horsies.db.pipeline import round_trip, round_trip_async
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from tests.support.factories import request
from tests.support.sessions import Session, column, scalar


def database(url: str, **settings: object) -> Database:
    return Database(PostgresConfig.model_validate({"database_url": url, **settings}))


def rows(sql: str, *params: object) -> Call[Rows]:
    return Call(sql, params, lambda rows: rows)


def test_each_group_is_a_transaction_and_each_call_has_its_answer(database_url: str) -> None:
    made = database(database_url)
    number = "select txid_current(), %s::int"
    with made.connect() as connection:
        [[first, second], [third]] = round_trip(made, connection, [rows(number, 1), rows(number, 2)], [rows(number, 3)])
        assert [first[0][1], second[0][1], third[0][1]] == [1, 2, 3]
        assert first[0][0] == second[0][0] != third[0][0]
        assert connection.pgconn.pipeline_status == PipelineStatus.OFF
        assert scalar(connection, "select 1") == 1


def test_an_error_undoes_its_own_transaction_and_closes_the_connection(database_url: str, db: Session) -> None:
    made = database(database_url)
    kept, lost = request(), request()
    bad = rows("select 1 / %s::int", 0)
    with made.connect() as connection:
        groups = ([task_queries.enqueue(kept, replay=False)], [task_queries.enqueue(lost, replay=False), bad])
        with pytest.raises(CallFailedError, match="DivisionByZero: division by zero") as raised:
            round_trip(made, connection, *groups)
        assert (raised.value.sqlstate, raised.value.failed_call) == ("22012", bad)
        assert isinstance(raised.value.__cause__, errors.DivisionByZero)
        assert connection.closed
    assert column(db, "select id from horsies.tasks") == [kept.task_id]


def test_an_error_is_raised_after_all_replies_have_arrived(database_url: str, db: Session) -> None:
    """Behind PgBouncer, the next client of the session would receive the replies that are still to come."""
    made = database(database_url)
    later = request()
    with made.connect() as connection:
        groups = (
            [rows("select 1 / %s::int", 0)],
            [rows("select pg_sleep(%s)", 0.3), task_queries.enqueue(later, replay=False)],
        )
        with pytest.raises(CallFailedError, match="division by zero"):
            round_trip(made, connection, *groups)
    assert column(db, "select id from horsies.tasks") == [later.task_id]


@pytest.mark.parametrize("later", [1, 2])
def test_nothing_is_received_after_the_server_has_closed_the_connection(database_url: str, later: int) -> None:
    made = database(database_url)
    groups = [[rows("select pg_terminate_backend(pg_backend_pid())")], *[[rows("select 1")]] * later]
    with (
        made.connect() as connection,
        pytest.raises(CallFailedError, match="terminating connection due to administrator command") as raised,
    ):
        round_trip(made, connection, *groups)
    assert raised.value.retryable


def test_calls_after_a_notice_that_ended_the_connection_have_failed(database_url: str) -> None:
    made = database(database_url)
    notice = Notice("select pg_terminate_backend(pg_backend_pid())", (), lambda _: None)
    with made.connect() as connection, pytest.raises((CallFailedError, errors.OperationalError)):
        round_trip(made, connection, [notice], [rows("select 1")])


def test_a_notice_that_fails_fails_nothing_else(
    database_url: str, db: Session, caplog: pytest.LogCaptureFixture
) -> None:
    made = database(database_url)
    kept, after = request(), request()
    bad = Notice("select 1 / %s::int", (0,), lambda _rows: None)
    with made.connect() as connection:
        for position in range(2):  # the statement is prepared the first time
            sent, failed, again = round_trip(
                made,
                connection,
                [task_queries.enqueue(kept, replay=True)],
                [bad, worker_queries.notify_wake()],
                [task_queries.enqueue(after, replay=True)],
            )
            assert (sent, failed, again) == (["known"] * 1, [], ["known"]) if position else (["sent"], [], ["sent"])
        assert scalar(connection, "select 1") == 1
    assert set(column(db, "select id from horsies.tasks")) == {kept.task_id, after.task_id}
    assert [record.message for record in caplog.records if "division by zero" in record.message] == [
        record.message for record in caplog.records
    ]
    assert len(caplog.records) == 1  # once a minute


def test_a_notice_that_fails_to_be_prepared_is_tried_again(database_url: str, db: Session) -> None:
    made = database(database_url)
    notice = Notice("select horsies.missing()", (), lambda _rows: None)
    with made.connect() as connection:
        assert round_trip(made, connection, [rows("select 1")], [notice])[1] == []
        db.execute("create function horsies.missing() returns void language sql as $$ $$")
        assert round_trip(made, connection, [rows("select 1")], [notice])[1] == [None]


def test_a_failed_commit_is_no_failed_call(database_url: str, db: Session) -> None:
    made = database(database_url)
    db.execute("create table late (id int unique deferrable initially deferred)")
    with made.connect() as connection, pytest.raises(CallFailedError, match="duplicate key") as raised:
        round_trip(made, connection, [rows("insert into late values (1), (1) returning id")])
    assert (raised.value.sqlstate, raised.value.failed_call) == ("23505", None)


def test_large_arguments_and_answers_pass_each_other(database_url: str) -> None:
    made = database(database_url)
    large = "x" * (8 << 20)
    with made.connect() as connection:
        [answers, [echo]] = round_trip(made, connection, [rows("select %s::text", large)] * 3, [rows("select 7")])
        assert [len(answer[0][0]) for answer in answers] == [len(large)] * 3
        assert echo == [(7,)]


@pytest.mark.parametrize(("pooled", "count"), [(False, 1), (True, 0)])
def test_a_statement_is_prepared_once_unless_a_pooler_forbids_it(database_url: str, pooled: bool, count: int) -> None:  # noqa: FBT001
    made = database(database_url, pgbouncer_transaction_mode=pooled)
    with made.connect() as connection:
        for _ in range(3):
            round_trip(made, connection, [worker_queries.notify_wake()])
        assert scalar(connection, "select count(*) from pg_prepared_statements") == count


def test_a_connection_that_was_cut_says_so(database_url: str, db: Session) -> None:
    made = database(database_url)
    with made.connect() as connection:
        db.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises((CallFailedError, errors.OperationalError)):
            round_trip(made, connection, [rows("select 1")])
        assert connection.closed


def test_a_round_trip_that_is_given_up_closes_its_connection(database_url: str) -> None:
    made = database(database_url)

    async def give_up() -> bool:
        connection = await made.connect_async()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await round_trip_async(made, connection, [rows("select pg_sleep(%s)", 30)])
        return connection.closed

    assert asyncio.run(give_up())
