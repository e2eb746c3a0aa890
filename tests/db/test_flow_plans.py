"""What a claim in turns reads: little more than one in the order of arrival, whatever waits under a full key."""

import re
from collections.abc import Sequence

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue
from tests.support.sessions import Session

KEYS, WAITING = 1000, 20_000

_FILL = """
    insert into horsies.tasks
        (id, task_name, queue, priority, args, run_at, sent_at, fingerprint, task_key, turn_key)
    select md5(s.prefix || n)::uuid, 'add', s.queue, 100, '{}', now() - interval '1 hour' + n * interval '1 ms', now(),
           '', s.prefix || n %% s.keys, case when s.queue = 'keyed' then s.prefix || n %% s.keys end
    from (values ('plain', 'p', %s), ('keyed', 'k', %s), ('keyed', 'a full key ', 1)) as s (queue, prefix, keys),
         generate_series(1, %s) as n
"""
_CLAIM = "select * from horsies.claim(%s, %s, 20, 20, null, %s, %s, false, %s)"


def blocks_of_a_claim(db: Session, worker: DrivenWorker, cursors: str) -> int:
    """Claim twenty tasks, and return how many blocks were read."""
    worker.exchange_no += 1
    return blocks_of(db, _CLAIM, (worker.id, worker.exchange_no, list(worker.queues), list(worker.names), cursors))


def blocks_of(db: Session, statement: str, params: Sequence[object]) -> int:
    """Execute a statement, and return how many blocks it read."""
    plan = "\n".join(row[0] for row in db.execute(f"explain (analyze, buffers) {statement}", params).fetchall())
    top = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", plan)
    assert top is not None, plan
    return sum(int(blocks or 0) for blocks in top.groups())


def test_a_claim_does_not_read_all_that_waits_while_the_statistics_are_old(db: Session) -> None:
    """Statistics of an empty table let the planner expect that reading all waiting rows is cheap."""
    declare_queue(db, "keyed", per_key=2)
    db.execute("vacuum analyze horsies.tasks")
    db.execute(_FILL, (KEYS, KEYS, WAITING))
    worker = DrivenWorker(db, queues=["keyed"])
    starts = [f'{{"keyed": {{"100": {{"after": "k{start}"}}}}}}' for start in (1, 101, 201)]
    blocks = [blocks_of_a_claim(db, worker, start) for start in starts][1:]  # the first one plans
    assert max(blocks) < WAITING // 10, blocks


def test_asking_for_waiting_tasks_does_not_read_all_of_them_while_the_statistics_are_old(db: Session) -> None:
    declare_queue(db, "keyed", per_key=2)
    db.execute("vacuum analyze horsies.tasks")
    db.execute(_FILL, (KEYS, KEYS, WAITING))
    worker = DrivenWorker(db, caps={"keyed": 100})
    found = [blocks_of(db, "select horsies.notify_room(%s, %s)", (worker.id, ["keyed"])) for _ in range(2)]
    assert found[-1] < WAITING // 100, found


def test_a_claim_in_turns_reads_at_most_three_times_as_much(db: Session) -> None:
    declare_queue(db, "keyed", per_key=2)
    db.execute(_FILL, (KEYS, KEYS, WAITING))
    db.execute("vacuum analyze horsies.tasks")
    blocks = {
        name: [
            blocks_of_a_claim(db, worker, f'{{"keyed": {{"100": {{"after": "k{start}"}}}}}}')
            for start in (1, 101, 201, 301)
        ][1:]  # the first one plans
        for name in ("plain", "keyed")
        for worker in [DrivenWorker(db, queues=[name])]
    }
    assert max(blocks["keyed"]) <= 3 * min(blocks["plain"]), blocks
