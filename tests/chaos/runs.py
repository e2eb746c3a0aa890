"""The runs of the harness: their servers, workers, faults, and final checks."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import CRASHED, Evidence, Timing, Violation, check
from tests.chaos.cluster import Cluster, Place, pressure, skewed
from tests.chaos.faults import Breaker, fail_over, plan
from tests.chaos.servers import PostgresServer, SmallDisk
from tests.chaos.strangers import HostileRole
from tests.chaos.workflow_checker import FlowEvidence, check_flows
from tests.support.proxy import Proxy
from tests.support.server import PASSWORD

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).with_name("broken")
END_WITHIN_S = 60.0
THROUGHPUT_BACK = 0.95
THROUGHPUT_WITHIN_S = 60.0

FULL: dict[str, int] = {
    "child killed": 1000,
    "supervisor killed": 100,
    "fork server killed": 50,
    "supervisor and fork server killed": 20,
    "supervisor stopped": 30,
    "child stopped": 20,
    "backend terminated": 500,
    "server restarted": 20,
    "connections cut": 300,
    "reply to COMMIT cut off": 100,
    "network stalled": 50,
    "backend frozen": 40,
    "clock of the server set": 20,
    "rows locked by a stranger": 60,
    "notification queue full": 20,
}
FULL_SECONDS = 900.0
FULL_RUNS = 200
FILLED_DISKS = 5
FAIL_OVERS = 5


@dataclass(slots=True)
class Run:
    """A run and its results.

    Attributes:
        faults: How often each fault was carried out.
        events: How often workers and producers reported each event.
        tasks: The numbers of tasks and workflow runs by outcome.
        rates: The number of quick tasks per second before and after the faults.
        measured: Sentences with other measurements.
        remarks: What was left out, or not found.
    """

    name: str
    seed: str
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter[str])
    events: Counter[str] = field(default_factory=Counter[str])
    tasks: Counter[str] = field(default_factory=Counter[str])
    rates: tuple[float, float] = (0.0, 0.0)
    settled_s: float = 0.0
    timings: list[Timing] = field(default_factory=list[Timing])
    violations: list[Violation] = field(default_factory=list[Violation])
    measured: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class BaseSetting:
    """The size of any run.

    Attributes:
        seed: chooses everything that happens by chance.
        counts: how often each fault happens.
        seconds: for how long tasks are sent and faults happen.
        per_second: how many tasks are sent in a second.
        package: a copy of the package that the workers import; None: the package itself.
    """

    seed: str
    counts: Mapping[str, int]
    seconds: float
    per_second: float = 25.0
    package: Path | None = None


@dataclass(frozen=True, slots=True)
class Setting(BaseSetting):
    """The size of a run with faults of all kinds."""

    bursts: int = 300
    runs: int = 0
    end_within_s: float = END_WITHIN_S
    cap: int = 2
    names: str = ""


def mixed(folder: Path, setting: Setting, name: str = "mixed") -> Run:
    """Mix all faults of processes, connections, the server and its other users."""
    server = PostgresServer(folder / "server")
    server.create()
    server.start()
    cluster = Cluster(folder / "cluster", setting.seed, cap=setting.cap, package=setting.package)
    cluster.proxies = [Proxy(server.url), Proxy(server.url)]
    to_workers, to_producers = (proxy.url(server.url) for proxy in cluster.proxies)
    places = [
        Place("direct", server.url),
        Place("through a proxy", to_workers),
        Place("an hour late, through a proxy", to_workers, skewed(-1)),
        Place("an hour early, prefetching", server.url, {"CHAOS_PREFETCH": "4"} | skewed(+1)),
    ]
    breaker = Breaker(cluster, server)
    hostile = HostileRole(cluster, setting.seed)
    planned = plan(setting.seed, setting.counts, setting.seconds)

    def faults() -> None:
        with hostile.at_work():
            breaker.carry_out(planned)
        cluster.done.counts["hostile role that notifies garbage"] = 1

    try:
        cluster.open(to_producers, server.url, places)
        server.use_test_clock()
        run = _carry_out(cluster, setting, Run(name, setting.seed), faults)
    finally:
        cluster.kill()
        server.stop()
    run.events["notices of the hostile role"] = hostile.notices
    if not skewed(1):
        run.remarks.append("libfaketime is not installed, so no clock was wrong")
    else:
        run.faults["worker with a clock that is an hour off"] = 2
    return run


def full_disk(folder: Path, setting: Setting) -> Run:
    """Repeatedly fill the file system of the server completely."""
    disk = SmallDisk(folder / "disk", 500)
    run = Run("full disk", setting.seed)
    if not disk.is_mounted:
        run.remarks.append("left out: no file system can be mounted here")
        return run
    server = PostgresServer(disk.place / "server")
    server.create()
    server.start()
    cluster = Cluster(folder / "cluster", setting.seed, cap=setting.cap, package=setting.package)

    def faults() -> None:
        for _ in range(setting.counts["disk filled up"]):
            time.sleep(setting.seconds)
            disk.fill()
            time.sleep(setting.seconds)
            disk.free()
            server.start()  # the server may have stopped
            cluster.done.counts["disk filled up"] += 1

    try:
        cluster.open(server.url, server.url, [Place("one", server.url), Place("two", server.url)])
        return _carry_out(cluster, setting, run, faults)
    finally:
        cluster.kill()
        server.stop()
        disk.close()


def failing_over(folder: Path, setting: Setting) -> Run:
    """Repeatedly lose the primary and promote its synchronous standby."""
    primary, standby = PostgresServer(folder / "server-0"), PostgresServer(folder / "server-1")
    primary.create()
    primary.start()
    standby.copy(primary)
    standby.start()
    primary.wait_for_copies(1)
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in (primary, standby))
    url = f"postgresql://postgres:{PASSWORD}@{hosts}/postgres?target_session_attrs=read-write"
    cluster = Cluster(folder / "cluster", setting.seed, cap=setting.cap, package=setting.package)
    pair = [primary, standby]

    def faults() -> None:
        for number in range(setting.counts["fail-over"]):
            time.sleep(setting.seconds)
            lost, heir = pair
            spare = PostgresServer(folder / f"server-{number + 2}")
            spare.port = lost.port
            fail_over(lost, heir, spare)
            pair[:] = [heir, spare]
            cluster.done.counts["fail-over"] += 1

    try:
        cluster.open(url, url, [Place("one", url), Place("two", url)])
        return _carry_out(cluster, setting, Run("fail-over", setting.seed), faults)
    finally:
        cluster.kill()
        for server in reversed(pair):
            server.stop()


def _carry_out(cluster: Cluster, setting: Setting, run: Run, faults: Callable[[], None]) -> Run:
    """Carry out a run: measure without faults, inject faults under load, measure again, and check."""
    begin = time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"{run.name} {time.monotonic() - begin:6.1f} s: {what}\n")

    cluster.wait_until_ready()
    say("workers are ready")
    before = sorted(cluster.burst(setting.bursts) for _ in range(3))[1] if setting.bursts else 0.0
    cluster.produce(2, setting.per_second, setting.names)
    if not setting.names:
        cluster.await_results()
    if setting.runs:
        cluster.start_runs(setting.runs, setting.seconds)
    say(f"faults begin; {before:.0f} quick tasks a second before them")
    faults()
    say("faults are over")
    cluster.settle(setting.end_within_s * pressure())
    say("work is done")
    after, back_after = _recover(cluster, setting, before)
    say(f"{after:.0f} quick tasks a second again")
    leftovers = cluster.close()
    say("workers have stopped")
    evidence, flows = cluster.evidence(), cluster.flows()
    evidence.leftovers = leftovers
    evidence.timings = [
        *evidence.timings,
        Timing("the last task", cluster.settled_s, setting.end_within_s * pressure()),
        Timing(f"{THROUGHPUT_BACK:.0%} of the throughput", back_after, THROUGHPUT_WITHIN_S),
    ]
    run.seconds = time.monotonic() - begin
    run.settled_s = cluster.settled_s
    run.faults = cluster.done.counts
    run.events = cluster.events()
    run.tasks = count_tasks(evidence) + count_runs(flows)
    run.rates = (before, after)
    run.timings = evidence.timings
    run.violations = check(evidence) + check_flows(flows)
    return run


def _recover(cluster: Cluster, setting: Setting, before: float) -> tuple[float, float]:
    """Wait until the throughput is back; return it in tasks per second, and the seconds that this took."""
    if not setting.bursts or cluster.settled_s >= setting.end_within_s:
        return 0.0, 0.0
    begin = time.monotonic()
    best = 0.0
    while best < THROUGHPUT_BACK * before and time.monotonic() - begin < THROUGHPUT_WITHIN_S:
        with suppress(AssertionError):
            best = max(best, cluster.burst(setting.bursts))
    if best < THROUGHPUT_BACK * before:
        return best, THROUGHPUT_WITHIN_S + 1
    return best, time.monotonic() - begin


def count_tasks(evidence: Evidence) -> Counter[str]:
    """Count the tasks by outcome."""
    found: Counter[str] = Counter()
    found["accepted from producers"] = sum(each.verdict == "accepted" for each in evidence.sent)
    found["given up by producers"] = sum(each.verdict == "unsure" for each in evidence.sent)
    found["ended"] = len(evidence.finals)
    found["attempts begun"] = sum(note.event == "begin" for note in evidence.notes)
    found["attempts that did not end their task"] = len(evidence.attempts)
    found["rows inserted by transactional tasks"] = len(evidence.effects)
    for final in evidence.finals:
        outcome = f"ended {final.status}{f' {final.code}' if final.code else ''}"
        found[outcome] += 1
        if evidence.kinds[final.kind].transactional:
            found[f"transactional tasks {outcome}"] += 1
    return found


def count_runs(flows: FlowEvidence) -> Counter[str]:
    """Count the workflow runs and their nodes by outcome."""
    found: Counter[str] = Counter()
    found["runs accepted from the producer"] = sum(each.verdict == "accepted" for each in flows.started)
    found["runs given up by the producer"] = sum(each.verdict == "unsure" for each in flows.started)
    for row in flows.runs:
        found[f"{'runs' if row.parent is None else 'runs below another'} ended {row.status}"] += 1
    for node in flows.nodes:
        found[f"nodes of runs ended {node.status}"] += 1
    found["nodes that failed because the building of their run crashed"] = sum(
        node.code == CRASHED for node in flows.nodes
    )
    return +found


@dataclass(frozen=True, slots=True)
class BrokenBuild:
    """A broken build, the faults that reveal it, and the guarantees of which one must be found violated."""

    patch: str
    counts: Mapping[str, int]
    promises: frozenset[str]
    names: str = ""
    per_second: float = 25.0
    seconds: float = 20.0


BROKEN_BUILDS = [
    BrokenBuild(
        "fence_check_removed",
        {"supervisor stopped": 7},
        frozenset({"outcomes come from their attempt", "never twice by surprise", "attempts do not overlap"}),
        "nap_again",
        1.5,
        30.0,
    ),
    BrokenBuild(
        "running_written_late",
        {"supervisor killed": 8, "supervisor and fork server killed": 2},
        frozenset({"never twice by surprise"}),
    ),
    BrokenBuild("reconcile_missing", {"reply to COMMIT cut off": 60}, frozenset({"every task ends"})),
    BrokenBuild("replay_without_second_look", {"reply to COMMIT cut off": 60}, frozenset({"never twice by surprise"})),
    BrokenBuild("cancel_notice_believed", {"child killed": 10}, frozenset({"tasks end as they may"}), "nap_again", 3.0),
    BrokenBuild("result_notice_believed", {"child killed": 10}, frozenset({"answers are true"})),
    BrokenBuild(
        "death_by_server_clock", {"clock of the server set": 3}, frozenset({"living workers keep their tasks"})
    ),
    BrokenBuild(
        "own_finish_after_commit",
        {"supervisor stopped": 5},
        frozenset({"effects happen exactly once"}),
        "effect,effect_once",
        10.0,
    ),
    BrokenBuild(
        "own_stale_committed", {"supervisor stopped": 7}, frozenset({"effects happen exactly once"}), "effect_cancelled"
    ),
    BrokenBuild(
        "own_commit_not_looked_up",
        {"backend terminated": 5},
        frozenset({"committed tasks are not killed"}),
        "effect,effect_once",
        10.0,
    ),
]
BROKEN_BUILD_TRIES = 3


def broken_package(patch: str, folder: Path) -> Path:
    """Copy the package and apply a patch; return the folder for PYTHONPATH."""
    shutil.copytree(ROOT / "horsies", folder / "horsies", ignore=shutil.ignore_patterns("__pycache__"))
    command = ["git", "apply", "--whitespace=nowarn", str(BROKEN / f"{patch}.patch")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{patch} does not apply any more: {done.stderr}"
    return folder


def try_broken_build(folder: Path, each: BrokenBuild, seed: str) -> Run:
    """Run a broken build until the checker detects it."""
    package = broken_package(each.patch, folder / "package")
    run = Run(each.patch, seed)
    for number in range(BROKEN_BUILD_TRIES):
        setting = Setting(
            f"{seed}-{number}", each.counts, each.seconds, each.per_second, bursts=0, end_within_s=15.0,
            names=each.names, package=package,
        )  # fmt: skip
        run = mixed(folder / str(number), setting, each.patch)
        if any(violation.promise in each.promises for violation in run.violations):
            return run
    run.remarks.append("NOT DETECTED")
    return run


def runs_of(scale: float) -> int:
    """Scale the number of workflow runs of a full run."""
    return max(3, round(FULL_RUNS * scale))


def scaled(scale: float) -> dict[str, int]:
    """Scale the number of each fault of a full run."""
    return {name: max(1, round(count * scale)) for name, count in FULL.items()}
