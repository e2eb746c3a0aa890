"""Random sends, keys, limits, pauses, holds, outcomes and times: `claim` and `why` agree with a plain model each time.

`HORSIES_FLOW_EXAMPLES=2000` with `pytest --timeout=3600` makes that many examples, and shortens one that fails.
"""

import math
import os
from collections import Counter
from datetime import timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from horsies import RateLimit, RetryPolicy
from horsies.db.operations import UNSET
from horsies.db.queries import limits as limit_queries
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.worker import Fence
from horsies.postponement import PostponeScope
from tests.support.factories import DrivenWorker, done, expire, failed, postponed, request, send
from tests.support.flow import declare_queue
from tests.support.flow_model import FOREVER, Bucket, FlowModel, Queue, Task, check_windows
from tests.support.sessions import NOON, Session, call, freeze_clock

CHOSEN_EXAMPLES = os.environ.get("HORSIES_FLOW_EXAMPLES")
EXAMPLES = settings(
    max_examples=int(CHOSEN_EXAMPLES or 15),
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink] if CHOSEN_EXAMPLES else [Phase.generate],
)
EVERYTHING = 1000
RETRY_S = 3
DECLARED = (2, RateLimit(limit=6, per_seconds=6, burst=5), RateLimit(limit=3, per_seconds=6, burst=2))
RATES = [None, RateLimit(limit=1, per_seconds=4, burst=1), RateLimit(limit=2, per_seconds=1, burst=3)]

_EMPTY = (
    "delete from horsies.tasks; delete from horsies.history; delete from horsies.attempts; delete from horsies.workers;"
    " delete from horsies.queues; delete from horsies.buckets; delete from horsies.rates; delete from horsies.holds"
)
_STATE = "select t.id, t.status, t.attempt, t.run_at, t.started_at from horsies.tasks t"
_WHY = "select a.id, w.reason, w.sentence from unnest(%s::uuid[]) as a (id) cross join lateral horsies.why(a.id) as w"
QUEUES = st.sampled_from(["keyed", "keyed", "plain"])
KEYS = st.sampled_from(["", "a", "b", "c"])


