"""Claims in turns while an old snapshot keeps rows of ended tasks: what they read, and which tasks they find."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from uuid import UUID

import pytest

from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, done, request, send
from tests.support.flow import declare_queue, keys_of, rate, send_keys
from tests.support.sessions import NewSession, Session, freeze_clock, move_clock, scalar

BLOCKS = "select pg_stat_get_xact_blocks_fetched('horsies.tasks'::regclass)"
MANY, KEYS, PER_KEY = 20_000, 50, 2
FILL = """
    insert into horsies.tasks
        (id, task_name, queue, priority, args, run_at, sent_at, fingerprint, task_key, turn_key)
    select md5('d' || n)::uuid, 'add', 'default', 100, '{}', horsies.now(), horsies.now(), '', key, %s
    from generate_series(1, %s) as n cross join lateral (select 'k' || to_char(n %% %s, 'FM00')) as k (key)
"""
START = """
    update horsies.tasks
    set status = 'RUNNING', worker_id = id, exchange_no = 1, claimed_at = horsies.now(), started_at = horsies.now()
"""
SETTING = "'horsies.turn_marks_' || md5('default')"


def leave_dead_rows(db: Session, *, in_turns: bool) -> None:
    """Let tasks of all keys wait, start and end."""
    db.execute(FILL.replace("key, %s", "key, key" if in_turns else "key, null"), (MANY, KEYS))
    db.execute(START)
    db.execute("delete from horsies.tasks")
    move_clock(db, 60)


@pytest.fixture
def old_snapshot(db: Session, new_session: NewSession) -> Iterator[None]:
    """Keep a snapshot, and stop the clock."""
    freeze_clock(db)
    old = new_session()
    with old.transaction(force_rollback=True):
        old.execute("set transaction isolation level repeatable read")
        old.execute("select count(*) from horsies.tasks")
        yield


@pytest.fixture
def crowded(db: Session, old_snapshot: None) -> DrivenWorker:
    """Return a worker of a keyed queue in which 20,000 tasks of 50 keys have ended that an old snapshot still sees."""
    declare_queue(db, per_key=PER_KEY)
    leave_dead_rows(db, in_turns=True)
    return DrivenWorker(db)


def blocks_of(session: Session, statement: str, *params: object) -> int:
    """Execute a statement; return how many blocks of the table it has read."""
    with session.transaction():
        before = scalar(session, BLOCKS)
        session.execute(statement.encode(), params)
        return scalar(session, BLOCKS) - before


def blocks_of_claim(worker: DrivenWorker, wanted: int = 20) -> tuple[int, int]:
    """Claim and end tasks; return the blocks of the table that the claim has read, and how many tasks it has found."""
    with worker.session.transaction():
        before = scalar(worker.session, BLOCKS)
        fences = worker.claim(wanted)
        blocks = scalar(worker.session, BLOCKS) - before
    worker.finish(*map(done, fences))
    return blocks, len(fences)


def marks_of(worker: DrivenWorker) -> str:
    return scalar(worker.session, f"select coalesce(current_setting({SETTING}, true), '')")


def keep_marks(worker: DrivenWorker) -> None:
    """Let the session keep marks of all keys, after a task that was waiting."""
    send_keys(worker.session, ["k00"])
    worker.finish(done(worker.claim_one()))
    assert worker.claim(20) == []
    assert marks_of(worker)
    assert uses_marks(worker)


def uses_marks(worker: DrivenWorker) -> bool:
    """Return whether the next claim will begin at marks."""
    return scalar(worker.session, "select horsies.marks_until('default', horsies.now()) is not null")


def test_only_the_first_walk_steps_over_all_dead_rows(crowded: DrivenWorker) -> None:
    send_keys(crowded.session, [f"k{number % KEYS:02}" for number in range(120)])
    found = [blocks_of_claim(crowded) for _ in range(5)]
    assert [count for _, count in found] == [20] * 5
    assert found[0][0] > 5_000
    assert max(blocks for blocks, _ in found[3:]) < 400, found


def test_a_claim_of_an_empty_queue_reads_the_dead_rows_once(crowded: DrivenWorker) -> None:
    found = [blocks_of_claim(crowded) for _ in range(3)]
    assert found[0][0] > 5_000
    assert max(blocks for blocks, _ in found[1:]) < 50, found


def test_asking_whether_tasks_wait_begins_at_the_marks(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    assert blocks_of(crowded.session, "select horsies.notify_room(%s, '{default}')", crowded.id) < 50
    send_keys(crowded.session, ["k49"])
    assert scalar(crowded.session, "select horsies.has_waiting('default')")


@pytest.mark.parametrize("turns", [True, False], ids=["retries and schedules of keys", "a queue with a rate"])
def test_rows_in_the_order_of_due_times_are_read_from_the_marks_on(
    db: Session,
    old_snapshot: None,
    turns: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    declare_queue(db, takes_turns=turns, rate=rate(1_000_000, 1, burst=1_000_000))
    leave_dead_rows(db, in_turns=False)
    worker = DrivenWorker(db)
    send_keys(db, ["a"] * 100)
    found = [blocks_of_claim(worker) for _ in range(4)]
    assert [count for _, count in found] == [20] * 4
    assert found[0][0] > 300
    assert max(blocks for blocks, _ in found[1:]) < 300, found


def test_a_task_behind_the_marks_is_found_when_they_end(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    [late] = send_keys(crowded.session, ["k07"], delay=-30)
    found = crowded.ask(20)
    assert found.tasks == []
    assert found.due_in is not None
    move_clock(crowded.session, found.due_in + 0.001)
    assert [task.id for task in crowded.ask(20).tasks] == [late]


@pytest.mark.parametrize(
    ("key", "priority"), [("k00", 100), ("k25", 100), ("k49", 100), ("a", 100), ("k255", 100), ("z", 100), (None, 100)]
)
def test_new_tasks_are_found_at_once(crowded: DrivenWorker, key: str | None, priority: int) -> None:
    keep_marks(crowded)
    for level in (priority, 1, 50):
        new = send(crowded.session, request(task_key=key, priority=level))
        found = crowded.claim(20)
        assert [fence.task_id for fence in found] == [new]
        crowded.finish(*map(done, found))
        assert marks_of(crowded)


def test_keys_take_turns_in_the_same_order_with_marks(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    send_keys(crowded.session, ["c", "c", "a", "a", "b", "b", "c"])
    crowded.cursors = None
    assert marks_of(crowded)
    assert [keys_of(crowded.session, crowded.claim(4)) for _ in range(2)] == ["abca", "bc"]


def test_limits_of_keys_count_tasks_that_started_before_the_marks(crowded: DrivenWorker) -> None:
    send_keys(crowded.session, ["k01", "k01", "k01", "k02"])
    first = crowded.claim(20)
    assert len(first) == 3
    move_clock(crowded.session, 100)
    for _ in range(3):
        assert crowded.claim(20) == []
        assert uses_marks(crowded)
    assert "k01" in marks_of(crowded)
    crowded.finish(done(first[0]))
    assert len(crowded.claim(20)) == 1
    assert crowded.claim(20) == []


def test_a_scheduled_task_is_due_in_time(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    [scheduled] = send_keys(crowded.session, ["k09"], delay=0.01)
    found = crowded.ask(20)
    assert found.tasks == []
    assert found.due_in == pytest.approx(0.01)
    move_clock(crowded.session, 0.01)
    assert [task.id for task in crowded.ask(20).tasks] == [scheduled]


def test_marks_end_when_the_dead_rows_are_removed(db: Session, new_session: NewSession) -> None:
    freeze_clock(db)
    declare_queue(db, per_key=PER_KEY)
    worker, old = DrivenWorker(db), new_session()
    with old.transaction(force_rollback=True):
        old.execute("set transaction isolation level repeatable read")
        old.execute("select count(*) from horsies.tasks")
        leave_dead_rows(db, in_turns=True)
        keep_marks(worker)
    db.execute("vacuum horsies.tasks")
    move_clock(db, 61)
    send_keys(db, ["a"])
    assert len(worker.claim(20)) == 1
    assert marks_of(worker) == ""


def test_an_undisturbed_walk_over_full_keys_keeps_no_marks(db: Session) -> None:
    declare_queue(db, per_key=1)
    send_keys(db, [f"{number:03}" for number in range(400)] * 2)
    worker = DrivenWorker(db)
    assert len(worker.claim(400)) == 400
    worker.cursors = None
    assert worker.claim(20) == []
    assert marks_of(worker) == ""


class Model:
    """Which tasks of which keys wait, since when they could start, and how many of each key are in flight."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.waiting = dict[UUID, tuple[str, float]]()
        self.running = Counter[str]()
        self.freed = defaultdict[str, float](float)  # when each key had no room for the last time

    def startable_since(self) -> list[float]:
        return [
            max(since, self.freed[key])
            for key, since in self.waiting.values()
            if since <= self.clock and self.running[key] < PER_KEY
        ]

    def end(self, key: str) -> None:
        """Note that a task of a key is no longer in flight."""
        if self.running[key] == PER_KEY:
            self.freed[key] = self.clock
        self.running[key] -= 1


