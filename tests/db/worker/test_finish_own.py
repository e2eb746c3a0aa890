"""`finish_own`: a task that ends itself in its own transaction, and how the answer to a lost commit is looked up."""

import psycopg
import pytest

from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from tests.support.databases import ODD_SETTINGS
from tests.support.factories import CHILD_NAME, CHILD_PID, HOSTNAME, DrivenWorker, done, failed, reap, send
from tests.support.runs import fences, node, start, statuses
from tests.support.sessions import InBackground, NewSession, Session, call, find, row, scalar, wait_until_blocked

CRASHED = "WORKER_CRASHED"


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    db.execute("create table effects (task_id uuid)")
    return DrivenWorker(db)


@pytest.fixture
def fence(db: Session, worker: DrivenWorker) -> Fence:
    send(db)
    return worker.claim_one()


@pytest.fixture
def child(new_session: NewSession) -> Session:
    """The session of the child that runs the task."""
    return new_session()


def begin(child: Session, worker: DrivenWorker, fence: Fence) -> None:
    """Begin the task's own transaction, and write its effect."""
    child.execute("begin")
    child.execute("select set_config('horsies.fence', %s, true)", (f"{worker.id}/{fence.task_id}/{fence.exchange_no}",))
    child.execute("insert into effects values (%s)", (fence.task_id,))


def finish_own(child: Session, worker: DrivenWorker, fence: Fence, result: bytes = b"7") -> None:
    finishing = worker_queries.finish_own(
        worker.id, fence, result, hostname=HOSTNAME, pid=CHILD_PID, process_name=CHILD_NAME
    )
    call(child, finishing)


def effects(db: Session) -> int:
    return scalar(db, "select count(*) from effects")