class FlowMachine(RuleBasedStateMachine):
    """A keyed queue with a limit and a rate for each key and a rate of its own, and a queue without keys."""

    db: Session
    reasons: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.db.execute(_EMPTY)
        freeze_clock(self.db, NOON)
        per_key, rate, rate_per_key = DECLARED
        self.keyed = Queue("keyed", keyed=True, per_key=per_key, rate=rate, rate_per_key=rate_per_key)
        self.plain = Queue("plain", keyed=False)
        self.model = FlowModel({"keyed": self.keyed, "plain": self.plain})
        declare_queue(
            self.db,
            "keyed",
            per_key=per_key,
            rate=rate.to_json(),
            rate_per_key=rate_per_key.to_json(),
            takes_turns=True,
        )
        self.workers = [DrivenWorker(self.db, queues=["plain", "keyed"], stale_after_s=1e6) for _ in range(3)]

    @initialize(number=st.integers(0, 8))
    def begin_with_tasks(self, number: int) -> None:
        """Send some tasks of each key, and let a worker claim some of them."""
        for key in ("", "a", "b", "c"):
            self.send("keyed", key, priority=20, delay=0, lives_s=None, count=3)
        self.claim(0, number)

    @rule(
        queue=QUEUES,
        key=KEYS,
        priority=st.sampled_from([10, 20]),
        delay=st.sampled_from([0, 0, 0, 2]),
        lives_s=st.sampled_from([None, None, None, 3]),
        count=st.integers(1, 4),
    )
    def send(self, queue: str, key: str, priority: int, delay: int, *, lives_s: int | None, count: int) -> None:
        policy = RetryPolicy.fixed([RETRY_S], auto_retry_for=["BOOM"], jitter=False)
        good_until = None if lives_s is None else at(self.model.now + lives_s)
        for _ in range(count):
            wanted = request(
                queue=queue, task_key=key or None, priority=priority, delay=delay, retry=policy, good_until=good_until
            )
            task = Task(send(self.db, wanted), self.model.queues[queue], key, priority, self.model.now + delay)
            task.retries, task.good_until = 1, FOREVER if lives_s is None else self.model.now + lives_s
            self.model.tasks[task.id] = task

    @rule(number=st.integers(0, 1), wanted=st.sampled_from([1, 2, 5, EVERYTHING]))
    def claim(self, number: int, wanted: int) -> None:
        """Let a worker claim, which goes on after the key where its last claim stopped."""
        expected = self.expected(wanted)
        worker = self.workers[number]
        answer = worker.ask(wanted)
        self.check_claim([task.id for task in answer.tasks], expected)
        self.model.start([Fence(task.id, worker.exchange_no) for task in answer.tasks], number)
        if len(answer.tasks) < wanted:
            self.check_due_in(answer.due_in)

    @invariant()
    def a_new_worker_would_claim_what_the_model_says(self) -> None:
        expected = self.expected(EVERYTHING)
        observer = self.workers[-1]
        observer.cursors = None
        with self.db.transaction(force_rollback=True):
            answer = observer.ask(EVERYTHING)
        self.check_claim([task.id for task in answer.tasks], expected)
        if not answer.tasks:
            self.check_due_in(answer.due_in)

    def expected(self, wanted: int) -> Counter[int]:
        """Return how many tasks of each priority start if so many are wanted. Higher priorities start first."""
        found: Counter[int] = Counter()
        for priority in (10, 20):
            for queue in self.model.queues.values():
                startable = [each for each in self.model.startable(queue) if each.priority <= priority]
                found[priority] += int(min(self.model.room(queue), len(startable)))
            found[priority] = min(found[priority], wanted)
        return found

    def check_claim(self, claimed: list[UUID], expected: Counter[int]) -> None:
        tasks = [self.model.tasks[each] for each in claimed]
        assert {p: sum(each.priority <= p for each in tasks) for p in expected} == expected
        for queue in self.model.queues.values():
            startable = self.model.startable(queue)
            own = [each for each in tasks if each.queue is queue]
            assert {each.id for each in own} <= {each.id for each in startable}
            assert len(own) <= self.model.room(queue)
            self.check_turns([each for each in startable if each.priority == 10], own, queue)

    def check_turns(self, startable: list[Task], claimed: list[Task], queue: Queue) -> None:
        """Check that the tasks of a key start in their order, and that no key starts two more than one that waits."""
        ids = {each.id for each in claimed}
        left: dict[str, int] = {}
        for key in {each.key if queue.keyed else "" for each in startable}:
            own = [each.id in ids for each in startable if not queue.keyed or each.key == key]
            assert own == sorted(own, reverse=True), "a task has overtaken an older one"
            if not all(own):
                left[key] = sum(own)
        counts = Counter(each.key for each in claimed if each.priority == 10)
        assert not queue.keyed or not left or max(counts.values(), default=0) <= min(left.values()) + 1

    def check_due_in(self, due_in: float | None) -> None:
        """Check that a worker that sleeps for so long does not miss a start. Waits of workers are spread a little."""
        following = self.model.next_start()
        if following is not None:
            assert due_in is not None, f"the worker does not know that a task starts at {following}"
            wait = float(following - self.model.now)
            assert due_in <= wait + min(0.1, wait / 10) + 0.001

    @invariant()
    def the_database_says_of_the_tasks_what_the_model_says(self) -> None:
        found = {row[0]: row[1:] for row in self.db.execute(_STATE).fetchall()}
        assert found.keys() == self.model.tasks.keys()
        for task in self.model.tasks.values():
            status, attempt, run_at, started_at = found[task.id]
            assert (status, attempt) == ("RUNNING" if task.fence else "PENDING", task.attempt)
            assert task.fence is not None or run_at == at(task.due)
            assert (started_at is None) == (task.fence is None)
        of_each_kind = {
            (task.queue.name, task.key, self.model.why(task)[0]): task for task in self.model.tasks.values()
        }
        asked = [task.id for task in of_each_kind.values()]
        for task_id, reason, sentence in self.db.execute(_WHY, (asked,)).fetchall():
            expected, words = self.model.why(self.model.tasks[task_id])
            assert (reason, [word for word in words if word not in sentence]) == (expected, []), sentence
            self.reasons[reason] += 1

    def in_flight(self) -> list[Task]:
        return [each for each in self.model.tasks.values() if each.fence is not None]

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data(), most=st.sampled_from([1, 2, EVERYTHING]), how=st.sampled_from(["ok", "ok", "BOOM", "FATAL"]))
    def finish(self, data: st.DataObject, most: int, how: str) -> None:
        """Write the outcomes of some tasks of one worker."""
        first, _, worker = self.draw_in_flight(data)
        ended = [task for task in self.in_flight() if task.worker == first.worker][:most]
        fences = [task.fence for task in ended if task.fence is not None]
        outcomes = [done(fence) if how == "ok" else failed(fence, how) for fence in fences]
        assert worker.finish(*outcomes) == ["accepted"] * len(ended)
        for task in ended:
            if how == "BOOM":
                self.model.fail(task, RETRY_S)
            else:
                del self.model.tasks[task.id]

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data(), scope=st.sampled_from(PostponeScope), seconds=st.integers(1, 5))
    def answer_rate_limited(self, data: st.DataObject, scope: PostponeScope, seconds: int) -> None:
        task, fence, worker = self.draw_in_flight(data)
        outcome = postponed(fence, seconds, scope)
        assert worker.finish(outcome) == ["accepted"]
        self.model.postpone(task, seconds, scope)
        assert worker.finish(outcome) == ["duplicate"]

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), how=st.sampled_from(["cancel", "release", "expire"]))
    def end_without_outcome(self, data: st.DataObject, how: str) -> None:
        """Cancel any task, return one that never began to the queue, or expire what is late.

        The place of a cancelled task is free at once. A task that is returned does not give its token back.
        """
        if how == "cancel":
            task_id = data.draw(st.sampled_from(list(self.model.tasks)), label="task")
            assert call(self.db, task_queries.cancel(task_id)) == "cancelled"
            del self.model.tasks[task_id]
        elif how == "release" and self.in_flight():
            task, fence, worker = self.draw_in_flight(data)
            assert worker.release(fence) == set()
            task.fence, task.attempt = None, task.attempt - 1
        else:
            late = [t.id for t in self.model.tasks.values() if t.fence is None and t.good_until <= self.model.now]
            assert expire(self.db) == len(late)
            for task_id in late:
                del self.model.tasks[task_id]

    def draw_in_flight(self, data: st.DataObject) -> tuple[Task, Fence, DrivenWorker]:
        task = data.draw(st.sampled_from(self.in_flight()), label="task")
        assert task.fence is not None
        return task, task.fence, self.workers[task.worker]

    @rule(seconds=st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(4)]))
    def pass_time(self, seconds: Fraction) -> None:
        self.model.now += seconds
        freeze_clock(self.db, at(self.model.now))

    @rule(
        data=st.data(), what=st.sampled_from(["per key", "rate", "rate per key", "cap", "cap", "queue", "key", "key"])
    )
    def operate(self, data: st.DataObject, what: str) -> None:
        """Change a limit at run time, or pause or resume a queue or a key."""
        if what in {"per key", "rate", "rate per key"}:
            self.change_limit(data, what)
        elif what == "cap":
            queue, cap = self.model.queues[data.draw(QUEUES)], data.draw(st.sampled_from([None, None, 1, 3]))
            call(self.db, monitoring_queries.queue_control(queue.name, "cap", cap))
            queue.cap = cap
        elif what == "queue":
            self.pause_or_resume(self.model.queues[data.draw(QUEUES)])
        else:
            key, action = data.draw(KEYS), data.draw(st.sampled_from(["pause", "resume"]))
            call(self.db, limit_queries.key_control("keyed", key, action, who="ada"))
            if action == "pause":
                self.keyed.hold(key, "paused", FOREVER, "ada")
            else:
                self.keyed.resume(key)

    def change_limit(self, data: st.DataObject, what: str) -> None:
        """Set a limit, or restore the declared one. What windows across such a change contain is not promised."""
        rate = data.draw(st.sampled_from(RATES))
        if what == "per key":
            per_key = data.draw(st.sampled_from([None, 1, 2, 3]))
            self.limit("keyed", per_key=per_key)
            self.keyed.per_key = DECLARED[0] if per_key is None else per_key
        elif what == "rate":
            queue = self.model.queues[data.draw(QUEUES)]
            self.limit(queue.name, rate=rate)
            new = rate or (DECLARED[1] if queue.keyed else None)
            queue.buckets[None].change_rate(queue.rate, new, self.model.now)
            queue.rate = new
            queue.buckets[None].starts.clear()
        else:
            self.limit("keyed", rate_per_key=rate)
            new = rate or DECLARED[2]
            for key in ("", "a", "b", "c"):
                bucket = self.keyed.buckets[key]
                bucket.change_rate(self.keyed.rate_per_key, new, self.model.now)
                bucket.starts.clear()
            self.keyed.rate_per_key = new

    def limit(self, queue: str, **limits: Any) -> None:
        every = {"per_key": UNSET, "rate": UNSET, "rate_per_key": UNSET} | limits
        assert call(self.db, limit_queries.limit_queue(queue, **every, who="ada")) in {"changed", "unchanged"}

    def pause_or_resume(self, queue: Queue) -> None:
        action = "resume" if queue.paused or queue.held(None, self.model.now) else "pause"
        assert call(self.db, monitoring_queries.queue_control(queue.name, action))
        queue.paused = action == "pause"
        if action == "resume":
            queue.resume(None)


