"""The chaos run of keys: workers and children are killed at random, and limits, rates and holds of keys are checked."""

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from horsies import RateLimit
from tests.chaos.checker import Violation
from tests.chaos.cluster import Cluster, Place, pressure
from tests.chaos.faults import Breaker, plan
from tests.chaos.idle_watch import IdleWatch
from tests.chaos.key_checker import IDLE_FOR_S, Event, KeyEvidence, KeyHold, check_keys, idle_times
from tests.chaos.runs import BROKEN_BUILD_TRIES, BaseSetting, Run, broken_package
from tests.chaos.servers import PostgresServer

CAPS = {"cap_1": 1, "cap_2": 2, "cap_3": 3}
RATE = RateLimit(limit=80, per_seconds=1, burst=20)
RATE_PER_KEY = RateLimit(limit=8, per_seconds=1, burst=4)
KEY_FAULTS = {
    "child killed": 250,
    "supervisor killed": 75,
    "fork server killed": 25,
    "supervisor and fork server killed": 25,
    "backend terminated": 125,
}
KEY_SECONDS = 300.0
_KEYS, _HOT_KEYS = 200, 6
_TOGETHER = 50
_REFUSED = 0.03

# The clock is read while the lock of the queue is held, which claims take before they read theirs.
_LEDGER = """
    create table public.ledger (what text, queue text, key text, at timestamptz);
    create table public.held (queue text, key text, at timestamptz, until timestamptz);
    create function public.note_attempt() returns trigger language plpgsql as $function$
    begin
        if tg_op = 'UPDATE' and old.started_at is null and new.started_at is not null then
            insert into public.ledger values ('start', new.queue, new.task_key, new.started_at);
        elsif old.started_at is not null and (tg_op = 'DELETE' or new.started_at is null) then
            insert into public.ledger values ('end', old.queue, old.task_key, clock_timestamp());
        end if;
        return null;
    end
    $function$;
    create function public.note_hold() returns trigger language plpgsql as $function$
    begin
        insert into public.held values (new.queue, new.key, clock_timestamp(), new.until);
        return null;
    end
    $function$;
    create trigger note_attempt after update or delete on horsies.tasks
        for each row execute function public.note_attempt();
    create trigger note_hold after insert or update on horsies.holds
        for each row execute function public.note_hold();
"""
_SEND = """
    select count(horsies.send(
        'call', json_build_object('tenant', sent.key, 'seconds', sent.seconds, 'refused_s', sent.refused_s),
        queue => sent.queue, key => sent.key))
    from unnest(%s::text[], %s::text[], %s::float8[], %s::float8[]) as sent (queue, key, seconds, refused_s)
"""
_EVENTS = "select what, queue, key, extract(epoch from at)::float8 from public.ledger"
_HOLDS = "select queue, key, extract(epoch from at)::float8, extract(epoch from until)::float8 from public.held"
_ENDED = "select status || coalesce(' ' || error_code, ''), count(*) from horsies.history group by 1"


@dataclass(frozen=True, slots=True)
class KeySetting(BaseSetting):
    """The size of a run with keys.

    Attributes:
        workers: The number of workers.
        idle_for_s: For how long a child may be idle while a task could start, on a machine that is not overloaded.
    """

    per_second: float = 100.0
    workers: int = 8
    idle_for_s: float = IDLE_FOR_S


def key_faults(scale: float) -> dict[str, int]:
    """Scale the number of each fault of a full run."""
    return {name: max(1, round(count * scale)) for name, count in KEY_FAULTS.items()}


