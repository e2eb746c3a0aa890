"""Random sends, limits, holds, failures and times: a claim starts exactly the tasks that a small model starts."""

from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from horsies import RetryPolicy
from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, done, failed, request, send
from tests.support.flow import declare_queue, hold, rate
from tests.support.sessions import NOON, Session, freeze_clock

_EMPTY = (
    "truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers, horsies.queues, horsies.buckets,"
    " horsies.holds"
)
RETRY_AFTER_S = 3.0
LIMIT, PER_SECONDS, BURST = 3, 6, 2
QUEUE_LIMIT, QUEUE_BURST = 6, 5
KEYS = st.sampled_from([None, "a", "b", "c"])


@dataclass
class Bucket:
    """Tokens, counted as they come and go."""

    burst: int
    per_second: Fraction
    level: Fraction = Fraction(0)
    at: Fraction = Fraction(0)
    starts: list[Fraction] = field(default_factory=list[Fraction])

    def tokens(self, now: Fraction) -> int:
        self.level = min(Fraction(self.burst), self.level + (now - self.at) * self.per_second)
        self.at = now
        return int(self.level)

    def take(self, now: Fraction) -> None:
        self.tokens(now)
        self.level -= 1
        self.starts.append(now)

    def check(self) -> None:
        """No window has more starts than the burst and the rate allow."""
        for first in range(len(self.starts)):
            for last in range(first, len(self.starts)):
                length = self.starts[last] - self.starts[first]
                assert last - first + 1 <= self.burst + self.per_second * length


@dataclass
class Task:
    id: UUID
    key: str
    priority: int
    due: Fraction
    fence: Fence | None = None


class FlowMachine(RuleBasedStateMachine):
    """One keyed queue with a limit and a rate for each key and a rate of its own."""

    db: Session
    started: list[UUID]

    def __init__(self) -> None:
        super().__init__()
        self.db.execute(_EMPTY)
        self.now = Fraction(0)
        freeze_clock(self.db, NOON)
        self.cap = 2
        self.declare()
        self.tasks: list[Task] = []
        self.held: dict[str, Fraction] = {}
        self.buckets: dict[str, Bucket] = {}
        self.of_queue = Bucket(QUEUE_BURST, Fraction(QUEUE_LIMIT, PER_SECONDS), Fraction(QUEUE_BURST))
        self.workers = [DrivenWorker(self.db), DrivenWorker(self.db)]

    def declare(self) -> None:
        of_key, of_queue = rate(LIMIT, PER_SECONDS, BURST), rate(QUEUE_LIMIT, PER_SECONDS, QUEUE_BURST)
        declare_queue(self.db, per_key=self.cap, rate_per_key=of_key, rate=of_queue)

    def bucket(self, key: str) -> Bucket:
        full = Bucket(BURST, Fraction(LIMIT, PER_SECONDS), Fraction(BURST), self.now)
        return self.buckets.setdefault(key, full)

    @rule(key=KEYS, priority=st.sampled_from([10, 20]), delay=st.sampled_from([0, 0, 0, 2]), count=st.integers(1, 4))
    def send(self, key: str | None, priority: int, delay: int, count: int) -> None:
        policy = RetryPolicy.fixed([3], auto_retry_for=["BOOM"], jitter=False)
        for _ in range(count):
            wanted = request(task_key=key, priority=priority, delay=delay, retry=policy)
            self.tasks.append(Task(send(self.db, wanted), key or "", priority, self.now + delay))

    @rule(worker=st.integers(0, 1))
    def claim_everything(self, worker: int) -> None:
        startable = self.startable()
        tokens = self.of_queue.tokens(self.now)
        fences = self.workers[worker].claim(100)
        claimed = {fence.task_id for fence in fences}
        assert len(claimed) == min(tokens, len(startable))
        if tokens >= len(startable):
            assert claimed == {task.id for task in startable}
        self.start(fences)

    @rule(worker=st.integers(0, 1), wanted=st.integers(1, 3))
    def claim_some(self, worker: int, wanted: int) -> None:
        startable = {task.id for task in self.startable()}
        tokens = self.of_queue.tokens(self.now)
        fences = self.workers[worker].claim(wanted)
        assert {fence.task_id for fence in fences} <= startable
        assert len(fences) == min(wanted, tokens, len(startable))
        self.start(fences)

    def startable(self) -> list[Task]:
        """Return the tasks that may start now, in the order in which they start within each key."""
        found: list[Task] = []
        for key in {task.key for task in self.tasks}:
            own = [task for task in self.tasks if task.key == key]
            waiting = [task for task in own if task.fence is None and task.due <= self.now]
            room = min(self.cap - sum(task.fence is not None for task in own), self.bucket(key).tokens(self.now))
            if self.held.get(key, Fraction(0)) <= self.now and room > 0:
                found += sorted(waiting, key=lambda task: (task.priority, task.due, task.id))[:room]
        return found

    def start(self, fences: list[Fence]) -> None:
        by_id = {task.id: task for task in self.tasks}
        for fence in fences:
            task = by_id[fence.task_id]
            self.started.append(task.id)
            task.fence = fence
            self.bucket(task.key).take(self.now)
            self.of_queue.take(self.now)
        for bucket in (self.of_queue, *self.buckets.values()):
            bucket.check()

    @precondition(lambda self: any(task.fence for task in self.tasks))
    @rule(data=st.data(), ok=st.booleans())
    def finish(self, data: st.DataObject, ok: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        task = data.draw(st.sampled_from([task for task in self.tasks if task.fence]))
        fence = task.fence
        assert fence is not None
        for worker in self.workers:
            worker.finish(done(fence) if ok else failed(fence, "BOOM"))
        row = self.db.execute("select run_at, status from horsies.tasks where id = %s", (task.id,)).fetchone()
        if row is None:
            self.tasks.remove(task)
        else:
            assert row[1] == "PENDING"
            task.fence, task.due = None, Fraction((row[0] - NOON) / timedelta(microseconds=1)) / 1_000_000

    @rule(seconds=st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(4)]))
    def pass_time(self, seconds: Fraction) -> None:
        self.now += seconds
        freeze_clock(self.db, NOON + timedelta(seconds=float(self.now)))

    @rule(cap=st.integers(1, 4))
    def change_the_limit(self, cap: int) -> None:
        self.cap = cap
        self.db.execute("update horsies.queues set max_concurrency_per_key = %s", (cap,))

    @rule(key=st.sampled_from(["a", "b"]), seconds=st.integers(1, 5))
    def hold(self, key: str, seconds: int) -> None:
        self.held[key] = self.now + seconds
        hold(self.db, f"horsies.now() + interval '{seconds} s'", key=key)


def test_a_claim_starts_what_the_model_starts(db: Session) -> None:
    examples = settings(max_examples=40, stateful_step_count=25, deadline=None)
    started: list[UUID] = []
    machine = type("Machine", (FlowMachine,), {"db": db, "started": started})
    run_state_machine_as_test(machine, settings=examples)
    assert started, "no example has started a task"


def test_the_model_counts_tokens_as_they_come() -> None:
    bucket = Bucket(2, Fraction(1), Fraction(2))
    assert bucket.tokens(Fraction(0)) == 2
    bucket.take(Fraction(0))
    bucket.take(Fraction(0))
    assert [bucket.tokens(Fraction(time, 2)) for time in (1, 2, 9)] == [0, 1, 2]
    assert all(first <= second for first, second in pairwise(bucket.starts))
