"""`make bench`: measures each number and its floor in turns, in one session, and prints medians.

    .venv/bin/python benchmarks/run.py [--quick] [NAME …]

`--quick` runs each benchmark once with a small size, to check that it works. Its numbers are meaningless.
"""

import argparse
import compileall
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import bench_flows
import bench_notices
import bench_tasks
import bulk
import costs
import crowd
import fairness
import floor
import keyed
import kit
import monitored
import pinned
import psutil
import psycopg
import rated
import senders
import shared_queue
import streak
import waiters
import waits
import web_pages
from setting import database, facts, measure, wait_for, worker

import horsies
from horsies import TaskError, TaskFunction

# The rate from the first outcomes to the last.
RATE = b"""
    select count(*) filter (where finished_at > first) / extract(epoch from max(finished_at) - min(first))
    from (select finished_at, min(finished_at) over () as first from horsies.history) as outcomes
"""
LONGEST_GAP = b"""
    select extract(epoch from max(gap)) * 1000
    from (select finished_at - lag(finished_at) over (order by finished_at) as gap from horsies.history) as gaps
"""


@dataclass(frozen=True)
class Size:
    """The sizes of the benchmarks."""

    runs: int
    drained: int
    committed: int
    sent: int
    bulk: int
    idle_s: float
    latencies: int
    crowd: int
    lasting: int
    flows: int
    waiters: int
    tests: int
    keys: int
    keyed: int
    crowd_of_key: int
    pinned_s: float
    rated: int
    shared: int
    workers: tuple[int, ...]
    ended: int
    minute: int
    nodes: int
    minute_of_drain: int
    streak: tuple[int, int]


FULL = Size(
    runs=5,
    drained=10_000,
    committed=3_000,
    sent=3_000,
    bulk=10_000,
    idle_s=10.0,
    latencies=300,
    crowd=1_000_000,
    lasting=50_000,
    flows=100,
    waiters=10_000,
    tests=1_000,
    keys=10_000,
    keyed=1_000_000,
    crowd_of_key=100_000,
    pinned_s=300.0,
    rated=400,
    shared=40_000,
    workers=(1, 4, 16),
    ended=10_000_000,
    minute=1_000_000,
    nodes=10_000,
    minute_of_drain=300_000,
    streak=(60, 12_000),
)
QUICK = Size(
    runs=1,
    drained=300,
    committed=100,
    sent=100,
    bulk=1_000,
    idle_s=0.5,
    latencies=50,
    crowd=1_000,
    lasting=500,
    flows=5,
    waiters=500,
    tests=5,
    keys=100,
    keyed=4_000,
    crowd_of_key=500,
    pinned_s=1.0,
    rated=40,
    shared=300,
    workers=(1, 2),
    ended=1_000,
    minute=1_000,
    nodes=400,
    minute_of_drain=300,
    streak=(2, 300),
)


def drain_sync(url: str, size: Size) -> None:
    """Empty a queue of no-op tasks with two processes."""
    measure("drain, 2 processes", "/s", size.runs, lambda: drained(url, size.drained, "noop", "--processes=2"))
    measure("drain, floor", "/s", size.runs, lambda: floor_drained(url, size.drained))


def drain_async(url: str, size: Size) -> None:
    """Empty a queue of asynchronous tasks with two processes, each with a concurrency of 100."""
    options = ("--processes=2", "--concurrency=100")
    measure("drain async, 2 x 100", "/s", size.runs, lambda: drained(url, size.drained, "noop_async", *options))


def drain_metrics(url: str, size: Size) -> None:
    """Empty a queue of no-op tasks with and without metrics. The runs alternate."""
    costs.compare(
        "metrics",
        2 * size.runs,
        lambda: drained(url, size.drained, "noop", "--processes=2", "--metrics-port=0"),
        lambda: drained(url, size.drained, "noop", "--processes=2"),
    )


def drain_sampling(url: str, size: Size) -> None:
    """Empty a queue for about a minute, so that one minute is sampled meanwhile, with and without sampling."""

    def plain() -> float:
        return drained(url, size.minute_of_drain, "noop", "--processes=2")

    def unsampled() -> float:
        with costs.without_sampling(url):
            return plain()

    costs.compare("sampling", size.runs, plain, unsampled)
    measure("  tasks that were sampled", "", 1, lambda: costs.samples(url))


