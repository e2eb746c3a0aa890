"""`claim_in_turns`: the order of keys, and the bound of a walk over them."""

from tests.support.factories import DrivenWorker, done, numbered_id, request, send
from tests.support.flow import declare_queue, keys_of, send_keys
from tests.support.sessions import Session


def test_keys_take_turns_from_where_the_last_claim_stopped(db: Session) -> None:
    declare_queue(db)
    send_keys(db, "aaaaabbbc")
    worker = DrivenWorker(db)
    assert [keys_of(db, worker.claim(4)) for _ in range(3)] == ["abca", "baba", "a"]


def test_tasks_without_a_key_are_one_key(db: Session) -> None:
    declare_queue(db, per_key=1)
    send_keys(db, [None, None, "a", "a"])
    worker = DrivenWorker(db)
    first = worker.claim(9)
    assert keys_of(db, first) == "-a"
    worker.finish(*(done(fence) for fence in first))
    assert sorted(keys_of(db, worker.claim(9))) == ["-", "a"]


def test_the_oldest_task_of_a_key_starts_first_and_a_higher_priority_before_any(db: Session) -> None:
    declare_queue(db)
    late, early = send_keys(db, "a", delay=0)[0], numbered_id(1)
    send(db, request(early, task_key="a"))
    db.execute("update horsies.tasks set run_at = run_at - interval '1 hour' where id = %s", (early,))
    urgent = send(db, request(task_key="z", priority=1))
    worker = DrivenWorker(db)
    assert [fence.task_id for fence in worker.claim(3)] == [urgent, early, late]


def test_many_tasks_of_a_full_key_hide_nothing(db: Session) -> None:
    declare_queue(db, per_key=1)
    send_keys(db, ["a"] * 1000)
    worker = DrivenWorker(db)
    worker.claim_one()
    send_keys(db, "b")
    assert keys_of(db, worker.claim(9)) == "b"


def test_a_walk_stops_at_its_bound_and_goes_on(db: Session) -> None:
    declare_queue(db, per_key=1)
    db.execute(
        "insert into horsies.tasks"
        " (id, task_name, queue, priority, args, run_at, sent_at, fingerprint, task_key, turn_key)"
        " select md5(n::text || m)::uuid, 'add', 'default', 100, '{}', now(), now(), '', 'k' || to_char(n, 'FM0000'),"
        " 'k' || to_char(n, 'FM0000') from generate_series(1, 1200) n, generate_series(1, 2) m"
    )
    worker = DrivenWorker(db)
    assert len(worker.claim(1200)) == 500  # the bound
    assert len(worker.claim(1200)) == 500
    last = worker.claim(1200)
    assert len(last) == 200
    walks = [worker.ask(9) for _ in range(3)]
    assert [walk.tasks for walk in walks] == [[], [], []]
    assert [walk.due_in for walk in walks] == [0, 0, None], "the circle ends, and nothing is due"
    worker.finish(done(last[0]))
    found = [task for _ in range(3) for task in worker.ask(9).tasks]
    assert len(found) == 1


def test_turns_alone_may_be_run_ahead(db: Session) -> None:
    declare_queue(db)
    send_keys(db, "aa")
    claim = DrivenWorker(db).ask(9, free=0)
    assert len(claim.tasks) == 2
    assert not any(task.queue_limited for task in claim.tasks)
