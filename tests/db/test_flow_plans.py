"""What a claim in turns reads: little more than one in the order of arrival, whatever waits under a full key."""

import re
import statistics
from collections.abc import Sequence

import pytest

from horsies.db.queries.worker import Fence, finish
from tests.db.test_plans import reading
from tests.support.factories import HOSTNAME, DrivenWorker, done
from tests.support.flow import declare_queue, rate, send_keys
from tests.support.planner import take_for_empty
from tests.support.sessions import Session, column

KEYS, WAITING, DEAD = 1000, 20_000, 1_000

_FILL = """
    insert into horsies.tasks
        (id, task_name, queue, priority, args, run_at, sent_at, fingerprint, task_key, turn_key)
    select md5(s.prefix || n)::uuid, 'add', s.queue, 100, '{}', now() - interval '1 hour' + n * interval '1 ms', now(),
           '', s.prefix || n %% s.keys, case when s.queue = 'keyed' then s.prefix || n %% s.keys end
    from (values ('plain', 'p', %s), ('keyed', 'k', %s), ('keyed', 'a full key ', 1)) as s (queue, prefix, keys),
         generate_series(1, %s) as n
"""
_MAKE_KEYED = """
    update horsies.tasks set queue = 'keyed', turn_key = task_key
    where id in (select id from horsies.tasks where queue = 'plain' order by run_at desc limit 1000)
"""
_CLAIM = "select * from horsies.claim(%s, %s, 20, 20, null, %s, %s, false, %s)"


OLD_STATISTICS = pytest.mark.parametrize("belief", ["small", "taken for empty"])


def blocks_of_a_claim(db: Session, worker: DrivenWorker, cursors: str) -> int:
    """Claim twenty tasks, and return how many blocks were read."""
    worker.exchange_no += 1
    return blocks_of(db, _CLAIM, (worker.id, worker.exchange_no, list(worker.queues), list(worker.names), cursors))


def blocks_of(db: Session, statement: str, params: Sequence[object]) -> int:
    """Execute a statement, and return how many blocks it read.

    The first execution plans, and so does one after autovacuum has looked at a table: compare medians.
    """
    plan = "\n".join(row[0] for row in db.execute(f"explain (analyze, buffers) {statement}", params).fetchall())
    top = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", plan)
    assert top is not None, plan
    return sum(int(blocks or 0) for blocks in top.groups())


@OLD_STATISTICS
def test_a_claim_does_not_read_all_that_waits_while_the_statistics_are_old(db: Session, belief: str) -> None:
    """Statistics of an empty table let the planner expect that reading all waiting rows is cheap."""
    declare_queue(db, "keyed", per_key=2)
    db.execute("alter table horsies.tasks set (autovacuum_enabled = off)")
    db.execute("vacuum analyze horsies.tasks")
    db.execute(_FILL, (KEYS, KEYS, WAITING))
    if belief == "taken for empty":
        take_for_empty(db)
    worker = DrivenWorker(db, queues=["keyed"])
    starts = [f'{{"keyed": {{"100": {{"after": "k{start}"}}}}}}' for start in range(1, 700, 100)]
    blocks = [blocks_of_a_claim(db, worker, start) for start in starts]
    assert statistics.median(blocks) < WAITING // 10, blocks


@OLD_STATISTICS
def test_asking_for_waiting_tasks_does_not_read_all_of_them_while_the_statistics_are_old(
    db: Session, belief: str
) -> None:
    declare_queue(db, "keyed", per_key=2)
    db.execute("alter table horsies.tasks set (autovacuum_enabled = off)")
    db.execute("vacuum analyze horsies.tasks")
    db.execute(_FILL, (KEYS, KEYS, WAITING))
    if belief == "taken for empty":
        take_for_empty(db)
    worker = DrivenWorker(db, caps={"keyed": 100})
    found = [blocks_of(db, "select horsies.notify_room(%s, %s)", (worker.id, ["keyed"])) for _ in range(7)]
    assert statistics.median(found) < WAITING // 100, found


def test_a_claim_in_turns_reads_at_most_three_times_as_much(db: Session) -> None:
    declare_queue(db, "keyed", per_key=2)
    db.execute(_FILL, (KEYS, KEYS, WAITING))
    db.execute("vacuum analyze horsies.tasks")
    blocks = {
        name: [
            blocks_of_a_claim(db, worker, f'{{"keyed": {{"100": {{"after": "k{start}"}}}}}}')
            for start in range(1, 700, 100)
        ]
        for name in ("plain", "keyed")
        for worker in [DrivenWorker(db, queues=[name])]
    }
    assert statistics.median(blocks["keyed"]) <= 3 * statistics.median(blocks["plain"]), blocks


def test_claims_and_finishes_of_a_queue_without_keys_read_the_same_beside_keyed_queues(db: Session) -> None:
    """Keyed queues of the schema, and of the worker, cost a look at the table `queues`, and nothing per task."""
    db.execute(_FILL, (KEYS, KEYS, WAITING // 10))
    db.execute("delete from horsies.tasks where queue = 'keyed'")
    db.execute("vacuum analyze horsies.tasks")
    claim, finishing = blocks_of_rounds(db, ["plain"])
    declare_queue(db, "keyed", per_key=2, rate_per_key=rate(1000, 1, 100))
    claim_of_both, finish_of_both = blocks_of_rounds(db, ["plain", "keyed"])
    db.execute(_MAKE_KEYED)
    db.execute("vacuum analyze horsies.tasks")
    claim_beside, finish_beside = blocks_of_rounds(db, ["plain"])
    found = {"claim": (claim, claim_of_both, claim_beside), "finish": (finishing, finish_of_both, finish_beside)}
    assert claim_of_both <= claim + 60, found
    assert claim_beside <= claim + 10, found
    assert max(finish_of_both, finish_beside) <= finishing + 30, found


def blocks_of_rounds(db: Session, queues: Sequence[str]) -> tuple[float, float]:
    """Let a new worker claim and finish twenty tasks several times; return the medians of the blocks of each."""
    worker = DrivenWorker(db, queues=queues)
    claims: list[int] = []
    finishes: list[int] = []
    for _ in range(7):
        claims.append(blocks_of_a_claim(db, worker, "{}"))
        ids = column(db, "select id from horsies.tasks where worker_id = %s", worker.id)
        assert len(ids) == 20
        ending = finish(worker.id, HOSTNAME, [done(Fence(each, worker.exchange_no)) for each in ids])
        finishes.append(blocks_of(db, ending.sql, ending.params))
    return statistics.median(claims[1:]), statistics.median(finishes[1:])  # the first ones plan


@pytest.mark.parametrize("queue", ["plain", "keyed"])
def test_a_claim_steps_over_dead_rows_once(db: Session, other: Session, queue: str) -> None:
    """Rows that an old snapshot needs stay at the head of the index."""
    declare_queue(db, "keyed", per_key=2)
    worker = DrivenWorker(db, queues=[queue])
    with other.transaction():
        other.execute("set transaction isolation level repeatable read")
        other.execute("select from horsies.tasks")
        db.execute(_FILL, (1, 1, DEAD))
        dead = db.execute("delete from horsies.tasks where queue = %s", (queue,)).rowcount
        send_keys(db, ["a", "k0"], queue=queue)
        with reading(db) as reads:
            assert len(worker.claim(2)) == 2
    assert dead <= reads.rows < 1.5 * dead