def drain_tracing(url: str, size: Size) -> None:
    """Empty a queue of no-op tasks with the API of OpenTelemetry, which makes no spans, and without it."""
    costs.compare(
        "tracing switched off",
        2 * size.runs,
        lambda: drained(url, size.drained, "noop", "--processes=2", app="bench_traced:app"),
        lambda: drained(url, size.drained, "noop", "--processes=2"),
    )


def drain_transactional(url: str, size: Size) -> None:
    """Empty a queue of transactional no-op tasks with two processes; its floor commits each task alone, too."""

    def floor_once() -> float:
        empty(url)
        floor.fill(url, size.committed, "noop")
        return floor.finish_alone(url, size.committed)

    found = [
        (drained(url, size.committed, "noop_transactional", "--processes=2"), floor_once()) for _ in range(size.runs)
    ]
    measure("drain transactional, 2 processes", "/s", size.runs, iter([rate for rate, _ in found]).__next__)
    measure("drain transactional, floor", "/s", size.runs, iter([rate for _, rate in found]).__next__)
    measure("  against the floor", "times", size.runs, iter([rate / best for rate, best in found]).__next__)


def send(url: str, size: Size) -> None:
    """Send tasks one by one."""

    def once() -> float:
        empty(url)
        bench_tasks.noop.send(0)
        start = time.perf_counter()
        for number in range(size.sent):
            bench_tasks.noop.send(number).unwrap()
        return size.sent / (time.perf_counter() - start)

    measure("send", "/s", size.runs, once)
    measure("send, floor", "/s", size.runs, lambda: floor.send(url, size.sent))


def latency(url: str, size: Size) -> None:
    """Measure the time from send to result on an idle worker."""
    _latency(url, size, bench_tasks.noop, "bench_tasks:app", "idle")


def latency_in_notices(url: str, size: Size) -> None:
    """Measure the same with `AppConfig(results_in_notices=True)`."""
    _latency(url, size, bench_notices.noop, "bench_notices:app", "results in notices")


