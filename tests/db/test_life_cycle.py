"""Any order of events from two workers, on the real database and on a model of a few lines.

No task is lost, each claim has at most one accepted outcome, and what has ended never changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from horsies.db.calls_worker import Fence
from horsies.retry import RetryPolicy
from tests.support.factories import DrivenWorker, done, enqueue, expire, failed, numbered_id, prefetch, reap, request
from tests.support.sessions import NOON, Session, freeze_clock, move_clock

RETRIES = 2
DELAY_S = 10.0
DEADLINE_S = 25.0
STALE_S = 15.0
CODES: dict[str, str | None] = {"never": None, "after BOOM": "BOOM", "after a crash": "WORKER_CRASHED"}
OUTCOMES = [None, "BOOM", "WORKER_CRASHED"]

MOST_HAND_BACKS = 5
_EMPTY = "truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers, horsies.clock"
_LIVE = "select id, status, attempt, worker_id, exchange_no, run_at from horsies.tasks"
_ENDED = "select id, status, attempt, finished_at, result::text, history::text from horsies.history"
_OUTCOMES = """
    select count(*) - count(distinct (id, worker_id, exchange_no)) from (
        select id, worker_id, exchange_no from horsies.history where status in ('COMPLETED', 'FAILED')
        union all select task_id, worker_id, exchange_no from horsies.attempts
    ) as written
