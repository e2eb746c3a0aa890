"""Checks a chaos run: pure functions from records to violations. No I/O here.

What is compared comes from three places that do not know of each other: what producers were told (`Sent`), what tasks
wrote down in their own processes (`Note`), and what the queue's tables say in the end (`Final`, `Attempt`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

CRASHED = "WORKER_CRASHED"

type Verdict = Literal["accepted", "unsure"]


@dataclass(frozen=True, slots=True)
class Sent:
    """What a producer knows of a task: accepted, or the last answer was an error and it gave up."""

    task_id: str
    kind: str
    verdict: Verdict = "accepted"


@dataclass(frozen=True, slots=True)
class Note:
    """A task wrote, in its own process, that an attempt began or came to its end. ``at`` is monotonic seconds."""

    event: Literal["begin", "end"]
    task_id: str
    attempt: int
    pid: int
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Final:
    """A row of history. ``result`` is what the task returned: its attempt and its process."""

    task_id: str
    kind: str
    status: str
    code: str | None
    attempt: int
    pid: int | None
    fence: tuple[str, int] | None = None
    result: str | None = None
    origin: tuple[str, int] | None = None
    run_id: str | None = None  # it is of a workflow run, which `workflow_checker` judges


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of attempts: one that did not end its task."""

    task_id: str
    attempt: int
    code: str
    pid: int | None
    fence: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is promised for the tasks of one name.

    Attributes:
        codes: how it may end by itself; None: COMPLETED.
        retried_for: the codes after which it is tried again.
        cap: the most that may run at once in the whole cluster.
        tells: it returns its attempt and its process.
        notes: it writes into the ledger; what comes with the product does not.
    """

    codes: frozenset[str | None]
    retried_for: frozenset[str] = frozenset()
    cap: int | None = None
    tells: bool = True
    notes: bool = True


@dataclass(frozen=True, slots=True)
class Timing:
    """How long something took that must not take longer than ``limit``; seconds."""

    what: str
    seconds: float
    limit: float


@dataclass(slots=True)
class Evidence:
    """All that a run left behind."""

    kinds: Mapping[str, Kind]
    sent: list[Sent] = field(default_factory=list[Sent])
    notes: list[Note] = field(default_factory=list[Note])
    finals: list[Final] = field(default_factory=list[Final])
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    live: list[str] = field(default_factory=list[str])
    timings: list[Timing] = field(default_factory=list[Timing])
    leftovers: list[str] = field(default_factory=list[str])
    secrets: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which, and what shows it."""

    promise: str
    detail: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.detail}"


def check(evidence: Evidence) -> list[Violation]:
    """All promises that the evidence shows broken."""
    checks = (
        accepted_is_kept,
        nothing_runs_unasked,
        nothing_runs_twice,
        attempts_do_not_overlap,
        outcomes_come_from_their_attempt,
        one_outcome_per_fence,
        tasks_end_as_they_may,
        caps_are_kept,
        in_time,
        nothing_is_left,
    )
    return [violation for each in checks for violation in each(evidence)]


def accepted_is_kept(evidence: Evidence) -> Iterator[Violation]:
    """Every accepted task has ended, once, and none is still live."""
    ended = Counter(final.task_id for final in evidence.finals)
    for sent in evidence.sent:
        if sent.verdict == "accepted" and sent.task_id not in ended and sent.task_id not in evidence.live:
            yield Violation("accepted is kept", f"{sent.kind} {sent.task_id} was accepted and is nowhere")
    for task_id in evidence.live:
        yield Violation("every task ends", f"{task_id} is still live")
    for task_id, count in ended.items():
        if count > 1:
            yield Violation("accepted is kept", f"{task_id} has ended {count} times")


def nothing_runs_unasked(evidence: Evidence) -> Iterator[Violation]:
    """Every task that ran, or ended, was sent: by a producer, by a run, or by a task that had begun; once by each attempt."""
    sent = {each.task_id for each in evidence.sent}
    begun = {(note.task_id, note.attempt) for note in evidence.notes if note.event == "begin"}
    known = sent | {final.task_id for final in evidence.finals if final.origin in begun}
    known |= {final.task_id for final in evidence.finals if final.run_id is not None} | set(evidence.live)
    for task_id in {note.task_id for note in evidence.notes} | {final.task_id for final in evidence.finals}:
        if task_id not in known:
            yield Violation("nothing runs unasked", f"nobody sent {task_id}")
    offspring = Counter(final.origin for final in evidence.finals if final.origin is not None)
    for origin, count in offspring.items():
        if count > 1:
            yield Violation("a replayed send is one task", f"attempt {origin[1]} of {origin[0]} sent one, {count} came")


