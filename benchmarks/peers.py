"""Compares the sends of horsies with those of pgqueuer, on one embedded server with default durability.

    .venv/bin/python benchmarks/peers.py [--quick]

The first run makes a virtual environment for pgqueuer below .tools and installs it from PyPI. The runs alternate, and
the other process is idle during each of them. Both processes use the event loop of asyncio. `--quick` uses small
numbers, which are meaningless.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
import venv
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import bench_tasks
import psycopg
from setting import HERE, database, facts, measure

INSTALLED = ("pgqueuer==1.6.0", "asyncpg==0.32.0")
ENVIRONMENT = HERE.parent / ".tools" / f"peers-{'-'.join(INSTALLED).replace('==', '-')}"
SENDERS = (1, 16)


@dataclass(frozen=True)
class Peer:
    """The process that sends jobs with pgqueuer."""

    process: subprocess.Popen[str]

    def ask(self, *words: object) -> float:
        """Send the process a line; return the seconds that it needed."""
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        return float(self.answer())

    def answer(self) -> str:
        """Return the next line of the process."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the process of pgqueuer has failed")
        return line


def python_of_peer() -> Path:
    """Return the interpreter of the environment of the peer, which is made if necessary."""
    python = ENVIRONMENT / "bin" / "python"
    complete = ENVIRONMENT / "complete"
    if not complete.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *INSTALLED], check=True)
        complete.touch()
    return python


@contextmanager
def peer(url: str) -> Generator[Peer]:
    """Run the process of the peer with a database on the same server, which is created."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(b"create database peer")
    its_url = urlsplit(url)._replace(path="/peer").geturl()
    command = [str(python_of_peer()), str(HERE / "peer_sends.py"), its_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        running = Peer(process)
        running.answer()
        try:
            yield running
        finally:
            process.terminate()


async def send_many(count: int) -> None:
    handles = await bench_tasks.noop.send_many_async([(number,) for number in range(count)])
    assert len(handles.unwrap()) == count


async def send_each(count: int, senders: int) -> None:
    numbers = iter(range(count))

    async def sender() -> None:
        for number in numbers:
            (await bench_tasks.noop.send_async(number)).unwrap()

    await asyncio.gather(*(sender() for _ in range(senders)))


async def compare(url: str, runs: int, bulk: int, single: int) -> None:
    """Compare bulk sends, and then single sends with each number of concurrent senders."""
    with peer(url) as other, psycopg.connect(url, autocommit=True) as connection:
        for senders in (None, *SENDERS):
            count = bulk if senders is None else single
            ours, theirs = list[float](), list[float]()
            for _ in range(runs + 1):
                connection.execute(b"truncate horsies.tasks")
                start = time.perf_counter()
                await (send_many(count) if senders is None else send_each(count, senders))
                ours.append(count / (time.perf_counter() - start))
                words = ("bulk", count) if senders is None else ("single", count, senders)
                theirs.append(count / other.ask(*words))
            name = f"bulk send of {count:,} tasks" if senders is None else f"single sends, {senders} at a time"
            show(name, ours[1:], theirs[1:])  # the first run of each opens connections
    await bench_tasks.app.close_async()


def show(name: str, ours: list[float], theirs: list[float]) -> None:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    measure(f"{name}, horsies", "/s", len(ours), iter(ours).__next__)
    measure(f"{name}, pgqueuer", "/s", len(theirs), iter(theirs).__next__)
    measure("  horsies against pgqueuer", "times", len(ratios), iter(ratios).__next__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args().quick
    print(facts())
    print(f"{', '.join(INSTALLED)}; load of the machine {os.getloadavg()[0]:.1f}")
    with database() as url:
        asyncio.run(compare(url, *((1, 500, 50) if is_quick else (9, 10_000, 2_000))))
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
