"""`make bench-peers`: compares horsies with other task queues on one machine, and writes the numbers into docs.

    .venv/bin/python benchmarks/peers.py [--quick] [--rounds N] [--minutes M] [NAME …]

The first run makes a virtual environment for each library below .tools. Rounds are interleaved: in each round, every
case runs once with every library, one after the other, while the other processes are idle. `--quick` runs one round
with small numbers, which are meaningless, and changes no docs. NAME is the name of a library; by default, all are
compared.
"""

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import bulk
import floor
import peer_report
import psycopg
from peer_list import CASES, FAST, FLOOR, FLOOR_MISSING, HORSIES, PEERS, QUICK, Counts, Peer, Postgres
from peer_report import Session
from redis_server import NoRedisError, redis_server
from redis_server import version as redis_version
from setting import HERE, database, facts, wait_for

PROGRAMS = HERE / "peer_programs"
TOOLS = HERE.parent / ".tools"
STOPS_WITHIN_S = 15
ANSWERS_WITHIN_S = 120
DRAINED_WITHIN_S = 240
POLL_S = 0.25
"""Polls are rare, because counting slows down the measured processes."""
WARM_UP = 5


@dataclass(frozen=True)
class Running:
    """The process that sends with a library, and everything that is needed to start its workers."""

    peer: Peer
    counts: Counts
    url: str
    process: subprocess.Popen[str]

    def ask(self, what: str, **arguments: object) -> object:
        """Send the process a request, and return its answer."""
        assert self.process.stdin is not None
        print(json.dumps({"do": what, **arguments}), file=self.process.stdin, flush=True)
        return self.answer()

    def seconds(self, what: str, **arguments: object) -> float:
        """Send the process a request whose answer is the seconds that it took."""
        return float(str(self.ask(what, **arguments)))

    def answer(self) -> object:
        """Return the next answer of the process."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWERS_WITHIN_S)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            sys.exit(f"the program of {self.peer.name} has ended or does not answer; see {log_of(self.peer)}")
        return json.loads(line)

    def empty(self) -> None:
        """Remove all tasks and outcomes."""
        if self.peer.postgres is None:
            self.ask("empty")
        else:
            truncate(self.url, self.peer.postgres)

    def ended(self) -> int:
        """Return how many outcomes are stored."""
        if self.peer.postgres is None:
            return int(str(self.ask("ended")))
        count = f"select count(*) from ({self.peer.postgres.outcomes}) as outcomes"  # noqa: S608 - our own text
        return int(query(self.url, count)[0])

    def outcomes(self) -> list[float]:
        """Return the times at which outcomes were stored, in seconds."""
        if self.peer.postgres is not None:
            return query(self.url, self.peer.postgres.outcomes)
        found = self.ask("outcomes")
        assert isinstance(found, list)
        return [float(str(each)) for each in found]  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]


def query(url: str, text: str) -> list[float]:
    """Return the numbers that a query with one column finds."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [float(row[0]) for row in connection.execute(text.encode())]


def truncate(url: str, where: Postgres) -> None:
    """Empty the tables of a peer, and collect the dead rows of earlier cases."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"truncate {where.tables}".encode())


def rate(outcomes: Sequence[float]) -> float:
    """Return the outcomes per second, from the first to the last one.

    Outcomes that were stored together with the first ones do not count, because their work precedes the interval.
    """
    first, last = min(outcomes), max(outcomes)
    if first == last:
        msg = f"all {len(outcomes)} outcomes have the same time: the drain needs more tasks than fit into one batch"
        raise ValueError(msg)
    return sum(each > first for each in outcomes) / (last - first)


def python_of(peer: Peer) -> Path:
    """Return the interpreter of the environment of a peer, which is made if necessary."""
    if not peer.installed:
        return Path(sys.executable)
    folder = TOOLS / f"peer-{peer.key}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists() or complete.read_text() != " ".join(peer.installed):
        print(f"installing {', '.join(peer.installed)}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *peer.installed], check=True)
        complete.write_text(" ".join(peer.installed))
    return python


@contextmanager
def program(peer: Peer, counts: Counts, postgres: str, redis: str | None) -> Generator[Running]:
    """Run the program of a peer; one that uses PostgreSQL gets a new database on the server."""
    url = str(redis)
    if peer.program == "with_horsies.py":
        url = postgres
    elif peer.postgres is not None:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"create database peer_{peer.key}".encode())
        url = urlsplit(postgres)._replace(path=f"/peer_{peer.key}").geturl()
    command = [str(python_of(peer)), str(PROGRAMS / peer.program), url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        running = Running(peer, counts, url, process)
        try:
            running.answer()
            yield running
        finally:
            stop(process)


@contextmanager
def workers(running: Running, kind: str) -> Generator[list[subprocess.Popen[bytes]]]:
    """Run the workers of a peer, which have two processes together."""
    command = [str(python_of(running.peer)), str(PROGRAMS / running.peer.program), running.url, "worker", kind]
    with log_of(running.peer).open("wb") as log:
        processes = [
            subprocess.Popen([*command, str(number)], stdout=log, stderr=log) for number in range(running.peer.commands)
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                stop(process)


def log_of(peer: Peer) -> Path:
    """Return the file for the output of the workers of a peer."""
    return TOOLS / f"peer-{peer.key}.log"


def stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process, gracefully if it can."""
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def drain(running: Running, kind: str) -> float:
    """Fill the queue, run the workers until all tasks have ended, and return the outcomes per second."""
    count = running.counts.drained
    running.empty()
    running.ask("fill", kind=kind, count=count)
    with workers(running, kind) as processes:
        wait_for(lambda: running.ended() >= count or died(running, processes), POLL_S, DRAINED_WITHIN_S)
    outcomes = running.outcomes()
    assert len(outcomes) == count, f"{running.peer.name} has {len(outcomes)} outcomes of {count} tasks"
    return rate(outcomes)