def nothing_runs_twice(evidence: Evidence) -> Iterator[Violation]:
    """An attempt begins once; the next one only after one that failed in a way that the policy names."""
    names = {final.task_id: final.kind for final in evidence.finals} | {s.task_id: s.kind for s in evidence.sent}
    failed = {(attempt.task_id, attempt.attempt): attempt.code for attempt in evidence.attempts}
    begins = Counter((note.task_id, note.attempt) for note in evidence.notes if note.event == "begin")
    for (task_id, attempt), count in begins.items():
        kind = names.get(task_id)
        if count > 1:
            yield Violation("never twice by surprise", f"attempt {attempt} of {kind} {task_id} began {count} times")
        if attempt > 1 and kind is not None:
            code = failed.get((task_id, attempt - 1))
            if code is None or code not in evidence.kinds[kind].retried_for:
                why = f"although attempt {attempt - 1} failed with {code}"
                yield Violation("never twice by surprise", f"attempt {attempt} of {kind} {task_id} began {why}")
    for (task_id, attempt), code in failed.items():
        kind = names.get(task_id)
        if kind is not None and code not in evidence.kinds[kind].retried_for:
            yield Violation("retries follow the policy", f"attempt {attempt} of {kind} {task_id} failed with {code}")


def attempts_do_not_overlap(evidence: Evidence) -> Iterator[Violation]:
    """An attempt does not begin while the one before is still under way."""
    begins = {(note.task_id, note.attempt): note.at for note in evidence.notes if note.event == "begin"}
    for note in evidence.notes:
        following = begins.get((note.task_id, note.attempt + 1))
        if note.event == "end" and following is not None and following < note.at:
            detail = f"attempt {note.attempt + 1} of {note.task_id} began before attempt {note.attempt} was through"
            yield Violation("attempts do not overlap", detail)


def outcomes_come_from_their_attempt(evidence: Evidence) -> Iterator[Violation]:
    """What the database believes of an attempt is what happened in the process that ran it."""
    begins = {(note.task_id, note.attempt, note.pid) for note in evidence.notes if note.event == "begin"}
    ends = {(note.task_id, note.attempt, note.pid) for note in evidence.notes if note.event == "end"}
    for final in evidence.finals:
        place, kind = (final.task_id, final.attempt, final.pid), evidence.kinds[final.kind]
        if final.status == "COMPLETED" and kind.notes and place not in ends:
            yield Violation("outcomes come from their attempt", f"nothing in the ledger went through as {place}")
        if final.status == "COMPLETED" and kind.tells and final.result != f"{final.attempt} {final.pid}":
            yield Violation("outcomes come from their attempt", f"{place} has the result of {final.result!r}")
    silent = {final.task_id for final in evidence.finals if not evidence.kinds[final.kind].notes}
    for attempt in evidence.attempts:
        place = (attempt.task_id, attempt.attempt, attempt.pid)
        if attempt.code != CRASHED and place not in begins and attempt.task_id not in silent:
            yield Violation("outcomes come from their attempt", f"nothing in the ledger failed as {place}")


def one_outcome_per_fence(evidence: Evidence) -> Iterator[Violation]:
    """No claim has two accepted outcomes."""
    rows: Iterable[Final | Attempt] = [*evidence.finals, *evidence.attempts]
    fences = Counter((row.task_id, row.fence) for row in rows if row.fence is not None)
    for (task_id, fence), count in fences.items():
        if count > 1:
            yield Violation("one outcome per fence", f"{task_id} has {count} outcomes of the claim {fence}")


def tasks_end_as_they_may(evidence: Evidence) -> Iterator[Violation]:
    """Each ends as its function says, or because its process died."""
    for final in evidence.finals:
        if final.code != CRASHED and final.code not in evidence.kinds[final.kind].codes:
            yield Violation("tasks end as they may", f"{final.kind} {final.task_id} ended with {final.code}")


def caps_are_kept(evidence: Evidence) -> Iterator[Violation]:
    """Never are more tasks of a capped kind between their begin and their end than its cap."""
    names = {final.task_id: final.kind for final in evidence.finals}
    ends = {(n.task_id, n.attempt, n.pid): n.at for n in evidence.notes if n.event == "end"}
    moves: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for note in evidence.notes:
        kind, end = names.get(note.task_id), ends.get((note.task_id, note.attempt, note.pid))
        if note.event == "begin" and end is not None and kind is not None and evidence.kinds[kind].cap is not None:
            moves[kind] += [(note.at, 1), (end, -1)]
    for kind, steps in moves.items():
        running = most = 0
        for _, step in sorted(steps):
            running += step
            most = max(most, running)
        cap = evidence.kinds[kind].cap
        if cap is not None and most > cap:
            yield Violation("caps are kept", f"{most} tasks of {kind} ran at once, its cap is {cap}")


def in_time(evidence: Evidence) -> Iterator[Violation]:
    """Nothing took longer than it may."""
    for timing in evidence.timings:
        if timing.seconds > timing.limit:
            yield Violation("in time", f"{timing.what} took {timing.seconds:.2f} s, the limit is {timing.limit:.2f} s")


def nothing_is_left(evidence: Evidence) -> Iterator[Violation]:
    """No process, connection or lock stays, and no secret stands in a log."""
    yield from (Violation("nothing is left", left) for left in evidence.leftovers)
    yield from (Violation("no secret in a log", place) for place in evidence.secrets)


def bound(trials: int) -> float:
    """The rule of three: with 95 % confidence, how likely a violation is at most if ``trials`` had none."""
    return min(1.0, 3 / trials) if trials else 1.0
