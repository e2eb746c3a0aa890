"""Checks a chaos run: pure functions from records to violations. No I/O here.

The records come from three independent places: the replies that producers received (`Sent`), the ledger that tasks
wrote in their own processes (`Note`), and the tables of the queue at the end (`Final`, `Attempt`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

CRASHED = "WORKER_CRASHED"
NOT_BEGUN = "BROKER_ERROR"  # the connection or the transaction of a transactional task could not be opened

type Verdict = Literal["accepted", "unsure"]


@dataclass(frozen=True, slots=True)
class Sent:
    """The producer's record of a send: it was accepted, or its last reply was an error and the producer gave up."""

    task_id: str
    kind: str
    verdict: Verdict = "accepted"


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the ledger: an attempt began or ended in its process. ``at`` is in monotonic seconds."""

    event: Literal["begin", "end"]
    task_id: str
    attempt: int
    pid: int
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Final:
    """A row of history. The ``result`` of a task contains the number of its attempt and its process id."""

    task_id: str
    kind: str
    status: str
    code: str | None
    attempt: int
    pid: int | None
    fence: tuple[str, int] | None = None
    result: str | None = None
    origin: tuple[str, int] | None = None
    run_id: str | None = None  # set for a task of a workflow run, which `workflow_checker` checks


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the table attempts: an attempt that did not end its task."""

    task_id: str
    attempt: int
    code: str
    pid: int | None
    fence: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a producer that waited for a task was told: its error code, ``-`` for none, and its result."""

    task_id: str
    code: str
    result: str


@dataclass(frozen=True, slots=True)
class Effect:
    """A row that an attempt at a transactional task inserted over its own connection, with its process id."""

    task_id: str
    attempt: int
    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    """A child that its worker killed because a task in it was cancelled or lost. ``at`` is in monotonic seconds."""

    pid: int
    kind: str
    at: float


@dataclass(frozen=True, slots=True)
class Kind:
    """The guarantees for the tasks of one name.

    Attributes:
        codes: The error codes with which a task may end; None: COMPLETED.
        retried_for: The error codes after which it is retried.
        cap: The largest number that may run at once in the whole cluster.
        tells: Whether its result contains its attempt and its process id.
        notes: Whether it writes into the ledger; built-in tasks do not.
        transactional: Whether its attempts insert an `Effect` in their own transaction.
    """

    codes: frozenset[str | None]
    retried_for: frozenset[str] = frozenset()
    cap: int | None = None
    tells: bool = True
    notes: bool = True
    transactional: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """A measured duration and its limit, in seconds."""

    what: str
    seconds: float
    limit: float


@dataclass(slots=True)
class Evidence:
    """All records of a run."""

    kinds: Mapping[str, Kind]
    sent: list[Sent] = field(default_factory=list[Sent])
    notes: list[Note] = field(default_factory=list[Note])
    finals: list[Final] = field(default_factory=list[Final])
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    live: list[str] = field(default_factory=list[str])
    timings: list[Timing] = field(default_factory=list[Timing])
    leftovers: list[str] = field(default_factory=list[str])
    secrets: list[str] = field(default_factory=list[str])
    answers: list[Answer] = field(default_factory=list[Answer])
    fenced: list[str] = field(default_factory=list[str])
    effects: list[Effect] = field(default_factory=list[Effect])
    kills: list[Kill] = field(default_factory=list[Kill])


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken guarantee, and the evidence of it."""

    promise: str
    detail: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.detail}"


def check(evidence: Evidence) -> list[Violation]:
    """Return all violations that the evidence shows."""
    checks = (
        accepted_is_kept,
        nothing_runs_unasked,
        nothing_runs_twice,
        attempts_do_not_overlap,
        outcomes_come_from_their_attempt,
        one_outcome_per_fence,
        tasks_end_as_they_may,
        answers_are_true,
        effects_happen_exactly_once,
        committed_tasks_are_not_killed,
        living_workers_keep_their_tasks,
        caps_are_kept,
        in_time,
        nothing_is_left,
    )
    return [violation for each in checks for violation in each(evidence)]


def accepted_is_kept(evidence: Evidence) -> Iterator[Violation]:
    """Check that every accepted task has ended exactly once, and that none is still live."""
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
    """Check that every task that ran or ended was sent by a producer, a run or a started task, once per attempt."""
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
    """Check that an attempt begins once, and the next one only after a failure that the policy names."""
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
    """Check that no attempt begins while the previous one is still running."""
    begins = {(note.task_id, note.attempt): note.at for note in evidence.notes if note.event == "begin"}
    for note in evidence.notes:
        following = begins.get((note.task_id, note.attempt + 1))
        if note.event == "end" and following is not None and following < note.at:
            detail = f"attempt {note.attempt + 1} of {note.task_id} began before attempt {note.attempt} was through"
            yield Violation("attempts do not overlap", detail)


