"""`end_tasks`: moves rows to history for reasons other than an outcome."""

from tests.support.factories import PID, DrivenWorker, send
from tests.support.runs import node, start, state, statuses
from tests.support.sessions import NOON, Session, column, find, row, scalar

END = """select horsies.end_tasks(%s::uuid[], 'CANCELLED', '{"error_code":"X"}', 'X', %s)"""


def test_tasks_move_to_history_with_their_fences_and_workers(db: Session) -> None:
    waiting, running, left = send(db), send(db), send(db)
    worker = DrivenWorker(db)
    worker.claim(2)
    assert set(scalar(db, END, [running, waiting], NOON)) == {waiting, running}
    assert find(db, "tasks", running) is None
    ended = row(db, "history", running)
    assert (ended["status"], ended["error_code"], ended["finished_at"]) == ("CANCELLED", "X", NOON)
    assert (ended["worker_id"], ended["worker_pid"]) == (worker.id, PID)
    assert row(db, "tasks", left)["status"] == "PENDING"


def test_it_says_so_if_there_was_nothing_to_end(db: Session) -> None:
    assert scalar(db, END, [], NOON) is None


def test_runs_move_with_the_tasks_of_their_nodes(db: Session) -> None:
    run = start(db, node(), node(0))
    scalar(db, END, column(db, "select id from horsies.tasks"), NOON)
    assert statuses(db, run) == ["FAILED", "SKIPPED"]
    assert state(db, run).status == "FAILED"
