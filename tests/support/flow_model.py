"""A plain model of flow control, without a database: which tasks may start now, and why the others wait.

Times are seconds since the start of the example. The model knows no indexes, locks or turns. It looks at all tasks each
time, which is slow and easy to check.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from uuid import UUID

from horsies import RateLimit
from horsies.db.queries.worker import Fence

FOREVER = Fraction(10**12)
NO_KEY = ""


@dataclass(slots=True)
class Bucket:
    """The tokens of a queue or of a key at a time, with parts of tokens (None: the bucket is full), and its starts."""

    level: Fraction | None = None
    seen_at: Fraction = Fraction(0)
    starts: list[Fraction] = field(default_factory=list[Fraction])

    def exact(self, rate: RateLimit, now: Fraction) -> Fraction:
        """Return the tokens, with the part of the next one."""
        if self.level is None:
            return Fraction(rate.depth)
        return min(Fraction(rate.depth), self.level + (now - self.seen_at) / token_s(rate))

    def tokens(self, rate: RateLimit, now: Fraction) -> int:
        """Return how many tasks may start now."""
        return math.floor(self.exact(rate, now))

    def next_token(self, rate: RateLimit, now: Fraction) -> Fraction:
        """Return when an empty bucket has a token again."""
        return now + (1 - self.exact(rate, now)) * token_s(rate)

    def change_rate(self, old: RateLimit | None, new: RateLimit | None, now: Fraction) -> None:
        """Keep the tokens when the rate changes. Without a rate, before or now, the bucket is full."""
        if old == new:
            return
        self.level = None if old is None or new is None else min(Fraction(new.depth), self.exact(old, now))
        self.seen_at = now

    def take(self, rate: RateLimit | None, now: Fraction) -> None:
        """Take a token for a start."""
        if rate is None:
            return
        self.level = self.exact(rate, now) - 1
        self.seen_at = now
        self.starts.append(now)
        check_windows(self.starts, rate)


@dataclass(slots=True)
class Hold:
    """Nothing starts until a time. ``who`` has set the longest one."""

    until: Fraction
    who: str


@dataclass(slots=True)
class Queue:
    """The settings of a queue that are in effect, its buckets by key, and its holds by key and kind.

    The buckets and holds of the queue itself have the key None.
    """

    name: str
    keyed: bool
    paused: bool = False
    cap: int | None = None
    per_key: int | None = None
    rate: RateLimit | None = None
    rate_per_key: RateLimit | None = None
    buckets: dict[str | None, Bucket] = field(default_factory=lambda: defaultdict[str | None, Bucket](Bucket))
    holds: dict[tuple[str | None, str], Hold] = field(default_factory=dict[tuple[str | None, str], Hold])

    def rate_of(self, key: str | None) -> RateLimit | None:
        """Return the rate of the queue (None) or of a key."""
        return self.rate if key is None else self.rate_per_key

    def held(self, key: str | None, now: Fraction) -> Hold | None:
        """Return what holds the queue (None) or a key for the longest time."""
        found = [hold for (held, _), hold in self.holds.items() if held == key and hold.until > now]
        return max(found, key=lambda hold: hold.until, default=None)

    def hold(self, key: str | None, kind: str, until: Fraction, who: str) -> None:
        """Hold the queue or a key. A hold is only ever lengthened."""
        old = self.holds.get((key, kind))
        if old is None or old.until < until:
            self.holds[key, kind] = Hold(until, who)

    def resume(self, key: str | None) -> None:
        """End the holds of the queue or of a key."""
        for held in [held for held in self.holds if held[0] == key]:
            del self.holds[held]


@dataclass(slots=True)
class Task:
    """A task that has not ended. It is in flight while it has a fence."""

    id: UUID
    queue: Queue
    key: str
    priority: int
    due: Fraction
    good_until: Fraction = FOREVER
    retries: int = 0
    attempt: int = 0
    fence: Fence | None = None
    worker: int = 0


@dataclass(slots=True)
class FlowModel:
    """All queues and tasks, and the clock."""

    queues: dict[str, Queue]
    now: Fraction = Fraction(0)
    tasks: dict[UUID, Task] = field(default_factory=dict[UUID, Task])

    def of(self, queue: Queue, key: str | None = None) -> list[Task]:
        """Return the tasks of a queue, or those of one key."""
        return [each for each in self.tasks.values() if each.queue is queue and key in {None, each.key}]

    def in_flight(self, queue: Queue, key: str | None = None) -> int:
        """Count the claimed tasks of a queue, or those of one key."""
        return sum(each.fence is not None for each in self.of(queue, key))

    def room(self, queue: Queue) -> float:
        """Return how many tasks of a queue its own limits allow to start now, whatever their keys are."""
        if queue.paused or queue.held(None, self.now):
            return 0
        room = math.inf if queue.cap is None else queue.cap - self.in_flight(queue)
        return max(0, min(room, self.tokens(queue, None)))

    def tokens(self, queue: Queue, key: str | None) -> float:
        """Return how many tokens the queue (None) or one of its keys has."""
        rate = queue.rate_of(key)
        return math.inf if rate is None else queue.buckets[key].tokens(rate, self.now)

    def key_room(self, queue: Queue, key: str) -> float:
        """Return how many tasks of a key may start now, as far as this depends on the key."""
        if not queue.keyed:
            return math.inf
        if queue.held(key, self.now):
            return 0
        room = math.inf if queue.per_key is None else queue.per_key - self.in_flight(queue, key)
        return max(0, min(room, self.tokens(queue, key)))

    def due(self, queue: Queue) -> list[Task]:
        """Return the tasks of a queue that wait for nothing but limits, in the order of their arrival."""
        found = [t for t in self.of(queue) if t.fence is None and t.due <= self.now < t.good_until]
        return sorted(found, key=lambda task: (task.priority, task.due, task.id))

    def startable(self, queue: Queue) -> list[Task]:
        """Return the tasks that fit into the limits of their keys now, whatever the limits of the queue are."""
        found: list[Task] = []
        room: dict[str, float] = {}
        for task in self.due(queue):
            key = task.key if queue.keyed else NO_KEY
            left = room.get(key, self.key_room(queue, key))
            if left > 0:
                found.append(task)
            room[key] = left - 1
        return found

    def why(self, task: Task) -> tuple[str, list[str]]:
        """Return the reason why a task does not run, and words that an explanation contains."""
        queue = task.queue
        if task.fence is not None:
            return "running", [f"attempt {task.attempt}"]
        if task.good_until <= self.now:
            return "overdue", []
        if task.due > self.now:
            return ("retry", [f"attempt {task.attempt} failed"]) if task.attempt else ("scheduled", [])
        if queue.paused:
            return "paused", [queue.name]
        if queue.cap is not None and self.in_flight(queue) >= queue.cap:
            return "queue_full", [queue.name, f"the cap is {queue.cap}"]
        return self._why_regulated(queue, task.key)

    def _why_regulated(self, queue: Queue, key: str) -> tuple[str, list[str]]:
        named = f'the key "{key}"' if key else "the tasks without a key"
        of_queue, of_key = queue.held(None, self.now), queue.held(key, self.now) if queue.keyed else None
        if of_key is not None and (of_queue is None or of_key.until > of_queue.until):
            return "held_back", [named, f"by {of_key.who}", "it is resumed" if of_key.until == FOREVER else "until"]
        if of_queue is not None:
            both = of_key is not None and of_key.until == of_queue.until
            return "held_back", [] if both else [queue.name, f"by {of_queue.who}"]
        if queue.keyed and queue.per_key is not None and self.in_flight(queue, key) >= queue.per_key:
            return "key_full", [named, f"{self.in_flight(queue, key)} are claimed", f"the limit is {queue.per_key}"]
        if not self.tokens(queue, None):
            return "rate_limit", [f"the rate of its queue {queue.name}"]
        if queue.keyed and not self.tokens(queue, key):
            return "rate_limit", [f"the rate of {named}"]
        return "next", []

    def next_start(self) -> Fraction | None:
        """Return when a task may start although nothing else happens; None: none does so."""
        return min((at for queue in self.queues.values() for at in self._next_starts(queue)), default=None)

    def _next_starts(self, queue: Queue) -> Iterable[Fraction]:
        if queue.paused or (queue.cap is not None and self.in_flight(queue) >= queue.cap):
            return
        for task in self.of(queue):
            keys = [None, task.key] if queue.keyed else [None]
            full = queue.keyed and queue.per_key is not None and self.in_flight(queue, task.key) >= queue.per_key
            if task.fence is None and not full:
                waits = [self.now, task.due]
                waits += [hold.until for key in keys if (hold := queue.held(key, self.now))]
                rates = [(rate, queue.buckets[key]) for key in keys if (rate := queue.rate_of(key))]
                waits += [
                    bucket.next_token(rate, self.now) for rate, bucket in rates if not bucket.tokens(rate, self.now)
                ]
                if max(waits) < task.good_until:
                    yield max(waits)

    def start(self, fences: Iterable[Fence], worker: int) -> None:
        """Let a worker start tasks, and take their tokens."""
        for fence in fences:
            task = self.tasks[fence.task_id]
            task.fence, task.worker, task.attempt = fence, worker, task.attempt + 1
            for key in [None, task.key] if task.queue.keyed else [None]:
                task.queue.buckets[key].take(task.queue.rate_of(key), self.now)

    def fail(self, task: Task, retry_s: int) -> None:
        """End an attempt with an error: the task is retried, or has ended."""
        task.fence, task.due = None, self.now + retry_s
        if task.attempt > task.retries or task.due >= task.good_until:
            del self.tasks[task.id]

    def postpone(self, task: Task, seconds: int, scope: str) -> None:
        """Give the attempt of a task back. The task, its key or its queue waits, or the task expires."""
        task.fence, task.due, task.attempt = None, self.now + seconds, task.attempt - 1
        if scope == "queue":
            task.queue.hold(None, "rate_limited", task.due, f"task {task.id}")
        if scope == "key" and task.key and task.queue.keyed:
            task.queue.hold(task.key, "rate_limited", task.due, f"task {task.id}")
        if task.due >= task.good_until:
            del self.tasks[task.id]


def token_s(rate: RateLimit) -> Fraction:
    """Return after how many seconds a new token comes."""
    return Fraction(rate.per_seconds) / rate.limit


def check_windows(starts: list[Fraction], rate: RateLimit) -> None:
    """Check that no window that ends with the last start has more starts than the bucket allows."""
    for count, first in enumerate(reversed(starts), 1):
        assert count <= rate.depth + (starts[-1] - first) / token_s(rate), starts