def keyed(folder: Path, setting: KeySetting, name: str = "keys") -> Run:
    """Kill workers and children while tasks of many keys wait under limits and rates."""
    begin = time.monotonic()
    run = Run(name, setting.seed)
    server = PostgresServer(folder / "server")
    server.create()
    server.start()
    cluster = Cluster(folder / "cluster", setting.seed, package=setting.package)
    try:
        cluster.migrate_and_open(
            server.url, [Place(f"worker {number}", server.url) for number in range(setting.workers)], "chaos_keys:app"
        )
        cluster.wait_until_ready()
        with cluster.connect() as session:
            session.execute(_LEDGER)
        watch = IdleWatch(cluster, RATE, RATE_PER_KEY)
        watch.start()
        sent = _send_all(cluster, setting)
        Breaker(cluster, server).carry_out(plan(setting.seed, setting.counts, setting.seconds))
        cluster.settle(90 * pressure())
        samples = watch.stop()
        left = cluster.live()
        cluster.wait_until_ready()  # a worker that has just been started does not stop in good order yet
        leftovers = cluster.close()
        evidence = _evidence(cluster)
        evidence.samples, evidence.idle_for_s = samples, setting.idle_for_s * pressure()
        with cluster.connect() as session:
            run.tasks = Counter({f"ended {outcome}": count for outcome, count in session.execute(_ENDED)})
    finally:
        cluster.kill()
        server.stop()
    run.tasks["ended"] = run.tasks.total()
    run.tasks["starts"] = sum(event.what == "start" for event in evidence.events)
    run.tasks["holds of keys"] = len(evidence.holds)
    longest = max(idle_times(samples).values(), default=0.0)
    run.measured.append(f"longest time with an idle child beside a task that could start: {longest:.2f} s")
    run.seconds, run.settled_s, run.faults, run.events = (
        time.monotonic() - begin, cluster.settled_s, cluster.done.counts, cluster.events(),
    )  # fmt: skip
    run.violations = check_keys(evidence)
    if run.tasks["ended"] + left != sent or left:
        run.violations.append(Violation("every task ends", f"{sent} were sent, {run.tasks['ended']} have ended"))
    run.violations += [Violation("nothing is left", each) for each in leftovers]
    return run


def _send_all(cluster: Cluster, setting: KeySetting) -> int:
    """Send all tasks at once, half of them for a few keys, so that limits and rates are reached."""
    rng = random.Random(setting.seed)  # noqa: S311
    count = round(setting.seconds * setting.per_second)
    with cluster.connect() as session:
        for first in range(0, count, _TOGETHER):
            numbers = range(first, min(count, first + _TOGETHER))
            keys = [rng.randrange(_HOT_KEYS if rng.random() < 0.5 else _KEYS) for _ in numbers]
            queues = [f"cap_{1 + key % len(CAPS)}" for key in keys]
            seconds = [rng.uniform(0.0, 0.15) for _ in numbers]
            refused = [rng.uniform(0.3, 1.0) if rng.random() < _REFUSED else 0.0 for _ in numbers]
            session.execute(_SEND, (queues, [f"k{key}" for key in keys], seconds, refused))
    return count


def _evidence(cluster: Cluster) -> KeyEvidence:
    with cluster.connect() as session:
        events = [Event(*row) for row in session.execute(_EVENTS)]
        holds = [KeyHold(*row) for row in session.execute(_HOLDS)]
    return KeyEvidence(CAPS, RATE, RATE_PER_KEY, events, holds)


@dataclass(frozen=True, slots=True)
class KeyBuild:
    """A broken build of limits, and the guarantees of which one must be found violated."""

    patch: str
    promises: frozenset[str]


KEY_BUILDS = [
    KeyBuild("caps_without_lock", frozenset({"caps of keys are kept"})),
    KeyBuild("token_not_taken", frozenset({"rates are kept"})),
    KeyBuild("hold_ignored", frozenset({"holds are kept"})),
    KeyBuild("due_time_lost", frozenset({"children are used"})),
]


def try_key_build(folder: Path, build: KeyBuild, seed: str) -> Run:
    """Run a broken build until the checker detects it."""
    package = broken_package(build.patch, folder / "package")
    run = Run(build.patch, seed)
    for number in range(BROKEN_BUILD_TRIES):
        setting = KeySetting(f"{seed}-{number}", {"child killed": 3}, 8.0, package=package)
        run = keyed(folder / str(number), setting, build.patch)
        if any(violation.promise in build.promises for violation in run.violations):
            return run
    run.remarks.append("NOT DETECTED")
    return run
