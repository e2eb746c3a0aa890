"""Checks the limits of keys in a chaos run: pure functions from a ledger of starts, ends and holds to violations.

The ledger is written by triggers, in the transactions of claims and outcomes, into tables that horsies does not know.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from horsies import RateLimit
from tests.chaos.checker import Violation

IDLE_FOR_S = 1.0
_ROUNDING_S = 1e-4
_LOOKS_THAT_SHOW_IT = 5


@dataclass(frozen=True, slots=True)
class Event:
    """A start or an end of an attempt of a task. ``at`` is in seconds, by the clock of the database."""

    what: str
    queue: str
    key: str
    at: float


@dataclass(frozen=True, slots=True)
class KeyHold:
    """Nothing of a key may start from ``at``, when the lock of the queue was held, until a time."""

    queue: str
    key: str
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Startable:
    """A key that has a waiting task, room, and tokens, and that nothing holds."""

    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What the watcher saw at once.

    Attributes:
        at: When, in seconds, by the clock of the database.
        idle: Process ids of the undisturbed workers that had an idle child.
        startable: The keys of which a task could have started.
    """

    at: float
    idle: frozenset[int]
    startable: frozenset[Startable]


@dataclass(slots=True)
class KeyEvidence:
    """All records of a run with keys.

    Attributes:
        caps: The limit of each key by queue.
        rate: The rate of each queue.
        rate_per_key: The rate of each key.
        samples: What the watcher saw, in order.
        idle_for_s: For how long a child may be idle while a task could start.
    """

    caps: Mapping[str, int]
    rate: RateLimit
    rate_per_key: RateLimit
    events: list[Event] = field(default_factory=list[Event])
    holds: list[KeyHold] = field(default_factory=list[KeyHold])
    samples: Sequence[Sample] = ()
    idle_for_s: float = IDLE_FOR_S


def check_keys(evidence: KeyEvidence) -> list[Violation]:
    """Return all violations that the evidence shows."""
    checks = (caps_of_keys_are_kept, rates_are_kept, holds_are_kept, children_are_used)
    return [violation for each in checks for violation in each(evidence)]


def caps_of_keys_are_kept(evidence: KeyEvidence) -> Iterator[Violation]:
    """Check that at no instant more tasks of a key are in flight than its limit allows."""
    moves: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for event in evidence.events:
        moves[event.queue, event.key].append((event.at, 1 if event.what == "start" else -1))
    for (queue, key), steps in moves.items():
        in_flight = most = 0
        for _, step in sorted(steps):
            in_flight += step
            most = max(most, in_flight)
        if most > evidence.caps[queue]:
            detail = f"{most} tasks of {key} in {queue} were in flight at once, the limit is {evidence.caps[queue]}"
            yield Violation("caps of keys are kept", detail)


def rates_are_kept(evidence: KeyEvidence) -> Iterator[Violation]:
    """Check that no window of a queue or of a key has more starts than its bucket allows."""
    of_queues: dict[str, list[float]] = defaultdict(list)
    of_keys: dict[str, list[float]] = defaultdict(list)
    for event in evidence.events:
        if event.what == "start":
            of_queues[event.queue].append(event.at)
            of_keys[f"{event.key} in {event.queue}"].append(event.at)
    for found, rate in ((of_queues, evidence.rate), (of_keys, evidence.rate_per_key)):
        for name, starts in found.items():
            excess = excess_of(sorted(starts), rate)
            if excess > 0:
                yield Violation("rates are kept", f"{name} had {excess:.2f} starts too many for {rate}")


def excess_of(starts: Sequence[float], rate: RateLimit) -> float:
    """Return by how many starts the fullest window exceeds a bucket; negative or 0: none does.

    A bucket that holds ``burst`` tokens loses one at each start, and is refilled at the rate. The most that it would have
    to owe is the excess of the fullest window.
    """
    per_s = rate.limit / rate.per_seconds
    tokens, before, least = float(rate.depth), 0.0, 0.0
    for at in starts:
        tokens = min(float(rate.depth), tokens + (at - before) * per_s) - 1
        before, least = at, min(least, tokens)
    return -least if -least > _ROUNDING_S * per_s else 0.0


def holds_are_kept(evidence: KeyEvidence) -> Iterator[Violation]:
    """Check that nothing of a key starts while a remote limit holds it."""
    starts: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in evidence.events:
        if event.what == "start":
            starts[event.queue, event.key].append(event.at)
    for hold in evidence.holds:
        for at in starts[hold.queue, hold.key]:
            if hold.at < at < hold.until:
                detail = f"a task of {hold.key} in {hold.queue} started {hold.until - at:.3f} s before its hold ended"
                yield Violation("holds are kept", detail)


def children_are_used(evidence: KeyEvidence) -> Iterator[Violation]:
    """Check that no worker has an idle child for long while the same key has a task that could start."""
    for (pid, at), idle_s in idle_times(evidence.samples).items():
        if idle_s > evidence.idle_for_s:
            detail = f"worker {pid} had an idle child for {idle_s:.2f} s from {at:.2f} while a task could start"
            yield Violation("children are used", detail)


def idle_times(samples: Sequence[Sample]) -> dict[tuple[int, float], float]:
    """Return how long workers had an idle child while one key had a task that could start, by process id and begin.

    Only what several successive samples have shown counts, because one sample may fall between an end and a claim.
    """
    since: dict[tuple[int, Startable], tuple[float, int]] = {}
    found: dict[tuple[int, float], float] = {}
    for sample in samples:
        seen = {(pid, key) for pid in sample.idle for key in sample.startable}
        since = {pair: begin for pair, begin in since.items() if pair in seen}
        for pair in seen:
            begin, looks = since.get(pair, (sample.at, 0))
            since[pair] = begin, looks + 1
            if looks + 1 >= _LOOKS_THAT_SHOW_IT:
                key = pair[0], begin
                found[key] = max(found.get(key, 0.0), sample.at - begin)
    return found