@pytest.mark.parametrize("seed", range(3))
def test_no_task_waits_longer_than_the_marks_last_and_no_key_exceeds_its_limit(
    crowded: DrivenWorker, seed: int
) -> None:
    """Whatever happens to tasks: claims find them in time, or say when to ask again, and start no more than they may."""
    db, chance, model = crowded.session, random.Random(seed), Model()  # noqa: S311 - reproducible
    in_flight = dict[Fence, str]()
    used = 0
    for _ in range(150):
        for _ in range(chance.choice([0, 0, 1, 4])):
            key = chance.choice(["a", "k01", "k02", "k030", "k48", "z"])
            delay = chance.choice([-30, -2, -0.5, 0, 0, 0.7, 4])
            [task_id] = send_keys(db, [key], priority=chance.choice([1, 50, 100]), delay=delay)
            model.waiting[task_id] = key, model.clock + max(delay, 0)
        used += uses_marks(crowded)
        wanted = chance.choice([1, 3, 50])
        claim = crowded.ask(wanted)
        for task in claim.tasks:
            key, _ = model.waiting.pop(task.id)
            model.running[key] += 1
            in_flight[Fence(task.id, crowded.exchange_no)] = key
        assert max(model.running.values(), default=0) <= PER_KEY
        times = model.startable_since()
        if times and len(claim.tasks) < wanted and claim.due_in != 0:
            assert min(times) > model.clock - 5.01, "a full look at the latest after 5 s finds it"
            assert claim.due_in is not None
            assert claim.due_in <= 5.11  # spread by at most 0.1 s
        for fence, key in list(in_flight.items()):
            fate = chance.random()
            if fate > 0.5:
                continue
            del in_flight[fence]
            model.end(key)
            if fate < 0.1:
                crowded.release(fence)
                model.waiting[fence.task_id] = key, model.clock
            else:
                crowded.finish(done(fence))
        step = chance.choice([0.01, 0.3, 1.5])
        model.clock += step
        move_clock(db, step)
    assert used > 50
