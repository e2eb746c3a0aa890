"""Rows at which a server function would fail: they are refused, and one that is there stops no other task."""

import json

import pytest
from psycopg import errors

from horsies.config.retry import RetryPolicy
from horsies.db import sqlfiles
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import ClaimMode
from tests.support.factories import DrivenWorker, failed, numbered_id, reap, request, send
from tests.support.schema import describe
from tests.support.sessions import SCHEMA, Session, call, column, row, scalar

POLICY = json.loads(RetryPolicy.fixed([1.5, 60], auto_retry_for=["BOOM"]).to_json())
CHECKS = [
    "run_at_is_a_date",
    "attempt_has_a_successor",
    "worker_deaths_count_up_from_0",
    "retry_policy_is_readable",
]
NODE_CHECKS = ["node_priority_is_from_1_to_100", "node_timeout_is_at_least_100_ms", "node_retry_policy_is_readable"]
IMPOSSIBLE: list[tuple[str, object]] = [
    ("run_at", "infinity"),
    ("run_at", "-infinity"),
    ("run_at", "12000-01-01"),
    ("attempt", 2**31 - 1),
    ("worker_deaths", 2**31 - 1),
    ("worker_deaths", -1),
    *(
        ("retry_policy", policy if isinstance(policy, str) else json.dumps(policy))
        for policy in (
            '"text"',
            "[]",
            "null",
            {},
            {**POLICY, "max_retries": 1e300},
            {**POLICY, "max_retries": "many"},
            {**POLICY, "max_retries": -1},
            {**POLICY, "intervals": [1e300]},
            {**POLICY, "intervals": ["soon"]},
            {**POLICY, "intervals": 5},
            {**POLICY, "intervals": []},
            {**POLICY, "codes": "BOOM"},
        )
    ),
]
EACH = pytest.mark.parametrize(("column_name", "value"), IMPOSSIBLE)
KINDS = [("attempt", 2**31 - 1), ("worker_deaths", 2**31 - 1), ("run_at", "-infinity"), ("retry_policy", '"text"')]


def put(db: Session, column_name: str, value: object, *ids: object) -> None:
    """Change tasks as a role can that may write the table."""
    text = f"update horsies.tasks set {column_name} = %s where id = any (%s::uuid[])"
    db.execute(text, (value, [str(task_id) for task_id in ids]))


def drop_checks(db: Session) -> None:
    """Make the table as it was before it had the constraints."""
    for name in CHECKS:
        db.execute(f"alter table horsies.tasks drop constraint {name}")


@EACH
def test_a_row_with_an_impossible_value_is_refused(db: Session, column_name: str, value: object) -> None:
    task_id = send(db)
    with pytest.raises(errors.CheckViolation):
        put(db, column_name, value, task_id)


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy.fixed([0.001, 86_400], auto_retry_for=["BOOM", "TASK_TIMEOUT"]),
        RetryPolicy.exponential(0.1 + 0.2, max_retries=20, auto_retry_for=["B"], max_delay_seconds=1e300),
    ],
)
def test_every_policy_of_the_library_is_accepted(db: Session, policy: RetryPolicy) -> None:
    send(db, request(retry=policy))
    spaced = json.dumps(json.loads(policy.to_json()), indent=None)
    put(db, "retry_policy", spaced, *column(db, "select id from horsies.tasks"))
    assert scalar(db, "select retry_policy::text from horsies.tasks") == spaced


def test_a_worker_is_not_registered_with_an_endless_time_of_silence(db: Session) -> None:
    with pytest.raises(errors.CheckViolation):
        DrivenWorker(db, stale_after_s=1e10)


@EACH
def test_migrating_repairs_rows_that_are_there_and_validates_the_constraints(
    db: Session, column_name: str, value: object
) -> None:
    before = describe(db, SCHEMA)
    drop_checks(db)
    db.execute("alter table horsies.workers drop constraint stale_after_is_at_most_a_year")
    for name in NODE_CHECKS:
        db.execute(f"alter table horsies.workflow_nodes drop constraint {name}")
    good, bad = send(db, request(retry=RetryPolicy.fixed([5], auto_retry_for=["BOOM"]))), send(db)
    put(db, column_name, value, bad)
    db.execute(sqlfiles.migrations()[17])
    db.execute(sqlfiles.bind(sqlfiles.admin("validate_constraints"), SCHEMA))
    assert describe(db, SCHEMA) == before
    assert row(db, "tasks", bad)[column_name] != value
    assert row(db, "tasks", good)["retry_policy"] is not None


def ask(worker: DrivenWorker, wanted: int, mode: ClaimMode) -> list[object]:
    worker.exchange_no += 1
    asked = worker_queries.claim(
        worker.id, worker.exchange_no, wanted, worker.queues, worker.names, free=wanted, mode=mode
    )
    return [task.id for task in call(worker.session, asked).tasks]


def test_a_claim_that_takes_tasks_singly_ends_the_bad_row_and_takes_the_others(db: Session) -> None:
    drop_checks(db)
    ids = [send(db, request(numbered_id(number))) for number in range(5)]
    put(db, "attempt", 2**31 - 1, ids[1], ids[3])
    worker = DrivenWorker(db)
    with pytest.raises(errors.NumericValueOutOfRange):
        ask(worker, 10, ClaimMode.TOGETHER)
    assert ask(worker, 2, ClaimMode.SINGLY) == [ids[0], ids[2]]
    assert ask(worker, 10, ClaimMode.SINGLY) == [ids[4]]
    for bad in (ids[1], ids[3]):
        ended = row(db, "history", bad)
        assert (ended["status"], ended["error_code"]) == ("FAILED", "WORKER_SERIALIZATION_ERROR")
        assert "could not claim this task: integer out of range" in ended["result"].decode()


def test_a_row_that_violates_a_constraint_which_is_not_validated_ends_too(db: Session) -> None:
    drop_checks(db)
    bad, good = send(db), send(db)
    put(db, "retry_policy", '"text"', bad)
    db.execute("alter table horsies.tasks add constraint readable check (retry_policy::text <> '\"text\"') not valid")
    worker = DrivenWorker(db)
    with pytest.raises(errors.CheckViolation):
        ask(worker, 10, ClaimMode.TOGETHER)
    assert ask(worker, 10, ClaimMode.SINGLY) == [good]
    assert row(db, "history", bad)["status"] == "FAILED"


def test_a_row_scheduled_at_infinity_does_not_stop_claims(db: Session) -> None:
    drop_checks(db)
    never, good = send(db), send(db)
    put(db, "run_at", "infinity", never)
    worker = DrivenWorker(db)
    assert [fence.task_id for fence in worker.claim(10)] == [good]
    assert worker.ask(10).due_in is None


@pytest.mark.parametrize("policy", ['"text"', '{"max_retries":1e300,"intervals":[1],"codes":["BOOM"]}'])
def test_an_unreadable_policy_stops_neither_finish_nor_the_recovery_of_dead_workers(db: Session, policy: str) -> None:
    drop_checks(db)
    ids = [send(db, request(numbered_id(number))) for number in range(4)]
    worker = DrivenWorker(db)
    fences = worker.claim(4)
    put(db, "retry_policy", policy, *ids[:3:2])
    assert worker.finish(*map(failed, fences[:2])) == ["accepted", "accepted"]
    assert reap(db, proven_dead=worker.id).crashed == 2
    assert scalar(db, "select count(*) from horsies.history where status = 'FAILED'") == 4