"""

type Holder = tuple[UUID, int]
type Claim = tuple[DrivenWorker, Fence]


@dataclass
class Task:
    """One task as it should be. Seconds count from the beginning."""

    id: UUID
    retried_after: str | None
    run_at: float
    deadline: float | None
    status: str = "PENDING"
    attempt: int = 0
    hand_backs: int = 0
    holder: Holder | None = None
    outcomes: dict[Holder, str | None] = field(default_factory=dict[Holder, str | None])

    @property
    def is_live(self) -> bool:
        return self.status in {"PENDING", "CLAIMED", "RUNNING"}

    def is_overdue(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now

    def begin(self, holder: Holder) -> None:
        self.status, self.holder, self.attempt = "RUNNING", holder, self.attempt + 1

    def wait_in_worker(self) -> None:
        self.status, self.attempt = "CLAIMED", self.attempt - 1

    def go_back(self) -> None:
        self.attempt -= self.status == "RUNNING"
        self.status, self.holder = "PENDING", None

    def end_attempt(self, code: str | None, now: float) -> None:
        assert self.holder is not None
        self.outcomes[self.holder] = code
        self.holder = None
        again = now + DELAY_S
        if code and code == self.retried_after and self.attempt <= RETRIES and not self.is_overdue(again):
            self.status, self.run_at = "PENDING", again
        else:
            self.status = "FAILED" if code else "COMPLETED"

    def verdict(self, holder: Holder, code: str | None) -> str:
        if self.status == "RUNNING" and self.holder == holder:
            return "accepted"
        is_known = holder in self.outcomes and self.outcomes[holder] == code
        return "duplicate" if is_known else "stale"


def holder_of(worker: DrivenWorker, fence: Fence) -> Holder:
    return worker.id, fence.exchange_no


class LifeCycle(RuleBasedStateMachine):
    """The events, and what has to be true after each."""

    session: Session
    runs = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        self.session.execute(_EMPTY)
        freeze_clock(self.session)
        self.now = 0.0
        self.tasks: dict[UUID, Task] = {}
        self.ended: dict[UUID, tuple[Any, ...]] = {}
        self.claims: list[Claim] = []  # all there ever were, also of workers that are gone
        self.alive_at: dict[UUID, float] = {}
        self.workers = [self.start_worker(), self.start_worker()]

    def start_worker(self) -> DrivenWorker:
        worker = DrivenWorker(self.session, stale_after_s=STALE_S)
        self.alive_at[worker.id] = self.now
        return worker

    def live(self, wanted: Callable[[Task], bool]) -> list[Task]:
        return [task for task in self.tasks.values() if task.is_live and wanted(task)]

    @rule(retried=st.sampled_from(list(CODES)), delay=st.sampled_from([0.0, DELAY_S]), has_deadline=st.booleans())
    def send(self, retried: str, delay: float, has_deadline: bool) -> None:  # noqa: FBT001
        code = CODES[retried]
        policy = RetryPolicy.fixed([DELAY_S] * RETRIES, jitter=False, auto_retry_for=[code]) if code else None
        deadline = self.now + DEADLINE_S if has_deadline else None
        task = Task(numbered_id(len(self.tasks)), code, self.now + delay, deadline)
        good_until = None if deadline is None else NOON + timedelta(seconds=deadline)
        wanted = request(task.id, delay=delay, good_until=good_until, retry=policy)
        assert enqueue(self.session, wanted) == "sent"
        self.tasks[task.id] = task

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(list(self.tasks)))
        assert enqueue(self.session, request(task_id), replay=True) == "known"

    @rule(seconds=st.sampled_from([1.0, DELAY_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        move_clock(self.session, seconds)

    @rule(place=st.integers(0, 1), wanted=st.integers(1, 3))
    def claim(self, place: int, wanted: int) -> None:
        worker = self.workers[place]
        due = self.live(lambda task: task.status == "PENDING" and task.run_at <= self.now < (task.deadline or 1e9))
        expected = sorted(due, key=lambda task: (task.run_at, task.id))[:wanted] if worker.id in self.alive_at else []
        fences = worker.claim(wanted)
        assert [fence.task_id for fence in fences] == [task.id for task in expected]
        for task, fence in zip(expected, fences, strict=True):
            task.begin(holder_of(worker, fence))
            self.claims.append((worker, fence))

    @rule(data=st.data())
    def let_a_claim_wait(self, data: st.DataObject) -> None:
        if running := self.live(lambda task: task.status == "RUNNING"):
            task = data.draw(st.sampled_from(running))
            prefetch(self.session, Fence(task.id, 0))
            task.wait_in_worker()

    def draw_claims(self, data: st.DataObject) -> tuple[DrivenWorker, list[Fence]]:
        """Some claims of one worker, of different tasks; old ones too."""
        worker = data.draw(st.sampled_from([worker for worker, _ in self.claims]))
        fences = [fence for owner, fence in self.claims if owner is worker]
        chosen = st.lists(st.sampled_from(fences), max_size=4, unique_by=lambda fence: fence.task_id)
        return worker, data.draw(chosen)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        worker, fences = self.draw_claims(data)
        codes = [data.draw(st.sampled_from(OUTCOMES)) for _ in fences]
        verdicts = worker.finish(
            *(failed(fence, code) if code else done(fence) for fence, code in zip(fences, codes, strict=True))
        )
        for fence, code, verdict in zip(fences, codes, verdicts, strict=True):
            task = self.tasks[fence.task_id]
            assert verdict == task.verdict(holder_of(worker, fence), code)
            if verdict == "accepted":
                task.end_attempt(code, self.now)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        worker, fences = self.draw_claims(data)
        held = [self.tasks[f.task_id] for f in fences if self.tasks[f.task_id].holder == holder_of(worker, f)]
        assert worker.release(*fences) == len(held)
        for task in held:
            task.go_back()

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def reconcile(self, data: st.DataObject) -> None:
        worker, fences = self.draw_claims(data)
        lost = {f.task_id for f in fences if self.tasks[f.task_id].holder != holder_of(worker, f)}
        assert worker.reconcile(*fences) == lost
        known = {fence.task_id for fence in fences} - lost
        for task in self.live(lambda task: task.holder is not None and task.holder[0] == worker.id):
            if task.id not in known:
                task.go_back()

    @rule(place=st.integers(0, 1))
    def heartbeat(self, place: int) -> None:
        worker = self.workers[place]
        assert worker.heartbeat() == (worker.id in self.alive_at)
        if worker.id in self.alive_at:
            self.alive_at[worker.id] = self.now

    @rule(place=st.none() | st.integers(0, 1))
    def reap(self, place: int | None) -> None:
        proven = None if place is None else self.workers[place].id
        dead = [each for each, seen in self.alive_at.items() if each == proven or seen + STALE_S < self.now]
        for each in dead:
            del self.alive_at[each]
        orphans = self.live(lambda task: task.holder is not None and task.holder[0] not in self.alive_at)
        claimed = [task for task in orphans if task.status == "CLAIMED"]
        for task in claimed:
            task.hand_backs += 1
            if task.hand_backs == MOST_HAND_BACKS:  # it fails, whatever its policy says
                task.status, task.attempt, task.retried_after = "RUNNING", task.attempt + 1, None
        claimed = [task for task in claimed if task.status == "CLAIMED"]
        counts = reap(self.session, proven)
        assert (counts.workers, counts.handed_back) == (len(dead), len(claimed))
        assert counts.crashed == len(orphans) - len(claimed)
        for task in orphans:
            if task.status == "CLAIMED":
                task.go_back()
            else:
                task.end_attempt("WORKER_CRASHED", self.now)

    @rule(place=st.integers(0, 1))
    def restart(self, place: int) -> None:
        self.workers[place].stop()
        self.alive_at.pop(self.workers[place].id, None)
        self.workers[place] = self.start_worker()

    @rule()
    def expire(self) -> None:
        overdue = self.live(lambda task: task.status != "RUNNING" and task.is_overdue(self.now))
        assert expire(self.session) == len(overdue)
        for task in overdue:
            task.status, task.holder = "EXPIRED", None

    @invariant()
    def live_tasks_are_as_they_should_be(self) -> None:
        found = {
            task_id: (status, attempt, None if worker is None else (worker, exchange), (run_at - NOON).total_seconds())
            for task_id, status, attempt, worker, exchange, run_at in self.session.execute(_LIVE)
        }
        live = self.live(lambda _: True)
        assert found == {task.id: (task.status, task.attempt, task.holder, task.run_at) for task in live}

    @invariant()
    def ended_tasks_are_all_there_and_never_change(self) -> None:
        found = {task_id: rest for task_id, *rest in self.session.execute(_ENDED)}
        ended = {task.id: [task.status, task.attempt] for task in self.tasks.values() if not task.is_live}
        assert {task_id: rest[:2] for task_id, rest in found.items()} == ended
        for task_id, rest in found.items():
            assert self.ended.setdefault(task_id, tuple(rest)) == tuple(rest)

    @invariant()
    def no_claim_has_two_outcomes(self) -> None:
        assert self.session.execute(_OUTCOMES).fetchone() == (0,)


def test_any_order_of_events_is_survived(db: Session) -> None:
    class Here(LifeCycle):
        session = db

    limits = settings(max_examples=40, stateful_step_count=50, deadline=None, database=None)
    run_state_machine_as_test(Here, settings=limits)
    assert Here.runs >= limits.max_examples
