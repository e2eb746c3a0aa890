"""`enqueue_once`: idempotency keys and unique tasks, each with concurrent senders and held locks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from psycopg import errors

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.tasks import EnqueueRequest, UniqueRequest
from tests.support.factories import (
    DrivenWorker,
    done,
    ended_task,
    enqueue_once,
    expire,
    failed,
    reap,
    request,
    send,
    send_once,
    unique,
)
from tests.support.sessions import (
    NOON,
    InBackground,
    Session,
    call,
    column,
    freeze_clock,
    move_clock,
    open_session,
    row,
    scalar,
    wait_until_blocked,
)

MANY = 50
REJECTED = unique(on_conflict="reject")
REPLACED = unique(on_conflict="replace")
KEPT = unique()
UNTIL_ENDED = unique("ended")
RETRIED = RetryPolicy.fixed([60], auto_retry_for=["BOOM"])


def live(db: Session) -> list[UUID]:
    return column(db, "select id from horsies.tasks order by id")


def keys(db: Session) -> dict[str, UUID]:
    return dict(db.execute("select key, task_id from horsies.idempotency_keys").fetchall())


# Idempotency keys


def test_a_second_send_with_the_key_gets_the_first_task(db: Session) -> None:
    first = request(key="order-1")
    assert send_once(db, first) == ("sent", first.task_id)
    assert row(db, "tasks", first.task_id)["idempotency_key"] == "order-1"
    again = request(key="order-1", args=b'{ "a" : 1.0 }', priority=1, delay=60, fingerprint=b"other")
    assert send_once(db, again) == ("existing", first.task_id)
    assert live(db) == [first.task_id]


def test_a_key_belongs_to_the_name_of_a_task(db: Session) -> None:
    first, second = request(key="k"), request(key="k", name="subtract")
    assert [answer.verdict for answer in enqueue_once(db, first, second)] == ["sent", "sent"]


def test_other_arguments_under_a_key_are_refused(db: Session) -> None:
    first = request(key="k")
    send_once(db, first)
    assert send_once(db, request(key="k", args=b'{"a":2}')) == ("other_args", first.task_id)
    assert live(db) == [first.task_id]


def test_a_key_outlives_the_run_of_its_task(db: Session) -> None:
    first = request(key="k")
    send_once(db, first)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    assert row(db, "history", first.task_id)["idempotency_key"] == "k"
    assert send_once(db, request(key="k")) == ("existing", first.task_id)
    assert live(db) == []


def test_a_send_waits_for_the_transaction_that_has_its_key(
    db: Session, other: Session, in_background: InBackground
) -> None:
    first = request(key="k")
    with db.transaction():
        send_once(db, first)
        second = in_background(lambda: send_once(other, request(key="k")))
        wait_until_blocked(db, other)
    assert second.result() == ("existing", first.task_id)


def test_a_key_of_a_transaction_that_is_rolled_back_is_free(
    db: Session, other: Session, in_background: InBackground
) -> None:
    wanted = request(key="k")
    with db.transaction(force_rollback=True):
        send_once(db, request(key="k"))
        second = in_background(lambda: send_once(other, wanted))
        wait_until_blocked(db, other)
    assert second.result() == ("sent", wanted.task_id)
    assert keys(db) == {"k": wanted.task_id}


def test_a_task_without_key_and_uniqueness_is_just_sent(db: Session) -> None:
    first, second = request(), request()
    assert [answer.verdict for answer in enqueue_once(db, first, second)] == ["sent", "sent"]
    assert live(db) == [first.task_id, second.task_id]


# Unique tasks


@pytest.mark.parametrize("until", ["started", "ended"])
def test_while_one_waits_no_second_one_is_sent(db: Session, until: str) -> None:
    first = request(unique=unique(until))
    assert send_once(db, first) == ("sent", first.task_id)
    assert send_once(db, request(unique=unique(until))) == ("existing", first.task_id)
    assert send_once(db, request(unique=unique(until, "reject"))) == ("duplicate", first.task_id)
    assert live(db) == [first.task_id]


def test_other_compared_arguments_are_another_task(db: Session) -> None:
    send_once(db, request(unique=KEPT))
    assert send_once(db, request(unique=unique(args=b'{"a":2}')))[0] == "sent"
    assert send_once(db, request(name="subtract", unique=KEPT))[0] == "sent"
    assert send_once(db, request(unique=unique(args=b'{"a": 1.00}')))[0] == "existing"


def test_until_started_a_claim_lets_the_next_one_be_sent(db: Session) -> None:
    first, second = request(unique=REJECTED), request(unique=REJECTED)
    send_once(db, first)
    worker = DrivenWorker(db)
    worker.claim_one()
    assert row(db, "tasks", first.task_id)["holds_unique"] is None
    assert send_once(db, second) == ("sent", second.task_id)
    assert send_once(db, request(unique=REJECTED)) == ("duplicate", second.task_id)


def test_until_ended_the_next_one_is_sent_after_the_end(db: Session) -> None:
    first, second = request(unique=UNTIL_ENDED), request(unique=UNTIL_ENDED)
    send_once(db, first)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert send_once(db, request(unique=UNTIL_ENDED)) == ("existing", first.task_id)
    worker.finish(done(fence))
    assert send_once(db, second) == ("sent", second.task_id)


@pytest.mark.parametrize("until", ["started", "ended"])
def test_a_prefetched_task_counts_as_started_and_not_as_ended(db: Session, until: str) -> None:
    first, second = request(unique=unique(until, "reject")), request(unique=unique(until, "reject"))
    send_once(db, first)
    DrivenWorker(db).prefetch()
    expected = ("sent", second.task_id) if until == "started" else ("duplicate", first.task_id)
    assert send_once(db, second) == expected


def test_replace_gives_the_waiting_task_the_new_request_and_keeps_its_id(db: Session) -> None:
    freeze_clock(db)
    first = request(unique=REPLACED, delay=60)
    send_once(db, first)
    move_clock(db, 10)
    deadline = NOON + timedelta(hours=1)
    second = request(unique=REPLACED, delay=60, priority=3, good_until=deadline, args=b'{"a":1,"b":2}')
    assert send_once(db, second) == ("replaced", first.task_id)
    task = row(db, "tasks", first.task_id)
    assert (task["priority"], task["good_until"], task["args"]) == (3, deadline, b'{"a":1,"b":2}')
    assert (task["sent_at"], task["run_at"]) == (NOON, NOON + timedelta(seconds=70))
    assert live(db) == [first.task_id]


def test_max_wait_bounds_how_long_a_task_is_pushed(db: Session) -> None:
    freeze_clock(db)
    wanted = request(unique=unique(on_conflict="replace", max_wait=100), delay=60)
    send_once(db, wanted)
    for passed, due in ((30, 90), (30, 100), (60, 100)):
        move_clock(db, passed)
        assert send_once(db, replace(wanted, task_id=request().task_id)) == ("replaced", wanted.task_id)
        assert row(db, "tasks", wanted.task_id)["run_at"] == NOON + timedelta(seconds=due)


def test_a_running_task_cannot_be_replaced(db: Session) -> None:
    first = request(unique=unique("ended", "replace"))
    send_once(db, first)
    DrivenWorker(db).claim_one()
    assert send_once(db, request(unique=unique("ended", "replace"), args=b'{"a":1,"b":2}')) == (
        "duplicate",
        first.task_id,
    )
    assert row(db, "tasks", first.task_id)["args"] == first.args


@pytest.mark.parametrize("on_conflict", ["keep", "replace", "reject"])
def test_a_task_past_its_deadline_does_not_count_and_ends(db: Session, on_conflict: str) -> None:
    freeze_clock(db)
    first = request(unique=unique("ended", on_conflict), good_until=NOON + timedelta(seconds=1))
    second = request(unique=unique("ended", on_conflict))
    send_once(db, first)
    move_clock(db, 1)
    assert send_once(db, second) == ("sent", second.task_id)
    assert row(db, "history", first.task_id)["status"] == "EXPIRED"
    assert expire(db) == 0


def test_a_running_task_past_its_deadline_counts(db: Session) -> None:
    freeze_clock(db)
    first = request(unique=UNTIL_ENDED, good_until=NOON + timedelta(seconds=1))
    send_once(db, first)
    DrivenWorker(db).claim_one()
    move_clock(db, 1)
    assert send_once(db, request(unique=UNTIL_ENDED)) == ("existing", first.task_id)


# Races of unique tasks


def test_a_send_waits_for_the_transaction_that_sends_the_unique_task(
    db: Session, other: Session, in_background: InBackground
) -> None:
    first = request(unique=KEPT)
    with db.transaction():
        send_once(db, first)
        second = in_background(lambda: send_once(other, request(unique=KEPT)))
        wait_until_blocked(db, other)
    assert second.result() == ("existing", first.task_id)


def test_replace_waits_for_a_claim_that_fails(db: Session, other: Session, in_background: InBackground) -> None:
    first = request(unique=REPLACED)
    send_once(db, first)
    with db.transaction(force_rollback=True):
        DrivenWorker(db).claim_one()
        second = in_background(lambda: send_once(other, request(unique=REPLACED)))
        wait_until_blocked(db, other)
    assert second.result() == ("replaced", first.task_id)


def test_replace_inserts_a_task_if_a_claim_took_the_waiting_one(
    db: Session, other: Session, in_background: InBackground
) -> None:
    first, second = request(unique=REPLACED), request(unique=REPLACED)
    send_once(db, first)
    with db.transaction():
        DrivenWorker(db).claim_one()
        answer = in_background(lambda: send_once(other, second))
        wait_until_blocked(db, other)
    assert answer.result() == ("sent", second.task_id)
    assert row(db, "tasks", first.task_id)["status"] == "RUNNING"


def test_a_claim_does_not_start_a_task_that_an_open_transaction_has_joined(db: Session, other: Session) -> None:
    """The transaction may have written what the task is to read."""
    first = request(unique=KEPT)
    send_once(db, first)
    worker = DrivenWorker(other)
    with db.transaction():
        (answer,) = enqueue_once(db, request(unique=KEPT), connection=db)
        assert (answer.verdict, answer.task_id) == ("existing", first.task_id)
        assert worker.claim() == []
    assert worker.claim_one().task_id == first.task_id


def test_a_send_of_its_own_locks_nothing(db: Session, other: Session) -> None:
    first = request(unique=KEPT)
    send_once(db, first)
    with other.transaction():
        other.execute("select from horsies.tasks where id = %s for update", (first.task_id,))
        assert send_once(db, request(unique=KEPT)) == ("existing", first.task_id)


@pytest.mark.parametrize("wanted", [
    request(key="one"),
    request(unique=KEPT),
    request(unique=REJECTED),
    request(unique=REPLACED),
    request(unique=UNTIL_ENDED),
    request(key="one", unique=unique("ended", "replace")),
])  # fmt: skip
def test_of_fifty_producers_at_once_one_sends_the_task(database_url: str, db: Session, wanted: EnqueueRequest) -> None:
    def produce(task_id: UUID) -> tuple[str, UUID | None]:
        with open_session(database_url) as session:
            return send_once(session, replace(wanted, task_id=task_id))

    with ThreadPoolExecutor(MANY) as threads:
        answers = list(threads.map(produce, [request().task_id for _ in range(MANY)]))
    (task_id,) = live(db)
    assert {answer[1] for answer in answers} == {task_id}
    assert [verdict for verdict, _ in answers].count("sent") == 1


# Keys and uniqueness together


def test_a_key_comes_before_uniqueness(db: Session) -> None:
    first, second = request(key="k", unique=REJECTED), request(unique=REJECTED)
    send_once(db, first)
    DrivenWorker(db).claim_one()
    send_once(db, second)
    assert send_once(db, request(key="k", unique=REJECTED)) == ("existing", first.task_id)


def test_a_refused_send_leaves_no_key(db: Session) -> None:
    first, third = request(unique=REJECTED), request(key="k", unique=REJECTED)
    send_once(db, first)
    assert send_once(db, request(key="k", unique=REJECTED)) == ("duplicate", first.task_id)
    assert keys(db) == {}
    DrivenWorker(db).claim_one()
    assert send_once(db, third) == ("sent", third.task_id)


@pytest.mark.parametrize(("wanted", "verdict"), [(KEPT, "existing"), (REPLACED, "replaced")])
def test_the_key_of_a_joined_send_stands_for_the_live_task(db: Session, wanted: UniqueRequest, verdict: str) -> None:
    first = request(unique=KEPT)
    send_once(db, first)
    assert send_once(db, request(key="k", unique=wanted)) == (verdict, first.task_id)
    assert keys(db) == {"k": first.task_id}
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    assert send_once(db, request(key="k", unique=wanted)) == ("existing", first.task_id)


# Several tasks in one call


def test_duplicates_in_one_call_act_in_their_order(db: Session) -> None:
    first, second, third = request(key="k"), request(key="k"), request(unique=KEPT)
    answers = enqueue_once(db, first, second, third, request(unique=KEPT), request(key="k2", unique=KEPT))
    assert [(answer.place, answer.verdict, answer.task_id) for answer in answers] == [
        (1, "sent", first.task_id),
        (2, "existing", first.task_id),
        (3, "sent", third.task_id),
        (4, "existing", third.task_id),
        (5, "existing", third.task_id),
    ]
    assert live(db) == [first.task_id, third.task_id]


def test_of_a_key_that_joins_a_live_task_the_second_use_names_that_task(db: Session) -> None:
    first = request(unique=KEPT)
    answers = enqueue_once(db, first, request(key="k", unique=KEPT), request(key="k", unique=KEPT))
    assert {answer.task_id for answer in answers} == {first.task_id}


@pytest.mark.parametrize("refused", [
    request(key="taken", args=b'{"a":2}'),
    request(unique=REJECTED),
])  # fmt: skip
def test_one_refused_task_undoes_the_whole_call_and_nothing_else(db: Session, refused: EnqueueRequest) -> None:
    with db.transaction():
        before = request(key="taken", unique=REJECTED)
        send_once(db, before)
        (answer,) = enqueue_once(db, request(key="new"), request(), refused, request(key="newer"))
        assert (answer.place, answer.task_id) == (3, before.task_id)
        assert answer.verdict in {"other_args", "duplicate"}
    assert live(db) == [before.task_id]
    assert keys(db) == {"taken": before.task_id}


def test_calls_with_the_same_keys_do_not_deadlock(db: Session, other: Session, in_background: InBackground) -> None:
    names = ["a", "b", "c"]
    with db.transaction():
        enqueue_once(db, *(request(key=key) for key in names))
        second = in_background(lambda: enqueue_once(other, *(request(key=key) for key in reversed(names))))
        wait_until_blocked(db, other)
        enqueue_once(db, *(request(key=key) for key in names))
    assert {answer.verdict for answer in second.result()} == {"existing"}


# Replays


@pytest.mark.parametrize("wanted", [request(key="k"), request(unique=REJECTED), request(key="k", unique=REJECTED)])
def test_a_replay_finds_its_own_task_first(db: Session, wanted: EnqueueRequest) -> None:
    send_once(db, wanted)
    assert send_once(db, wanted, replay=True) == ("known", wanted.task_id)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    assert send_once(db, wanted, replay=True) == ("known", wanted.task_id)
    assert live(db) == []


def test_a_replay_finds_its_own_task_before_a_live_one(db: Session) -> None:
    first, second = request(unique=REJECTED), request(unique=REJECTED)
    send_once(db, first)
    DrivenWorker(db).claim_one()
    send_once(db, second)
    assert send_once(db, first, replay=True) == ("known", first.task_id)


def test_a_replay_of_a_send_that_never_arrived_is_sent(db: Session) -> None:
    wanted = request(key="k", unique=KEPT)
    assert send_once(db, wanted, replay=True) == ("sent", wanted.task_id)


def test_a_replay_of_a_replacement_never_runs_it_twice(db: Session) -> None:
    first, second = request(unique=REPLACED), request(unique=REPLACED, fingerprint=b"second")
    send_once(db, first)
    send_once(db, second)
    assert send_once(db, second, replay=True) == ("known", first.task_id)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    assert send_once(db, second, replay=True) == ("known", first.task_id)
    assert send_once(db, replace(second, fingerprint=b"third"), replay=True) == ("mismatch", first.task_id)
    assert live(db) == []


def test_a_replay_of_a_replaced_task_is_known(db: Session) -> None:
    first = request(unique=REPLACED)
    send_once(db, first)
    send_once(db, request(unique=REPLACED, fingerprint=b"second"))
    assert send_once(db, first, replay=True) == ("known", first.task_id)


def test_another_request_under_the_id_of_a_task_is_a_mismatch(db: Session) -> None:
    plain = ended_task(db)
    assert send_once(db, request(plain, key="k", fingerprint=b"other"), replay=True) == ("mismatch", plain)
    assert keys(db) == {}


def test_a_replay_waits_for_the_open_transaction_of_the_first_send(
    db: Session, other: Session, in_background: InBackground
) -> None:
    wanted = request(unique=REJECTED)
    with db.transaction():
        send_once(db, wanted)
        replayed = in_background(lambda: send_once(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert replayed.result() == ("known", wanted.task_id)


# Uniqueness in the life of a task


@pytest.mark.parametrize("until", ["started", "ended"])
def test_a_retry_cannot_conflict(db: Session, until: str) -> None:
    from_policy = request(unique=unique(until), retry=RETRIED)
    send_once(db, from_policy)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    second = request(unique=unique(until), delay=3600)
    assert send_once(db, second)[0] == ("sent" if until == "started" else "existing")
    assert worker.finish(failed(fence)) == ["accepted"]
    assert row(db, "tasks", fence.task_id)["status"] == "PENDING"
    assert (row(db, "tasks", fence.task_id)["holds_unique"] is None) == (until == "started")


@pytest.mark.parametrize("until", ["started", "ended"])
def test_returned_and_reaped_claims_cannot_conflict(db: Session, until: str) -> None:
    worker = DrivenWorker(db)
    sent = [request(unique=unique(until, args=b'{"n":%d}' % n)) for n in range(10)]
    enqueue_once(db, *sent)
    fences = worker.prefetch(10)
    again = [replace(each, task_id=request().task_id, delay=3600) for each in sent]
    expected = "sent" if until == "started" else "existing"
    assert {answer.verdict for answer in enqueue_once(db, *again)} == {expected}
    assert worker.release(*fences[:5]) == set()
    reap(db, worker.id)
    assert scalar(db, "select count(*) from horsies.tasks where status <> 'PENDING'") == 0
    assert len(live(db)) == (20 if until == "started" else 10)


def test_reruns_are_exempt(db: Session) -> None:
    first = request(unique=UNTIL_ENDED)
    send_once(db, first)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    for _ in range(2):
        new_id = request().task_id
        assert call(db, task_queries.rerun(first.task_id, new_id)) == "sent"
        assert row(db, "tasks", new_id)["holds_unique"] is None
    assert send_once(db, request(unique=UNTIL_ENDED))[0] == "sent"


# Refusals and waits


def test_a_transaction_that_is_not_read_committed_is_refused_and_goes_on(db: Session) -> None:
    with db.transaction():
        db.execute("set transaction isolation level repeatable read")
        send(db)
        assert send_once(db, request(key="k")) == ("isolation", None)
    assert len(live(db)) == 1


def _hold_key(db: Session) -> None:
    send_once(db, request(key="k"))


def _hold_unique(db: Session) -> None:
    send_once(db, request(unique=KEPT))


@pytest.mark.parametrize(("hold", "wanted"), [
    (_hold_key, request(key="k")),
    (_hold_unique, request(unique=KEPT)),
])  # fmt: skip
def test_a_wait_is_bounded_and_names_the_blocker(
    db: Session, other: Session, hold: Callable[[Session], None], wanted: EnqueueRequest
) -> None:
    db.execute("alter function horsies.enqueue_once set lock_timeout = '50ms'")
    with db.transaction():
        hold(db)
        with pytest.raises(errors.LockNotAvailable, match=rf"process {db.info.backend_pid} \(user "):
            send_once(other, wanted)


def test_a_deadlock_names_the_process(db: Session, other: Session, in_background: InBackground) -> None:
    other.execute("set deadlock_timeout = '1h'")
    db.execute("set deadlock_timeout = '10ms'")
    with other.transaction():
        send_once(other, request(key="b"))
        db.execute("begin")
        send_once(db, request(key="a"))
        waiting = in_background(lambda: send_once(other, request(key="a")))
        wait_until_blocked(db, other)
        with pytest.raises(errors.DeadlockDetected, match=rf"process {other.info.backend_pid} "):
            send_once(db, request(key="b"))
        db.execute("rollback")
        assert waiting.result()[0] == "sent"


def test_the_wait_ends_after_five_seconds(db: Session) -> None:
    settings = scalar(db, "select proconfig from pg_proc where proname = 'enqueue_once'")
    assert "lock_timeout=5s" in settings


def test_a_replay_of_several_replacements_of_a_task_changes_nothing(db: Session) -> None:
    wanted = [request(unique=REPLACED, args=b'{"a":1,"n":%d}' % number) for number in range(3)]
    first = wanted[0].task_id
    assert [each.verdict for each in enqueue_once(db, *wanted)] == ["sent", "replaced", "replaced"]
    assert [(each.task_id, each.verdict) for each in enqueue_once(db, *wanted, replay=True)] == [(first, "known")] * 3
    assert row(db, "tasks", first)["args"] == b'{"a":1,"n":2}'


# Records


def recorded(db: Session) -> list[tuple[str, str, list[str], str]]:
    asked = "select who, action, subjects, details::text from horsies.audit order by id"
    return db.execute(asked).fetchall()


def by(who: str | None, wanted: EnqueueRequest) -> EnqueueRequest:
    return replace(wanted, who=who)


def test_a_send_in_the_name_of_a_person_is_recorded_once(db: Session) -> None:
    wanted = by("ada", request(key="one"))
    assert send_once(db, wanted)[0] == "sent"
    assert recorded(db) == [("ada", "task.send", [str(wanted.task_id)], '{"task_names" : ["add"]}')]
    assert send_once(db, wanted, replay=True)[0] == "known"
    assert send_once(db, by("bob", request(key="one")))[0] == "existing"
    assert len(recorded(db)) == 1


def test_it_needs_no_idempotency_key(db: Session) -> None:
    wanted = by("ada", request())
    assert wanted.is_once
    assert send_once(db, wanted)[0] == "sent"
    assert len(recorded(db)) == 1


def test_a_waiting_task_that_gets_other_arguments_is_recorded(db: Session) -> None:
    first = by("ada", request(unique=REPLACED))
    send_once(db, first)
    assert send_once(db, by("bob", request(unique=REPLACED))) == ("replaced", first.task_id)
    assert [(who, subjects) for who, _, subjects, _ in recorded(db)] == [
        ("ada", [str(first.task_id)]),
        ("bob", [str(first.task_id)]),
    ]


def test_a_refused_send_and_one_of_an_application_leave_no_record(db: Session) -> None:
    assert send_once(db, by(None, request(unique=REJECTED)))[0] == "sent"
    assert send_once(db, by("ada", request(unique=REJECTED)))[0] == "duplicate"
    assert recorded(db) == []


def test_a_send_that_is_rolled_back_leaves_no_record(db: Session) -> None:
    with db.transaction(force_rollback=True):
        send_once(db, by("ada", request()))
        assert len(recorded(db)) == 1
    assert recorded(db) == []