def at(seconds: Fraction) -> Any:
    """Return a time of the model as the database writes it."""
    return NOON + timedelta(microseconds=math.floor(seconds * 1_000_000))


def test_claims_and_explanations_agree_with_the_model(db: Session) -> None:
    reasons: Counter[str] = Counter()
    machine = type("Machine", (FlowMachine,), {"db": db, "reasons": reasons})
    run_state_machine_as_test(machine, settings=EXAMPLES)
    seen = {name for name, count in reasons.items() if count}
    assert {"next", "running"} <= seen, reasons


def test_the_model_counts_tokens_as_they_come() -> None:
    rate = RateLimit(limit=1, per_seconds=1, burst=2)
    bucket = Bucket()
    assert bucket.tokens(rate, Fraction(0)) == 2
    bucket.take(rate, Fraction(0))
    bucket.take(rate, Fraction(0))
    assert [bucket.tokens(rate, Fraction(time, 2)) for time in (1, 2, 9)] == [0, 1, 2]
    assert bucket.next_token(rate, Fraction(1, 2)) == 1
    bucket.change_rate(rate, RateLimit(limit=2, per_seconds=1, burst=3), Fraction(1, 2))
    assert bucket.exact(RateLimit(limit=2, per_seconds=1, burst=3), Fraction(1)) == Fraction(3, 2)


def test_the_model_finds_a_window_with_too_many_starts() -> None:
    rate = RateLimit(limit=1, per_seconds=1, burst=2)
    check_windows([Fraction(0), Fraction(0), Fraction(1)], rate)
    with pytest.raises(AssertionError):
        check_windows([Fraction(0), Fraction(1, 2), Fraction(1, 2)], rate)