def _latency(url: str, size: Size, task: TaskFunction[[int], int, TaskError], app: str, name: str) -> None:
    def quantiles() -> list[float]:
        times: list[float] = []
        for number in range(size.latencies):
            start = time.perf_counter()
            task.send(number).unwrap().get()
            times.append((time.perf_counter() - start) * 1000)
        return statistics.quantiles(times[size.latencies // 10 :], n=100)

    empty(url)
    with worker("--processes=2", app=app):
        found = [quantiles() for _ in range(size.runs)]
    measure(f"latency p50, {name}", "ms", size.runs, iter([run[49] for run in found]).__next__)
    measure(f"latency p99, {name}", "ms", size.runs, iter([run[98] for run in found]).__next__)


def startup(url: str, size: Size) -> None:
    """Measure the time from the start of `horsies worker` to the end of a task that was waiting."""

    def once() -> float:
        empty(url)
        floor.fill(url, 1, "noop")
        start = time.perf_counter()
        with worker("--processes=2", is_ready=False):
            wait_for(lambda: ended(url) == 1)
            return time.perf_counter() - start

    measure("start to first result", "s", size.runs, once)


def idle(url: str, size: Size) -> None:
    """Measure the cost of an idle worker: unshared memory of a child, transactions, and processor time."""
    empty(url)
    with worker("--processes=2") as process:
        bench_tasks.noop.send(0).unwrap().get()
        fork_server, *children = psutil.Process(process.pid).children(recursive=True)
        own = [own_memory([each]) for each in children]
        measure("memory of an idle child, not shared", "MB", len(own), iter(own).__next__)
        family = [psutil.Process(process.pid), fork_server, *children]

        def once() -> tuple[float, float]:
            before, busy_before = transactions(url), busy_seconds(family)
            time.sleep(size.idle_s)
            return (
                (transactions(url) - before - 1) / size.idle_s,
                100 * (busy_seconds(family) - busy_before) / size.idle_s,
            )

        found = [once() for _ in range(size.runs)]
    measure("transactions of an idle worker", "/s", size.runs, iter([rate for rate, _ in found]).__next__)
    measure("processor time of an idle worker", "%", size.runs, iter([share for _, share in found]).__next__)


def claims(url: str, size: Size) -> None:
    """Measure the time of a claim with and without a crowd of other rows. The runs alternate."""
    crowds = {
        "empty": None,
        f"{size.crowd:,} tasks scheduled ahead": crowd.scheduled(size.crowd),
        f"{size.crowd:,} ended tasks": crowd.ended(size.crowd),
        f"{size.crowd // 10:,} foreign tasks": crowd.foreign(size.crowd // 10),
    }
    with ExitStack() as stack:
        places = {name: stack.enter_context(crowd.place(url, fill)) for name, fill in crowds.items()}
        found = [{name: floor.claim(place, 100) for name, place in places.items()} for _ in range(size.runs)]
    for name in crowds:
        measure(f"claim, {name}", "ms", size.runs, iter([run[name] for run in found]).__next__)
        if name != "empty":
            measure("  against empty", "times", size.runs, iter([run[name] / run["empty"] for run in found]).__next__)


def memory(url: str, size: Size) -> None:
    """Measure the memory growth of a worker from the first fifth of many tasks to their end."""
    empty(url)
    floor.fill(url, size.lasting, "noop")
    with worker("--processes=2") as process:
        wait_for(lambda: ended(url) >= size.lasting // 5, 0.05)
        _fork_server, *children = psutil.Process(process.pid).children(recursive=True)
        family = {"supervisor": [psutil.Process(process.pid)], "children": children}
        before = {name: own_memory(members) for name, members in family.items()}
        wait_for(lambda: ended(url) == size.lasting, 0.05)
        for name, members in family.items():
            grown = own_memory(members) - before[name]
            measure(f"growth over {size.lasting:,} tasks, {name}", "MB", 1, iter([grown]).__next__)


def outlier(url: str, size: Size) -> None:
    """Measure the longest time without an outcome while a long task runs among waiting quick ones."""

    def once() -> float:
        empty(url)
        floor.fill(url, size.drained // 20, "noop")
        bench_tasks.nap.send(60.0)
        floor.fill(url, size.drained // 20, "noop")
        with worker("--processes=2", "--shutdown-timeout=0"):
            wait_for(lambda: ended(url) == size.drained // 20 * 2, 0.05)
            return asked(url, LONGEST_GAP)

    measure("longest pause behind a long task", "ms", size.runs, once)


def own_memory(processes: Sequence[psutil.Process]) -> float:
    return sum(each.memory_full_info().uss for each in processes) / 1e6


def flows(url: str, size: Size) -> None:
    """Run the benchmarks of workflows."""
    empty(url)
    bench_flows.flows(size.runs, size.flows)


def transactions(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        asked = "select xact_commit from pg_stat_database where datname = current_database()"
        row = connection.execute(asked).fetchone()
        return 0 if row is None else int(row[0])


def busy_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (each.cpu_times() for each in processes))


def replacement(url: str, size: Size) -> None:
    """Measure the time from the death of a child to the end of a task that its successor ran."""

    def once() -> float:
        empty(url)
        with worker("--processes=1") as process:
            bench_tasks.noop.send(0).unwrap().get()
            before = psutil.Process(process.pid).children(recursive=True)
            start = time.perf_counter()
            before[-1].kill()
            wait_for(lambda: before[-1] not in psutil.Process(process.pid).children(recursive=True), 0.0005)
            bench_tasks.noop.send(1).unwrap().get()
            return (time.perf_counter() - start) * 1000

    measure("death of a child to its successor's result", "ms", size.runs, once)


def drained(url: str, count: int, task: str, *options: str, app: str = "bench_tasks:app") -> float:
    empty(url)
    floor.fill(url, count, task)
    with worker(*options, app=app):
        wait_for(
            lambda: ended(url) == count, 0.25, within_s=600
        )  # polls rarely, because counting slows down the measured processes
    return asked(url, RATE)


def floor_drained(url: str, count: int) -> float:
    empty(url)
    floor.fill(url, count, "noop")
    return floor.drain(url, count, batch=50)


def ended(url: str) -> int:
    return int(asked(url, b"select count(*) from horsies.history"))


def asked(url: str, query: bytes) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return 0 if row is None else float(row[0])


def empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers")


def capped(url: str, size: Size) -> None:
    """Compare tasks of 50 ms in 32 processes with a cap of 5 with the same tasks in 5 processes without a cap."""

    def once(cap: int | None, workers: int, processes: int) -> float:
        empty(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("select horsies.queue_control('default', 'cap', %s)", (cap,))
        count = size.drained // 20
        floor.fill(url, count, "doze")
        with ExitStack() as running:
            for _ in range(workers):
                running.enter_context(worker(f"--processes={processes}", is_ready=False))
            wait_for(lambda: ended(url) == count, 0.05)
        return asked(url, RATE)

    measure("5 of 4 x 8 places, by a cap", "/s", size.runs, lambda: once(5, 4, 8))
    measure("5 places without a cap", "/s", size.runs, lambda: once(None, 1, 5))


def due(url: str, size: Size) -> None:
    """Measure how late a scheduled task starts on an idle worker, which neither polls nor gets a notice."""
    empty(url)
    with worker("--processes=2"):
        for number in range(size.latencies // 10):
            bench_tasks.noop.schedule(0.1, number).unwrap().get()
    late = b"select extract(epoch from started_at - run_at) * 1000 from horsies.history order by 1"
    with psycopg.connect(url, autocommit=True) as connection:
        found = [float(row[0]) for row in connection.execute(late)]
    measure("start after the due time, idle", "ms", len(found), iter(found).__next__)


def keys(url: str, size: Size) -> None:
    """Compare claims and drains of a queue with many keys with those of a queue without, and check its promises."""
    sizes = keyed.Sizes(size.keys, size.keyed // size.keys, size.crowd, drained=size.keyed // 5_000 + 10)
    keyed.claims(url, size.runs, sizes)
    fairness.fairness(url, size.runs, size.crowd_of_key, size.crowd_of_key // 100)
    pinned.pinned(url, size.pinned_s, 200)


def rates(url: str, size: Size) -> None:
    """Measure how exactly rates are kept, and what they cost a claim."""
    rated.accuracy(url, size.rated)
    rated.cost(url, size.runs, size.keys, size.keyed // size.keys)


def monitoring(url: str, size: Size) -> None:
    """Measure the questions of monitoring beside many rows, and the cost of sampling."""
    monitored.monitoring(url, size.runs, size.crowd, size.ended)
    monitored.sampling(url, size.runs, size.minute)


def web(url: str, size: Size) -> None:
    """Measure the pages of the web interface beside many rows."""
    web_pages.web_pages(url, size.runs, size.crowd, size.ended, size.nodes)


BENCHMARKS: dict[str, Callable[[str, Size], None]] = {
    "drain": drain_sync,
    "drain_async": drain_async,
    "drain_metrics": drain_metrics,
    "drain_sampling": drain_sampling,
    "drain_tracing": drain_tracing,
    "drain_transactional": drain_transactional,
    "send": send,
    "senders": lambda _url, size: senders.senders(size.runs, size.sent),
    "bulk": lambda url, size: bulk.bulk(url, size.runs, size.bulk),
    "latency": latency,
    "latency_in_notices": latency_in_notices,
    "startup": startup,
    "replacement": replacement,
    "idle": idle,
    "memory": memory,
    "claims": claims,
    "outlier": outlier,
    "waiters": lambda url, size: waiters.waiters(url, size.runs, size.waiters),
    "imports": lambda _url, size: waits.imports(size.runs),
    "kit": lambda _url, size: kit.tests(size.tests),
    "reload": lambda _url, size: waits.reload(size.runs),
    "flows": flows,
    "capped": capped,
    "due": due,
    "keys": keys,
    "rates": rates,
    "streak": lambda url, size: streak.streak(url, *size.streak),
    "workers": lambda url, size: shared_queue.shared_queue(url, size.runs, size.shared, size.workers),
    "monitoring": monitoring,
    "web": web,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pinned-seconds", type=float, help="how long `keys` keeps an old snapshot; default: 300")
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []])
    asked = parser.parse_args()
    print(facts())
    compileall.compile_dir(Path(horsies.__file__).parent, quiet=1)  # as in an installed package
    size = QUICK if asked.quick else FULL
    if asked.pinned_seconds is not None:
        size = replace(size, pinned_s=asked.pinned_seconds)
    with database() as url:
        for name in asked.names or BENCHMARKS:
            BENCHMARKS[name](url, size)


if __name__ == "__main__":
    main()
