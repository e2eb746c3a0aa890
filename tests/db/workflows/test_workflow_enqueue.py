"""`workflow_enqueue`: a ready node becomes a task."""

from tests.support.runs import control, node, start, statuses
from tests.support.sessions import Session, column, row, scalar

AGAIN = "select horsies.workflow_enqueue(array[%s::uuid], array[0])"


def test_the_task_is_as_the_node_says(db: Session) -> None:
    options = {"task_name": "resize", "queue": "q", "priority": 7, "args": {"a": 1}, "timeout_ms": 500}
    run = start(db, node(**options, good_until="2031-01-01T00:00:00+00:00", retry_policy={"max_retries": 1}))
    task = row(db, "tasks", scalar(db, "select id from horsies.tasks"))
    assert {name: task[name] for name in ("task_name", "queue", "priority", "timeout_ms")} == {
        name: options[name] for name in ("task_name", "queue", "priority", "timeout_ms")
    }
    assert (task["args"], task["retry_policy"]) == (b'{"a": 1}', b'{"max_retries": 1}')
    assert (task["workflow_id"], task["node_index"], task["root_id"], task["item"]) == (run, 0, run, None)
    assert task["good_until"].year == 2031


def test_tasks_of_one_run_are_claimed_in_the_order_of_their_nodes(db: Session) -> None:
    start(db, *(node() for _ in range(20)))
    assert column(db, "select node_index from horsies.tasks order by run_at, id") == list(range(20))


def test_a_node_is_enqueued_once(db: Session) -> None:
    run = start(db, node())
    assert scalar(db, AGAIN, run) == 0
    assert scalar(db, "select count(*) from horsies.tasks") == 1


def test_a_paused_run_enqueues_nothing(db: Session) -> None:
    run = start(db, node())
    control(db, run, "pause")
    db.execute("delete from horsies.tasks")
    db.execute("update horsies.workflow_nodes set status = 'READY', task_id = null")
    assert scalar(db, AGAIN, run) == 0
    assert statuses(db, run) == ["READY"]


def test_a_map_sends_the_task_that_expands_it(db: Session) -> None:
    start(db, node(kind="map", args={"size": 1}, timeout_ms=500))
    task = row(db, "tasks", scalar(db, "select id from horsies.tasks"))
    assert (task["task_name"], task["args"], task["timeout_ms"]) == ("horsies.map", b"{}", None)
    assert b"WORKER_CRASHED" in task["retry_policy"]
