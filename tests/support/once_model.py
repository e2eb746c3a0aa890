"""A model of idempotency keys and unique tasks in plain Python: what sends and workers should do to the tasks."""

from dataclasses import dataclass, field, replace
from typing import Any

from horsies import Unique

type Holder = tuple[str, tuple[tuple[str, Any], ...]]
"""Until when a task is unique, and the arguments that are compared."""

DAY_S = 86_400
DEFAULTS = {"b": 2}
RETRY_DELAYS_S = (5, 7)


@dataclass(frozen=True)
class SendOf:
    """A send.

    Attributes:
        name: The name of the task.
        args: The arguments, by name, without defaults.
        delay: In seconds.
        priority: From 1 to 100.
        good_until: In seconds of the model's clock.
        key: The idempotency key.
        unique: The uniqueness.
    """

    name: str
    args: dict[str, Any]
    delay: int = 0
    priority: int = 100
    good_until: int | None = None
    key: str | None = None
    unique: Unique | None = None

    @property
    def holder(self) -> Holder | None:
        """What the task holds while no second one may be sent."""
        if self.unique is None:
            return None
        compared = {**DEFAULTS, **self.args}
        names = self.unique.by or tuple(compared)
        return self.unique.until, tuple((each, compared[each]) for each in sorted(names))