def died(running: Running, processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Return False, or end the comparison if a worker has ended."""
    if any(process.poll() is not None for process in processes):
        sys.exit(f"a worker of {running.peer.name} has ended; see {log_of(running.peer)}")
    return False


def send(running: Running, senders: int) -> float:
    """Send tasks one at a time from each sender; return the sends per second."""
    running.empty()
    running.ask("single", count=WARM_UP * senders, senders=senders)
    return running.counts.sent / running.seconds("single", count=running.counts.sent, senders=senders)


def send_bulk(running: Running) -> float:
    """Send many tasks at once; return the tasks per second."""
    running.empty()
    return running.counts.bulk / running.seconds("fill", kind="sync", count=running.counts.bulk)


def latencies(running: Running) -> tuple[float, float]:
    """Return the median and the 99th percentile of the milliseconds from a send to the result."""
    running.empty()
    with workers(running, "sync"):
        running.ask("latency", count=WARM_UP)
        times = running.ask("latency", count=running.counts.latencies)
    assert isinstance(times, list)
    quantiles = statistics.quantiles([float(str(each)) for each in times], n=100, method="inclusive")  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    return quantiles[49], quantiles[98]


def measure_peer(running: Running, case: str) -> dict[str, float]:
    """Measure one case of a peer; return the values by the names of the measures."""
    match case:
        case "drain_sync" | "drain_async":
            return {case: drain(running, case.removeprefix("drain_"))}
        case "send_1" | "send_16":
            return {case: send(running, int(case.removeprefix("send_")))}
        case "bulk":
            return {case: send_bulk(running)}
        case _:
            p50, p99 = latencies(running)
            return {"latency_p50": p50, "latency_p99": p99}


def measure_floor(url: str, counts: Counts, case: str) -> dict[str, float]:
    """Measure one case of the floor."""
    truncate(url, HORSIES)
    if case == "drain_sync":
        floor.fill(url, counts.drained, "noop")
        floor.drain(url, counts.drained, batch=50)
        return {case: rate(query(url, HORSIES.outcomes))}
    if case == "send_1":
        return {case: floor.send(url, counts.sent)}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(bulk.TABLE)
        taken = bulk.insert(connection, counts.bulk)
        connection.execute(b"drop table bulk_floor")
    return {case: counts.bulk / taken}


def run_round(contenders: Sequence[Running], url: str, counts: Counts, session: Session) -> None:
    """Run each case once with each library, and add the values to the session."""
    for case in CASES:
        if case not in FLOOR_MISSING:
            session.add(FLOOR, measure_floor(url, counts, case))
        for running in contenders:
            if case not in running.peer.missing:
                session.add(running.peer.name, measure_peer(running, case))
                print(f"{case}, {running.peer.name}: {session.latest(running.peer.name, case)}", file=sys.stderr)


def compare(chosen: Sequence[Peer], rounds: int, minutes: float, counts: Counts | None) -> Session:
    """Run interleaved rounds with the chosen libraries; begin no round that would end too late."""
    session = Session(facts=facts(), load=[os.getloadavg()[0]])
    for peer in chosen:
        python_of(peer)
    begin = time.monotonic()
    with ExitStack() as stack:
        url = stack.enter_context(database())
        redis = None
        if any(peer.postgres is None for peer in chosen):
            with suppress_without_redis(session):
                redis = stack.enter_context(redis_server())
                session.facts += f", {redis_version()}"
        usable = [peer for peer in chosen if peer.postgres is not None or redis is not None]
        contenders = [stack.enter_context(program(peer, counts or peer.counts, url, redis)) for peer in usable]
        for number in range(rounds):
            taken = time.monotonic() - begin
            if number and taken / number * (number + 1) > minutes * 60:
                break
            run_round(contenders, url, counts or FAST, session)
        session.load.append(os.getloadavg()[0])
    session.minutes = (time.monotonic() - begin) / 60
    return session


@contextmanager
def suppress_without_redis(session: Session) -> Generator[None]:
    """Go on without the libraries that need Redis if there is none, and say why."""
    try:
        yield
    except NoRedisError as error:
        session.missing = str(error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=14.0, help="begin no round that would end later; default: 14")
    parser.add_argument("names", nargs="*", choices=[*(peer.name for peer in PEERS), []])
    asked = parser.parse_args()
    chosen = [peer for peer in PEERS if not asked.names or peer.name in asked.names]
    session = compare(chosen, 1 if asked.quick else asked.rounds, asked.minutes, QUICK if asked.quick else None)
    print(peer_report.section(session))
    if not asked.quick and not asked.names:
        peer_report.record(session)


if __name__ == "__main__":
    main()
