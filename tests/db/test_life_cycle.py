"""Random orders of events from two workers with one session each, on the database and on a small model.

No task is lost, each claim has at most one accepted outcome, no arrow of the diagram in docs/task-life-cycle.md is
taken twice for one fence, and an ended task never changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.worker import Fence, Outcome
from tests.support.factories import (
    DrivenWorker,
    cap_queue,
    done,
    enqueue,
    expire,
    failed,
    numbered_id,
    pause_queue,
    postponed,
    reap,
    request,
)
from tests.support.sessions import NOON, NewSession, Session, call, freeze_clock, move_clock

RETRIES = 2
DELAY_S = 10.0
DEADLINE_S = 25.0
STALE_S = 15.0
LEASE_S = 12.0
CODES: dict[str, str | None] = {"never": None, "after BOOM": "BOOM", "after a crash": "WORKER_CRASHED"}
POSTPONED = "RATE_LIMITED"
OUTCOMES = [None, "BOOM", "WORKER_CRASHED", POSTPONED]

MOST_WORKER_DEATHS = 5
_EMPTY = "truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers, horsies.clock, horsies.queues"
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
    """The expected state of one task. Times are in seconds from the start."""

    id: UUID
    retried_after: str | None
    run_at: float
    deadline: float | None
    status: str = "PENDING"
    attempt: int = 0
    worker_deaths: int = 0
    holder: Holder | None = None
    lease: float = 0
    arrows: set[tuple[Holder | None, str]] = field(default_factory=set[tuple[Holder | None, str]])
    outcomes: dict[Holder, str | None] = field(default_factory=dict[Holder, str | None])
    given_back: Holder | None = None

    @property
    def is_live(self) -> bool:
        return self.status in {"PENDING", "CLAIMED", "RUNNING"}

    def is_overdue(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now

    def take(self, arrow: str) -> None:
        """Record that an arrow was taken under the current fence, at most once."""
        assert (self.holder, arrow) not in self.arrows
        self.arrows.add((self.holder, arrow))

    def begin(self, holder: Holder) -> None:
        self.status, self.holder, self.attempt = "RUNNING", holder, self.attempt + 1
        self.take("begin")

    def wait_in_worker(self, holder: Holder, until: float) -> None:
        self.status, self.holder, self.lease = "CLAIMED", holder, until
        self.take("prefetch")

    def end(self, status: str) -> None:
        self.take("end")
        self.status, self.holder = status, None

    def go_back(self) -> None:
        self.take("release")
        self.attempt -= self.status == "RUNNING"
        self.status, self.holder = "PENDING", None

    def end_attempt(self, code: str | None, now: float) -> None:
        assert self.holder is not None
        self.take("end")
        self.outcomes[self.holder] = code
        self.holder = None
        again = now + DELAY_S
        if code and code == self.retried_after and self.attempt <= RETRIES and not self.is_overdue(again):
            self.status, self.run_at = "PENDING", again
        else:
            self.status = "FAILED" if code else "COMPLETED"

    def postpone(self, now: float) -> None:
        self.take("end")
        self.given_back, self.holder = self.holder, None
        self.status, self.attempt, self.run_at = "PENDING", self.attempt - 1, now + DELAY_S

    def verdict(self, holder: Holder, code: str | None) -> str:
        if self.status == "RUNNING" and self.holder == holder:
            return "accepted"
        is_known = holder in self.outcomes and self.outcomes[holder] == code
        if code == POSTPONED:
            is_known = holder == self.given_back
        if is_known:
            return "duplicate"
        return "superseded" if self.was_completed_by(holder) else "stale"

    def was_completed_by(self, holder: Holder) -> bool:
        """Return whether a claim has completed the task; then another outcome of it is that of a lost report."""
        return holder in self.outcomes and self.outcomes[holder] is None


def outcome_of(fence: Fence, code: str | None) -> Outcome:
    if code == POSTPONED:
        return postponed(fence, DELAY_S)
    return failed(fence, code) if code else done(fence)


def holder_of(worker: DrivenWorker, fence: Fence) -> Holder:
    return worker.id, fence.exchange_no


class LifeCycle(RuleBasedStateMachine):
    """The events, and the invariants after each of them."""

    sessions: tuple[Session, ...]
    runs = 0

    @property
    def session(self) -> Session:
        return self.sessions[0]

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        self.session.execute(_EMPTY)
        freeze_clock(self.session)
        self.now = 0.0
        self.tasks: dict[UUID, Task] = {}
        self.ended: dict[UUID, tuple[Any, ...]] = {}
        self.claims: list[Claim] = []  # all claims so far, including those of workers that are gone
        self.alive_at: dict[UUID, float] = {}
        self.is_paused = False
        self.workers = [self.start_worker(0), self.start_worker(1)]

    def start_worker(self, place: int) -> DrivenWorker:
        worker = DrivenWorker(self.sessions[place], stale_after_s=STALE_S)
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

    @rule(place=st.integers(0, 1), wanted=st.integers(1, 3), is_prefetch=st.booleans())
    def claim(self, place: int, wanted: int, is_prefetch: bool) -> None:  # noqa: FBT001
        worker = self.workers[place]
        due = self.live(lambda task: task.status == "PENDING" and task.run_at <= self.now < (task.deadline or 1e9))
        may_claim = worker.id in self.alive_at and not self.is_paused
        expected = sorted(due, key=lambda task: (task.run_at, task.id))[:wanted] if may_claim else []
        fences = worker.prefetch(wanted, LEASE_S) if is_prefetch else worker.claim(wanted)
        assert [fence.task_id for fence in fences] == [task.id for task in expected]
        for task, fence in zip(expected, fences, strict=True):
            holder = holder_of(worker, fence)
            if is_prefetch:
                task.wait_in_worker(holder, self.now + LEASE_S)
            else:
                task.begin(holder)
            self.claims.append((worker, fence))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        worker, fences = self.draw_claims(data)
        mine = [self.tasks[f.task_id] for f in fences if self.tasks[f.task_id].holder == holder_of(worker, f)]
        waiting = [task for task in mine if task.status == "CLAIMED" and worker.id in self.alive_at]
        starting = [task for task in waiting if not (self.is_paused or task.is_overdue(self.now))]
        assert worker.start(*fences) == {task.id: task.attempt + 1 for task in starting}
        for task in waiting:
            assert task.holder is not None
            if task in starting:
                task.begin(task.holder)
            else:
                task.go_back()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), place=st.integers(0, 1))
    def cancel(self, data: st.DataObject, place: int) -> None:
        task = data.draw(st.sampled_from(list(self.tasks.values())))
        verdict = call(self.sessions[place], task_queries.cancel(task.id))
        assert verdict == ("cancelled" if task.is_live else "ended")
        if task.is_live:
            task.end("CANCELLED")

    @rule(place=st.integers(0, 1))
    def return_stale_to_queue(self, place: int) -> None:
        lost = self.live(lambda task: task.status == "CLAIMED" and (task.lease <= self.now or self.is_silent(task)))
        assert call(self.sessions[place], monitoring_queries.return_stale_to_queue(STALE_S, 1000)) == len(lost)
        for task in lost:
            task.go_back()

    def is_silent(self, task: Task) -> bool:
        assert task.holder is not None
        return self.alive_at.get(task.holder[0], float("-inf")) + STALE_S <= self.now

    @rule()
    def pause_or_resume(self) -> None:
        self.is_paused = not self.is_paused
        cap_queue(self.session, "default", None)
        if self.is_paused:
            pause_queue(self.session, "default")

    def draw_claims(self, data: st.DataObject) -> tuple[DrivenWorker, list[Fence]]:
        """Draw some claims of one worker for different tasks, including old ones."""
        worker = data.draw(st.sampled_from([worker for worker, _ in self.claims]))
        fences = [fence for owner, fence in self.claims if owner is worker]
        chosen = st.lists(st.sampled_from(fences), max_size=4, unique_by=lambda fence: fence.task_id)
        return worker, data.draw(chosen)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        worker, fences = self.draw_claims(data)
        codes = [data.draw(st.sampled_from(OUTCOMES)) for _ in fences]
        verdicts = worker.finish(*(outcome_of(fence, code) for fence, code in zip(fences, codes, strict=True)))
        for fence, code, verdict in zip(fences, codes, verdicts, strict=True):
            task = self.tasks[fence.task_id]
            assert verdict == task.verdict(holder_of(worker, fence), code)
            if verdict == "accepted" and code == POSTPONED:
                task.postpone(self.now)
            elif verdict == "accepted":
                task.end_attempt(code, self.now)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        worker, fences = self.draw_claims(data)
        held = [self.tasks[f.task_id] for f in fences if self.tasks[f.task_id].holder == holder_of(worker, f)]
        assert worker.release(*fences) == set()  # no other transaction holds their rows
        for task in held:
            task.go_back()

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def reconcile(self, data: st.DataObject) -> None:
        worker, fences = self.draw_claims(data)
        known: set[UUID] = set()
        for fence in fences:
            task, holder = self.tasks[fence.task_id], holder_of(worker, fence)
            if task.holder == holder or task.was_completed_by(holder):
                known.add(task.id)
        assert worker.reconcile(*fences) == {fence.task_id for fence in fences} - known
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
        dead = [each for each in self.alive_at if each == proven]
        for each in dead:
            del self.alive_at[each]
        orphans = self.live(lambda task: task.holder is not None and task.holder[0] not in self.alive_at)
        claimed = [task for task in orphans if task.status == "CLAIMED"]
        for task in claimed:
            task.worker_deaths += 1
            if task.worker_deaths == MOST_WORKER_DEATHS:  # it fails regardless of its policy
                task.status, task.attempt, task.retried_after = "RUNNING", task.attempt + 1, None
        claimed = [task for task in claimed if task.status == "CLAIMED"]
        counts = reap(self.session, proven)
        assert (counts.workers, counts.returned) == (len(dead), len(claimed))
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
        self.workers[place] = self.start_worker(place)

    @rule()
    def expire(self) -> None:
        overdue = self.live(lambda task: task.status != "RUNNING" and task.is_overdue(self.now))
        assert expire(self.session) == len(overdue)
        for task in overdue:
            task.end("EXPIRED")

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


@pytest.mark.timeout(240)  # thousands of statements
def test_any_order_of_events_is_survived(db: Session, new_session: NewSession) -> None:
    freeze_clock(db)  # for all later connections

    class Here(LifeCycle):
        sessions = (db, new_session())

    limits = settings(max_examples=40, stateful_step_count=50, deadline=None, database=None)
    run_state_machine_as_test(Here, settings=limits)
    assert Here.runs >= limits.max_examples
