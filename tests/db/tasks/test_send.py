"""`send`: a task is sent from SQL, by its name and a JSON object of its arguments."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import errors

from horsies.config.retry import RetryPolicy
from tests.support.declared import declaration, declare
from tests.support.factories import DrivenWorker, done
from tests.support.roles import acting_as, new_role
from tests.support.sessions import (
    NOON,
    NewSession,
    NotificationListener,
    Session,
    column,
    find,
    freeze_clock,
    open_session,
    row,
    scalar,
)

SEND = "select horsies.send('add', '{\"a\": 5, \"b\": 3}')"
COUNT = "select count(*) from horsies.tasks"
ORDERS = """
    create table orders (id int generated always as identity, address text, total numeric(10, 2));
    create function send_receipt() returns trigger language plpgsql as $$
    begin
        perform horsies.send('send_receipt', json_build_object('order_id', new.id, 'address', new.address));
        return null;
    end
    $$;
    create trigger send_receipt after insert on orders for each row execute function send_receipt();
"""


def sent(db: Session, sql: str = SEND) -> dict[str, Any]:
    """Send a task and return its row."""
    return row(db, "tasks", scalar(db, sql))


@pytest.fixture(autouse=True)
def _declared(db: Session) -> None:
    retry = RetryPolicy.fixed([1], auto_retry_for=["BOOM"])
    declare(
        db,
        declaration(queue="sums", priority=7, retry=retry, timeout_ms=900),
        declaration("send_receipt", names=["order_id", "address"], required=["order_id"]),
        declaration("no_parameters", names=[], required=[]),
    )


def test_everything_comes_from_the_declaration(db: Session) -> None:
    freeze_clock(db)
    task = sent(db)
    policy = scalar(db, "select retry_policy from horsies.declarations where task_name = 'add'")
    assert (task["task_name"], task["queue"], task["priority"], task["timeout_ms"]) == ("add", "sums", 7, 900)
    assert (task["retry_policy"], task["args"]) == (policy, b'{"a": 5, "b": 3}')
    assert (task["status"], task["attempt"], task["good_until"]) == ("PENDING", 0, None)
    assert task["run_at"] == task["sent_at"] == NOON
    assert task["id"].version == 7
    assert scalar(db, "select horsies.uuid_time(%s)", task["id"]) == NOON


def test_a_worker_runs_it(db: Session) -> None:
    task_id: UUID = scalar(db, SEND)
    worker = DrivenWorker(db, queues=["sums"])
    fence = worker.claim_one()
    assert fence.task_id == task_id
    assert worker.finish(done(fence)) == ["accepted"]
    assert row(db, "history", task_id)["args"] == b'{"a": 5, "b": 3}'


def test_named_arguments_take_precedence(db: Session) -> None:
    freeze_clock(db)
    task = sent(
        db,
        "select horsies.send('add', '{\"a\": 1}', queue => 'emails', priority => 2, delay => '90 minutes',"
        " good_until => '2031-05-07 00:00:00+00')",
    )
    assert (task["queue"], task["priority"]) == ("emails", 2)
    assert (task["run_at"], task["sent_at"]) == (NOON + timedelta(minutes=90), NOON)
    assert task["good_until"] == datetime(2031, 5, 7, tzinfo=UTC)
    assert task["timeout_ms"] == 900


@pytest.mark.parametrize(
    ("delay", "due"),
    [
        ("null", NOON),
        ("'0'", NOON),
        ("'1 month'", datetime(2031, 6, 6, 12, tzinfo=UTC)),
        ("'1.5 s'", NOON + timedelta(seconds=1.5)),
        ("'100 years'", datetime(2131, 5, 6, 12, tzinfo=UTC)),
    ],
)
def test_a_delay_is_an_interval_of_the_calendar(db: Session, delay: str, due: datetime) -> None:
    freeze_clock(db)
    db.execute("set timezone = 'UTC'")
    assert sent(db, f"select horsies.send('add', '{{\"a\": 1}}', delay => {delay})")["run_at"] == due


@pytest.mark.parametrize(
    ("deadline", "stored"),
    [
        ("infinity", datetime(9999, 12, 30, tzinfo=UTC)),
        ("-infinity", datetime(1, 1, 2, tzinfo=UTC)),
        ("2000-01-01 00:00:00+00", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_deadline_can_be_read_by_python(db: Session, deadline: str, stored: datetime) -> None:
    sql = f"select horsies.send('add', '{{\"a\": 1}}', good_until => '{deadline}')"
    assert sent(db, sql)["good_until"] == stored


def test_a_task_without_parameters_needs_no_arguments(db: Session) -> None:
    assert sent(db, "select horsies.send('no_parameters')")["args"] == b"{}"


def test_the_text_of_the_arguments_is_stored_unchanged(db: Session) -> None:
    text = '{ "a":1.10, "b" : "größe\\u0000\\\\", "a": 12345678901234567890123 }'
    assert sent(db, f"select horsies.send('add', '{text}')")["args"] == text.encode()


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_it_is_part_of_the_transaction(db: Session, other: Session, isolation: str) -> None:
    with db.transaction(force_rollback=True):
        db.execute(f"set local transaction isolation level {isolation}".encode())
        lost: UUID = scalar(db, SEND)
        assert find(db, "tasks", lost) is not None
        assert find(other, "tasks", lost) is None
    assert find(db, "tasks", lost) is None
    with db.transaction():
        db.execute(f"set local transaction isolation level {isolation}".encode())
        with db.transaction(force_rollback=True):
            scalar(db, SEND)
        kept: UUID = scalar(db, SEND)
    assert column(other, "select id from horsies.tasks") == [kept]


def test_workers_are_notified_at_commit(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "wake")
    with db.transaction():
        scalar(db, SEND)
        scalar(db, SEND)
        assert listener.heard() == []
    assert listener.heard() == [""]
    with db.transaction(force_rollback=True):
        scalar(db, SEND)
    assert listener.heard() == []


def test_without_wake_no_worker_is_notified(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "wake")
    sent(db, "select horsies.send('add', '{\"a\": 1}', wake => false)")
    assert listener.heard() == []


def test_null_stands_for_the_default(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "wake")
    nulls = ", ".join(f"{name} => null" for name in ("queue", "priority", "delay", "good_until", "wake"))
    sent(db, f"select horsies.send('add', '{{\"a\": 1}}', {nulls})")
    assert listener.heard() == [""]


def test_an_unknown_name_needs_a_queue(db: Session) -> None:
    with pytest.raises(errors.UndefinedObject) as refused:
        scalar(db, "select horsies.send('ad''d', '{}')")
    assert refused.value.diag.message_primary == "no task named 'ad''d' is registered"
    hint = refused.value.diag.message_hint or ""
    assert "horsies db register MODULE:APP" in hint
    assert hint.endswith("name its queue: horsies.send(…, queue => …)")
    task = sent(db, "select horsies.send('later', '{\"x\": 1}', queue => 'sums')")
    assert (task["queue"], task["priority"], task["args"]) == ("sums", 7, b'{"x": 1}')
    assert (task["retry_policy"], task["timeout_ms"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("'add', '{}'", errors.InvalidParameterValue, "the task 'add' is missing the argument 'a'"),
        ("'add', '{\"a\": 1, \"c\": 1}'", errors.InvalidParameterValue, "the task 'add' has no parameter 'c'"),
        ("'add', '[]'", errors.InvalidParameterValue, "not a JSON object, but of the type array"),
        ("'add', null", errors.InvalidParameterValue, "not a JSON object, but the SQL value null"),
        ("'add', '{'", errors.InvalidTextRepresentation, "invalid input syntax for type json"),
        ("'add', '{\"a\": 1}', priority => 0", errors.InvalidParameterValue, "the priority must be from 1"),
        (
            "'add', '{\"a\": 1}', key => ''",
            errors.InvalidParameterValue,
            "the key of the task 'add' must have 1 to 200",
        ),
    ],
)
def test_a_refused_send_sends_nothing(db: Session, arguments: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        scalar(db, f"select horsies.send({arguments})")
    assert scalar(db, COUNT) == 0


def test_a_trigger_sends(db: Session) -> None:
    db.execute(ORDERS.encode())
    with db.transaction(force_rollback=True):
        db.execute("insert into orders (address) values ('bob@example.org')")
    db.execute("insert into orders (address) values ('ada@example.org')")
    assert column(db, "select args from horsies.tasks") == [b'{"order_id" : 2, "address" : "ada@example.org"}']
    db.execute("delete from horsies.declarations")
    with pytest.raises(errors.UndefinedObject):
        db.execute("insert into orders (address) values ('eve@example.org')")
    assert scalar(db, "select count(*) from orders") == 1


def test_rows_that_copy_has_loaded_are_sent_each_by_a_trigger_or_all_by_a_query(db: Session) -> None:
    db.execute(ORDERS.encode())
    with db.cursor().copy("copy orders (address, total) from stdin") as copy:
        for number in range(1000):
            copy.write_row((f"{number}@example.org", "9.99"))
    assert scalar(db, COUNT) == scalar(db, "select count(distinct args ->> 'address') from horsies.tasks") == 1000
    db.execute("create table staging as select id as a, address as b from orders where id % 2 = 0")
    assert scalar(db, "select count(horsies.send('add', row_to_json(staging))) from staging") == 500
    assert scalar(db, f"{COUNT} where task_name = 'add'") == 500


@contextmanager
def sender(db: Session, new_session: NewSession) -> Iterator[Session]:
    """A session of a role that may only send."""
    with new_role(db) as role:
        db.execute(f"grant usage on schema horsies. to {role}")
        signature = "text, json, text, int, interval, timestamptz, text, text, boolean, json"
        db.execute(f"grant execute on function horsies.send({signature}) to {role}")
        session = new_session()
        with acting_as(session, role):
            yield session


def test_a_role_that_may_only_send_can_send_and_nothing_else(db: Session, new_session: NewSession) -> None:
    with sender(db, new_session) as session:
        task_id: UUID = scalar(session, SEND)
        for denied in (COUNT, "select horsies.cancel(null)", "select horsies.new_task_id(now())"):
            with pytest.raises(errors.InsufficientPrivilege):
                scalar(session, denied)
    assert row(db, "tasks", task_id)["task_name"] == "add"


def test_no_other_role_can_send(db: Session) -> None:
    with new_role(db) as role:
        db.execute(f"grant usage on schema horsies. to {role}")
        with acting_as(db, role), pytest.raises(errors.InsufficientPrivilege):
            scalar(db, SEND)


def test_objects_of_the_sender_do_not_change_what_it_does(db: Session, new_session: NewSession) -> None:
    with sender(db, new_session) as session:
        session.execute("create temporary table declarations (task_name text)")
        session.execute("create function pg_temp.now() returns timestamptz language sql as 'select null::timestamptz'")
        session.execute("set search_path = pg_temp, pg_catalog")
        task_id: UUID = scalar(session, SEND)
    assert row(db, "tasks", task_id)["queue"] == "sums"


def test_a_sender_that_keeps_its_transaction_open_blocks_nobody(db: Session, new_session: NewSession) -> None:
    with db.transaction(force_rollback=True):
        scalar(db, SEND)
        with ThreadPoolExecutor() as threads:
            sessions = [new_session() for _ in range(3)]
            ids = set(threads.map(lambda session: scalar(session, SEND), sessions))
        declare(sessions[0], declaration(queue="other"))
        assert sent(sessions[1])["queue"] == "other"
    assert len(ids) == 3


def test_the_transaction_becomes_durable(db: Session) -> None:
    with db.transaction():
        db.execute("set local synchronous_commit = off")
        scalar(db, SEND)
        assert scalar(db, "show synchronous_commit") == "on"


def test_settings_of_the_session_do_not_matter(database_url: str, db: Session) -> None:
    odd = {
        "datestyle": "'SQL, DMY'",
        "intervalstyle": "sql_standard",
        "timezone": "'<+1245>-12:45'",
        "extra_float_digits": "-10",
        "standard_conforming_strings": "off",
        "plpgsql.extra_errors": "'all'",
        "array_nulls": "off",
        "client_encoding": "latin1",
    }
    with open_session(database_url) as session:
        session.execute("load 'plpgsql'")
        for name, value in odd.items():
            session.execute(f"set {name} = {value}".encode())
        sql = "select horsies.send('add', %s::text::json, delay => '2 days')"
        task_id: UUID = scalar(session, sql, '{"a": "größe"}')
    task = row(db, "tasks", task_id)
    assert task["args"] == '{"a": "größe"}'.encode()
    assert task["run_at"] - task["sent_at"] == timedelta(days=2)