def outcomes_come_from_their_attempt(evidence: Evidence) -> Iterator[Violation]:
    """Check that the stored outcome of each attempt matches the ledger of the process that ran it."""
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
        if attempt.code not in {CRASHED, NOT_BEGUN} and place not in begins and attempt.task_id not in silent:
            yield Violation("outcomes come from their attempt", f"nothing in the ledger failed as {place}")


def one_outcome_per_fence(evidence: Evidence) -> Iterator[Violation]:
    """Check that no claim has two accepted outcomes."""
    rows: Iterable[Final | Attempt] = [*evidence.finals, *evidence.attempts]
    fences = Counter((row.task_id, row.fence) for row in rows if row.fence is not None)
    for (task_id, fence), count in fences.items():
        if count > 1:
            yield Violation("one outcome per fence", f"{task_id} has {count} outcomes of the claim {fence}")


def tasks_end_as_they_may(evidence: Evidence) -> Iterator[Violation]:
    """Check that each task ends as its function allows, or because its process died."""
    for final in evidence.finals:
        if final.code != CRASHED and final.code not in evidence.kinds[final.kind].codes:
            yield Violation("tasks end as they may", f"{final.kind} {final.task_id} ended with {final.code}")


def answers_are_true(evidence: Evidence) -> Iterator[Violation]:
    """Check that a producer that waited for a task was told what is stored as its outcome."""
    finals = {final.task_id: final for final in evidence.finals}
    for answer in evidence.answers:
        final = finals.get(answer.task_id)
        stored = None if final is None else (final.code or "-", final.result or "")
        if stored != (answer.code, answer.result):
            detail = f"the producer of {answer.task_id} was told {answer.code} {answer.result!r}, stored is {stored}"
            yield Violation("answers are true", detail)


def effects_happen_exactly_once(evidence: Evidence) -> Iterator[Violation]:
    """Check that each COMPLETED transactional task has one effect, of its last attempt, and that no other has one."""
    found = Counter(evidence.effects)
    outcomes = {final.task_id: f"{final.status} {final.code or ''}".rstrip() for final in evidence.finals}
    expected = {
        Effect(final.task_id, final.attempt, final.pid or 0)
        for final in evidence.finals
        if evidence.kinds[final.kind].transactional and final.status == "COMPLETED"
    }
    for effect in expected | found.keys():
        wanted = int(effect in expected)
        if found[effect] != wanted:
            outcome = outcomes.get(effect.task_id, "live")
            detail = f"{found[effect]} rows instead of {wanted} of {effect}, whose task is {outcome}"
            yield Violation("effects happen exactly once", detail)


def committed_tasks_are_not_killed(evidence: Evidence) -> Iterator[Violation]:
    """Check that no child was killed as cancelled while it ran a transactional task that has completed itself."""
    completed = {
        (final.task_id, final.attempt, final.pid): final.kind
        for final in evidence.finals
        if evidence.kinds[final.kind].transactional and final.status == "COMPLETED"
    }
    begins: dict[int, list[Note]] = defaultdict(list)
    for note in evidence.notes:
        if note.event == "begin":
            begins[note.pid].append(note)
    for kill in evidence.kills:
        before = [note for note in begins[kill.pid] if note.at <= kill.at]  # later ones: the number was used again
        latest = max(before, key=lambda note: note.at, default=None)
        if latest is not None and completed.get((latest.task_id, latest.attempt, latest.pid)) == kill.kind:
            detail = f"{kill.kind} {latest.task_id} was committed, and then process {kill.pid} was killed as cancelled"
            yield Violation("committed tasks are not killed", detail)


def living_workers_keep_their_tasks(evidence: Evidence) -> Iterator[Violation]:
    """Check that no worker that sends heartbeats was declared dead."""
    yield from (Violation("living workers keep their tasks", detail) for detail in evidence.fenced)


def caps_are_kept(evidence: Evidence) -> Iterator[Violation]:
    """Check that the number of running tasks of a capped kind never exceeds its cap."""
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
    """Check that nothing took longer than its limit."""
    for timing in evidence.timings:
        if timing.seconds > timing.limit:
            yield Violation("in time", f"{timing.what} took {timing.seconds:.2f} s, the limit is {timing.limit:.2f} s")


def nothing_is_left(evidence: Evidence) -> Iterator[Violation]:
    """Check that no process, connection or lock remains, and that no log contains a secret."""
    yield from (Violation("nothing is left", left) for left in evidence.leftovers)
    yield from (Violation("no secret in a log", place) for place in evidence.secrets)


def bound(trials: int) -> float:
    """Return the largest rate of violations, with 95 % confidence, if ``trials`` had none (rule of three)."""
    return min(1.0, 3 / trials) if trials else 1.0