def test_the_outcome_and_the_effect_are_committed_together(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    finish_own(child, worker, fence)
    assert (effects(db), find(db, "history", fence.task_id)) == (0, None)
    child.execute("commit")
    ended = row(db, "history", fence.task_id)
    assert (ended["status"], ended["result"], ended["attempt"]) == ("COMPLETED", b"7", 1)
    assert (ended["worker_id"], ended["exchange_no"]) == (worker.id, fence.exchange_no)
    assert (ended["worker_hostname"], ended["worker_pid"]) == (HOSTNAME, CHILD_PID)
    assert ended["worker_process_name"] == CHILD_NAME
    assert (effects(db), find(db, "tasks", fence.task_id)) == (1, None)


@pytest.mark.parametrize("end", ["commit", "rollback", "commit and chain", "rollback and chain"])
def test_a_transaction_that_the_users_sql_has_ended_is_noticed(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session, end: str
) -> None:
    begin(child, worker, fence)
    child.execute(end.encode())
    with pytest.raises(psycopg.Error, match="was committed or rolled back before the task ended") as raised:
        finish_own(child, worker, fence)
    assert raised.value.sqlstate == "P0H02"
    child.execute("rollback")
    assert row(db, "tasks", fence.task_id)["status"] == "RUNNING"


def test_a_rollback_to_a_savepoint_keeps_the_transaction(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    child.execute("savepoint part")
    child.execute("insert into effects values (null)")
    child.execute("rollback to part")
    finish_own(child, worker, fence)
    child.execute("commit")
    assert effects(db) == 1


def test_a_node_is_finished_in_a_session_with_unusual_settings(
    db: Session, worker: DrivenWorker, child: Session
) -> None:
    run = start(db, node())
    fence = fences(db, worker, run)[0]
    for name in ODD_SETTINGS.keys() & {"array_nulls", "datestyle", "intervalstyle", "timezone", "extra_float_digits"}:
        child.execute(f"set {name} = {ODD_SETTINGS[name]}".encode())
    child.execute("set standard_conforming_strings = off")
    begin(child, worker, fence)
    finish_own(child, worker, fence)
    child.execute("commit")
    assert statuses(db, run) == ["COMPLETED"]


def test_the_fence_of_another_claim_is_not_enough(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, Fence(fence.task_id, fence.exchange_no + 1))
    with pytest.raises(psycopg.Error) as raised:
        finish_own(child, worker, fence)
    assert raised.value.sqlstate == "P0H02"
    assert row(db, "tasks", fence.task_id)["status"] == "RUNNING"


def test_a_claim_that_was_lost_raises_and_leaves_no_effect(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    assert worker.finish(failed(fence, CRASHED)) == ["accepted"]
    with pytest.raises(psycopg.Error, match="does not hold the task any more") as raised:
        finish_own(child, worker, fence)
    assert raised.value.sqlstate == "P0H03"
    child.execute("commit")  # of a failed transaction: a rollback
    assert (effects(db), row(db, "history", fence.task_id)["status"]) == (0, "FAILED")


def test_a_prefetched_task_has_not_started_and_cannot_end_itself(
    db: Session, worker: DrivenWorker, child: Session
) -> None:
    send(db)
    (fence,) = worker.prefetch()
    begin(child, worker, fence)
    with pytest.raises(psycopg.Error) as raised:
        finish_own(child, worker, fence)
    assert raised.value.sqlstate == "P0H03"


def test_a_result_that_the_database_refuses_is_an_error_and_no_verdict(
    worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        finish_own(child, worker, fence, b"{")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_another_isolation_level_is_refused_by_name(
    worker: DrivenWorker, fence: Fence, child: Session, level: str
) -> None:
    child.execute(f"set default_transaction_isolation = '{level}'".encode())
    begin(child, worker, fence)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match=level.upper()):
        finish_own(child, worker, fence)


def test_the_task_waits_for_a_short_lock_of_its_row(
    db: Session, in_background: InBackground, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    with worker.session.transaction():
        worker.session.execute("update horsies.tasks set progress = '1' where id = %s", (fence.task_id,))
        finishing = in_background(lambda: finish_own(child, worker, fence))
        wait_until_blocked(db, child)
    finishing.result()
    child.execute("commit")
    assert (effects(db), row(db, "history", fence.task_id)["progress"]) == (1, b"1")


# The answer to a commit is lost: the look-up is `finish` of the failed outcome. One test for each line of the rule.


def test_while_the_row_is_locked_the_outcome_is_busy_and_later_superseded(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    finish_own(child, worker, fence)
    assert worker.finish(failed(fence, CRASHED)) == ["busy"]
    assert worker.reconcile(fence) == set()
    assert worker.reconcile() == set()  # it skips the locked row, and returns nothing to the queue
    child.execute("commit")
    [verdict] = worker.finish_in_full(failed(fence, CRASHED))
    assert verdict == ("superseded", None, None)
    assert (effects(db), row(db, "history", fence.task_id)["status"]) == (1, "COMPLETED")


def test_if_the_orphaned_transaction_is_rolled_back_the_failure_is_written(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    finish_own(child, worker, fence)
    assert worker.finish(failed(fence, CRASHED)) == ["busy"]
    child.execute("rollback")
    assert worker.finish(failed(fence, CRASHED)) == ["accepted"]
    assert (effects(db), row(db, "history", fence.task_id)["error_code"]) == (0, CRASHED)


def test_an_orphaned_server_process_that_waits_for_the_failure_raises(
    db: Session, in_background: InBackground, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    with worker.session.transaction():
        assert worker.finish(failed(fence, CRASHED)) == ["accepted"]
        finishing = in_background(lambda: finish_own(child, worker, fence))
        wait_until_blocked(db, child)
    with pytest.raises(psycopg.Error) as raised:
        finishing.result()
    assert raised.value.sqlstate == "P0H03"
    child.execute("commit")
    assert (effects(db), row(db, "history", fence.task_id)["error_code"]) == (0, CRASHED)


def test_only_a_failure_of_this_very_claim_is_superseded(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    finish_own(child, worker, fence)
    child.execute("commit")
    stranger = DrivenWorker(db)
    assert stranger.finish(failed(fence, CRASHED)) == ["stale"]
    assert worker.finish(failed(Fence(fence.task_id, fence.exchange_no + 1), CRASHED)) == ["stale"]
    assert worker.finish(done(fence, b"7")) == ["duplicate"]


def test_a_committed_claim_is_not_lost(db: Session, worker: DrivenWorker, fence: Fence, child: Session) -> None:
    begin(child, worker, fence)
    finish_own(child, worker, fence)
    child.execute("commit")
    assert worker.reconcile(fence) == set()
    assert call(db, worker_queries.lost_claims(worker.id, [fence])) == set()
    other_claim = Fence(fence.task_id, fence.exchange_no + 1)
    assert worker.reconcile(other_claim) == {fence.task_id}


def test_a_claim_that_failed_is_lost(db: Session, worker: DrivenWorker, fence: Fence) -> None:
    assert worker.finish(failed(fence)) == ["accepted"]
    assert worker.reconcile(fence) == {fence.task_id}
    assert call(db, worker_queries.lost_claims(worker.id, [fence])) == {fence.task_id}


def test_the_reaper_leaves_a_locked_row_alone_until_its_transaction_has_ended(
    db: Session, worker: DrivenWorker, fence: Fence, child: Session
) -> None:
    begin(child, worker, fence)
    finish_own(child, worker, fence)
    assert reap(db, worker.id).crashed == 0
    child.execute("commit")
    assert reap(db).crashed == 0
    assert (effects(db), row(db, "history", fence.task_id)["status"]) == (1, "COMPLETED")