@dataclass
class Task:
    """A task.

    Attributes:
        sent: The send that has set its arguments and options.
        sent_at: When it was sent.
        run_at: When it may be claimed.
        holder: What it holds while no second one may be sent; None: it is not unique, or has started.
        id: The id; None until the database has chosen it.
        status: PENDING, CLAIMED or RUNNING, or that of an ended task.
        attempt: The number of attempts that were started.
        replaced_by: The id of the last send that has replaced its arguments.
        ended_at: When it ended; None: it is live.
    """

    sent: SendOf
    sent_at: int
    run_at: int
    holder: Holder | None
    id: str | None = None
    status: str = "PENDING"
    attempt: int = 0
    replaced_by: str | None = None
    ended_at: int | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a send is refused, because of which task, and for which item of a bulk send."""

    code: str
    task: Task
    item: int = 0


@dataclass
class Model:
    """The state. Times are in seconds since noon.

    Attributes:
        now: The clock.
        live: The tasks that have not ended.
        ended: The tasks that have ended and were not pruned.
        keys: The task of each key of a name, and the arguments of the send.
    """

    now: int = 0
    live: list[Task] = field(default_factory=list)
    ended: list[Task] = field(default_factory=list)
    keys: dict[tuple[str, str], tuple[Task, dict[str, Any]]] = field(default_factory=dict)

    def send(self, sent: SendOf, request_id: str | None = None, *, replay: bool = False) -> Task | Refusal:
        """Send a task: return the one that stands for the send, or why it is refused."""
        if replay and request_id is not None and (known := self._find(request_id)) is not None:
            return known
        key = None if sent.key is None else (sent.name, sent.key)
        if key is not None and key in self.keys:
            task, args = self.keys[key]
            return task if args == sent.args else Refusal("PAYLOAD_MISMATCH", task)
        answer = self._send_unique(sent, request_id)
        if key is not None and isinstance(answer, Task):
            self.keys[key] = (answer, sent.args)
        return answer

    def _send_unique(self, sent: SendOf, request_id: str | None) -> Task | Refusal:
        holder, unique = sent.holder, sent.unique
        existing = next((each for each in self.live if holder and self._holds(each, sent.name, holder)), None)
        if existing is not None and existing.status != "RUNNING" and self._is_overdue(existing):
            self.end(existing, "EXPIRED")
            existing = None
        if existing is None or unique is None:
            task = Task(sent, self.now, self.now + sent.delay, holder, request_id)
            self.live.append(task)
            return task
        if unique.on_conflict == "keep":
            return existing
        if unique.on_conflict == "reject" or existing.status != "PENDING":
            return Refusal("DUPLICATE", existing)
        latest = self.now + sent.delay if unique.max_wait is None else existing.sent_at + int(unique.max_wait)
        existing.sent = sent
        existing.run_at = min(self.now + sent.delay, latest)
        existing.replaced_by = request_id
        return existing

    def send_many(self, sends: list[SendOf]) -> list[Task] | list[Refusal]:
        """Send tasks, all or none; if one is refused, return the refusals that the error may name."""
        tasks: list[Task] = []
        arguments = {key: args for key, (_, args) in self.keys.items()}
        for item, sent in enumerate(sends):
            answer = self.send(sent)
            if isinstance(answer, Refusal):
                # The keys of a batch are looked up before its tasks are inserted.
                return [replace(answer, item=item), *self._mismatches(sends, arguments)]
            tasks.append(answer)
        return tasks

    @staticmethod
    def _mismatches(sends: list[SendOf], arguments: dict[tuple[str, str], dict[str, Any]]) -> list[Refusal]:
        found: list[Refusal] = []
        for item, sent in enumerate(sends):
            if sent.key is not None and arguments.setdefault((sent.name, sent.key), sent.args) != sent.args:
                found.append(Refusal("PAYLOAD_MISMATCH", Task(sent, 0, 0, None), item))
        return found

    def _find(self, request_id: str) -> Task | None:
        """Find the task that was sent under an id, or that the send with this id has replaced."""
        every = [*self.live, *self.ended]
        own = next((each for each in every if each.id == request_id), None)
        return own or next((each for each in every if each.replaced_by == request_id), None)

    @staticmethod
    def _holds(task: Task, name: str, holder: Holder) -> bool:
        return task.sent.name == name and task.holder == holder

    def _is_overdue(self, task: Task) -> bool:
        return task.sent.good_until is not None and task.sent.good_until <= self.now

    def claimable(self) -> list[Task]:
        """Return the tasks that a worker may claim."""
        due = [each for each in self.live if each.status == "PENDING" and each.run_at <= self.now]
        return [each for each in due if not self._is_overdue(each)]

    def claim(self, task: Task, *, prefetched: bool) -> None:
        """Give a task to a worker. Another one may be sent if it was unique until it has started."""
        task.status = "CLAIMED" if prefetched else "RUNNING"
        task.attempt += not prefetched
        if task.holder is not None and task.holder[0] == "started":
            task.holder = None

    def start(self, task: Task) -> bool:
        """Start a prefetched task, unless it is overdue: then it waits again."""
        starts = not self._is_overdue(task)
        task.status = "RUNNING" if starts else "PENDING"
        task.attempt += starts
        return starts

    def fail(self, task: Task, *, has_retries: bool) -> None:
        """End an attempt with an error."""
        due = self.now + RETRY_DELAYS_S[task.attempt - 1] if task.attempt <= len(RETRY_DELAYS_S) else None
        if has_retries and due is not None and (task.sent.good_until is None or due < task.sent.good_until):
            task.status, task.run_at = "PENDING", due
        else:
            self.end(task, "FAILED")

    def end(self, task: Task, status: str) -> None:
        """End a task. Its key stays."""
        self.live = [each for each in self.live if each is not task]
        task.status, task.ended_at = status, self.now
        self.ended.append(task)

    def expire(self) -> None:
        """End what was not started in time."""
        for each in [each for each in self.live if each.status != "RUNNING" and self._is_overdue(each)]:
            self.end(each, "EXPIRED")

    def prune(self, keep_s: int) -> None:
        """Forget the tasks that ended before the first day that is kept, with their keys."""
        noon = DAY_S // 2
        first_kept = (self.now + noon - keep_s) // DAY_S * DAY_S - noon
        gone = {id(each) for each in self.ended if each.ended_at is not None and each.ended_at < first_kept}
        self.ended = [each for each in self.ended if id(each) not in gone]
        self.keys = {key: each for key, each in self.keys.items() if id(each[0]) not in gone}
