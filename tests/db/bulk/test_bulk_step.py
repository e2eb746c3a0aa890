"""`bulk_step`: processes exactly the previewed tasks, each once, while they change and while others work on them."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from psycopg import errors
from uuid_utils.compat import uuid7

from horsies.db.queries import tasks as task_queries
from tests.support.bulk import control, found, preview, step
from tests.support.factories import DrivenWorker, done, ended_task, request, send
from tests.support.runs import node, start, statuses
from tests.support.sessions import (
    InBackground,
    NewSession,
    Session,
    call,
    column,
    find,
    row,
    scalar,
    wait_until_blocked,
)


def running(db: Session, kind: str = "cancel", wanted: str = "queue:*", **options: list[str]) -> UUID:
    bulk_id = preview(db, kind, wanted, **options)
    assert control(db, bulk_id, "start", kind) == "RUNNING"
    return bulk_id


def to_end(db: Session, bulk_id: UUID, most: int = 1000) -> None:
    while (answer := step(db, bulk_id, most)) is not None and answer.state == "RUNNING":
        assert answer.processed <= found(db, bulk_id).total


def audited(db: Session, action: str) -> list[list[str]]:
    return column(db, "select subjects from horsies.audit where action = %s order by id", action)


def test_batches_cancel_exactly_the_previewed_tasks(db: Session) -> None:
    tasks = [send(db) for _ in range(5)]
    bulk_id = running(db)
    later = send(db)
    answers = [step(db, bulk_id, 2) for _ in range(3)]
    assert [(each.state, each.processed, sorted(each.cancelled)) for each in answers if each is not None] == [
        ("RUNNING", 2, tasks[3:]),
        ("RUNNING", 4, tasks[1:3]),
        ("DONE", 5, tasks[:1]),
    ]
    assert column(db, "select id from horsies.tasks") == [later]
    assert [len(each) for each in audited(db, "task.cancel")] == [2, 2, 1]
    assert {each for batch in audited(db, "task.cancel") for each in batch} == set(map(str, tasks))
    assert column(db, "select distinct details ->> 'bulk_action' from horsies.audit where action = 'task.cancel'") == [
        str(bulk_id)
    ]
    after = found(db, bulk_id)
    assert (after.state, after.processed, after.changed, after.ended_at is not None) == ("DONE", 5, 5, True)
    assert step(db, bulk_id) == ("DONE", 5, [])


def test_what_has_ended_meanwhile_is_skipped(db: Session) -> None:
    waiting, finished = send(db), send(db)
    bulk_id = running(db)
    worker = DrivenWorker(db)
    fences = worker.claim(2)
    worker.finish(*(done(fence) for fence in fences if fence.task_id == finished))
    assert step(db, bulk_id) == ("DONE", 2, [waiting])
    assert (found(db, bulk_id).processed, found(db, bulk_id).changed) == (2, 1)
    assert row(db, "history", finished)["status"] == "COMPLETED"


def test_what_has_none_of_the_statuses_of_the_action_any_more_is_skipped(db: Session) -> None:
    """Somebody who cancels waiting tasks does not want to stop one that has started since the preview."""
    started, waiting = send(db), send(db)
    bulk_id = running(db, statuses=["PENDING"])
    fence = DrivenWorker(db).claim_one()
    assert fence.task_id == started
    assert step(db, bulk_id) == ("DONE", 2, [waiting])
    assert row(db, "tasks", started)["status"] == "RUNNING"


def test_nodes_of_runs_end_their_runs(db: Session) -> None:
    run_id = start(db, node(), node(0))
    to_end(db, running(db, wanted=f"run:{run_id}"))
    assert statuses(db, run_id) == ["FAILED", "SKIPPED"]


def test_a_rerun_sends_each_task_once(db: Session) -> None:
    origins = [ended_task(db) for _ in range(5)]
    bulk_id = running(db, "rerun", statuses=["COMPLETED"])
    call(db, task_queries.rerun(origins[0], uuid7()))
    to_end(db, bulk_id, 2)
    assert sorted(column(db, "select rerun_of from horsies.tasks")) == sorted(origins)
    after = found(db, bulk_id)
    assert (after.state, after.processed, after.changed) == ("DONE", 5, 4)
    assert {each for batch in audited(db, "task.rerun") for each in batch} == set(map(str, origins[1:]))


@pytest.mark.parametrize("kind", ["cancel", "rerun"])
def test_a_batch_that_is_not_committed_is_processed_again(db: Session, kind: str) -> None:
    tasks = [ended_task(db) if kind == "rerun" else send(db) for _ in range(4)]
    bulk_id = running(db, kind, statuses=["COMPLETED"] if kind == "rerun" else ["PENDING"])
    with db.transaction(force_rollback=True):
        assert step(db, bulk_id, 3) is not None
    assert (found(db, bulk_id).processed, found(db, bulk_id).changed) == (0, 0)
    to_end(db, bulk_id, 3)
    acted = audited(db, f"task.{kind}")
    assert sorted(each for batch in acted for each in batch) == sorted(map(str, tasks))
    assert found(db, bulk_id).changed == 4


@pytest.mark.parametrize("state", ["PREVIEW", "STOPPED"])
def test_nothing_happens_unless_it_is_running(db: Session, state: str) -> None:
    task_id = send(db)
    bulk_id = running(db)
    db.execute("update horsies.bulk_actions set state = %s", (state,))
    assert step(db, bulk_id) == (state, 0, [])
    assert find(db, "tasks", task_id)
    assert step(db, uuid7()) is None


def test_a_stop_waits_for_the_batch_and_ends_the_action(
    db: Session, other: Session, in_background: InBackground
) -> None:
    for _ in range(4):
        send(db)
    bulk_id = running(db)
    with db.transaction():
        step(db, bulk_id, 2)
        stopping = in_background(lambda: control(other, bulk_id, "stop"))
        wait_until_blocked(db, other)
    assert stopping.result() == "STOPPED"
    assert step(db, bulk_id, 2) == ("STOPPED", 2, [])
    assert scalar(db, "select count(*) from horsies.tasks") == 2


def test_an_empty_action_ends_at_once(db: Session) -> None:
    bulk_id = running(db)
    assert step(db, bulk_id) == ("DONE", 0, [])


def test_it_waits_for_an_outcome_that_came_first(db: Session, other: Session, in_background: InBackground) -> None:
    first, second = send(db), send(db)
    bulk_id = running(db)
    worker = DrivenWorker(db)
    [fence, _] = worker.claim(2)
    assert fence.task_id == first
    with db.transaction():
        worker.finish(done(fence))
        stepping = in_background(lambda: step(other, bulk_id))
        wait_until_blocked(db, other)
    assert stepping.result() == ("DONE", 2, [second])
    assert row(db, "history", first)["status"] == "COMPLETED"


def test_a_task_that_another_transaction_holds_fails_the_batch_and_not_the_action(
    db: Session, other: Session, new_session: NewSession
) -> None:
    tasks = [send(db) for _ in range(3)]
    bulk_id = running(db)
    holder = new_session()
    with holder.transaction():
        holder.execute("select from horsies.tasks where id = %s for update", (tasks[1],))
        with pytest.raises(errors.LockNotAvailable):
            step(other, bulk_id)
    assert found(db, bulk_id).processed == 0
    to_end(db, bulk_id)
    assert found(db, bulk_id).changed == 3


@pytest.mark.parametrize("kind", ["cancel", "rerun"])
def test_of_many_processes_each_task_is_processed_by_one(db: Session, new_session: NewSession, kind: str) -> None:
    """Workers claim and finish meanwhile; in the end each task has one fate, and the counts add up."""
    tasks = [ended_task(db) if kind == "rerun" else send(db) for _ in range(60)]
    bulk_id = running(db, kind, statuses=["COMPLETED"] if kind == "rerun" else ["PENDING", "CLAIMED", "RUNNING"])
    sessions = [new_session() for _ in range(4)]
    worker_session = new_session()

    def work() -> int:
        worker = DrivenWorker(worker_session)
        count = 0
        for _ in range(20):
            fences = worker.claim(1)
            count += worker.finish(*map(done, fences)).count("accepted")
        return count

    with ThreadPoolExecutor() as threads:
        working = threads.submit(work)
        for each in [threads.submit(to_end, session, bulk_id, 3) for session in sessions]:
            each.result()
        finished = working.result()
    after = found(db, bulk_id)
    assert (after.state, after.processed) == ("DONE", 60)
    acted = [each for batch in audited(db, f"task.{kind}") for each in batch]
    assert len(acted) == len(set(acted)) == after.changed
    if kind == "rerun":
        assert after.changed == 60
        assert sorted(column(db, "select origin from horsies.reruns")) == sorted(tasks)
    else:
        assert after.changed + finished == 60
        assert scalar(db, "select count(*) from horsies.history where status = 'CANCELLED'") == after.changed
        assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_it_is_durable(db: Session) -> None:
    send(db)
    bulk_id = running(db)
    db.execute("set synchronous_commit = off")
    with db.transaction():
        step(db, bulk_id)
        assert scalar(db, "show synchronous_commit") == "on"


def test_the_batch_is_recorded_for_the_person_who_resumed_it(db: Session) -> None:
    for name in ("a", "b"):
        send(db, request(name=name))
    bulk_id = running(db)
    step(db, bulk_id, 1)
    control(db, bulk_id, "stop", who="bob")
    control(db, bulk_id, "resume", who="eve")
    to_end(db, bulk_id)
    assert column(db, "select who from horsies.audit where action = 'task.cancel' order by id") == ["ada", "eve"]
