"""Cut connections and kill producers in the middle of sends: a replay makes exactly one task, which runs once.

    python -m tests.producer.replays [single | many] [--cuts 2000] [--kills 100]

With ``many``, the sends are bulk sends; see `replays_many`. `test_replays.py` runs a small part of both. A full run needs
PostgreSQL's binaries, and takes some minutes.
"""

import argparse
import asyncio
import logging
import pickle
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Set as AbstractSet
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from horsies import Err, PostgresConfig, TaskSendError
from horsies.db.queries import worker as worker_queries
from tests.producer.shop import Hand, Shop
from tests.support.databases import migrated_template, new_database
from tests.support.factories import done
from tests.support.proxy import Proxy
from tests.support.server import begin_run, database_name, end_run, running_server, with_database
from tests.support.sessions import Session, call, column, open_session

ROOT = Path(__file__).parents[2]
TOGETHER = 4
"""Every fifth turn sends this many tasks at the same time."""

_MOST_SENT = 700
_MOST_ANSWERED = 260


def config(url: str) -> PostgresConfig:
    return PostgresConfig(database_url=url, pool_size=3, max_overflow=0, pool_timeout=10.0, pool_pre_ping=False)


class Replays:
    """A run, with its counters.

    Attributes:
        accepted: The ids of the tasks that must exist, each once.
        seen: How often each situation occurred.
    """

    def __init__(self, db: Session, seed: int) -> None:
        self.db = db
        self.hand = Hand(db)
        self.dice = random.Random(seed)  # noqa: S311 - it makes a plan, no secret
        self.accepted: set[str] = set()
        self.seen: Counter[str] = Counter()

    async def cut(self, shop: Shop, proxy: Proxy, cuts: int) -> None:
        """Send through the proxy, cut the connection before, during or after the commit, and replay every lost answer."""
        turn = 0
        while self.seen["cut"] < cuts:
            turn += 1
            direction = self.dice.choice(("to server", "to client"))
            before = self.seen["cut"]
            proxy.cut_after(self.dice.randrange(_MOST_SENT if direction == "to server" else _MOST_ANSWERED), direction)
            together = TOGETHER if turn % 5 == 0 else 1
            for sent in await asyncio.gather(*(shop.add.send_async(turn) for _ in range(together))):
                if isinstance(sent, Err):
                    self.seen["cut"] += 1
                    await self.replay(shop, sent.error)
                else:
                    self.accepted.add(sent.value.task_id)
            self.seen["not cut"] += before == self.seen["cut"]

    async def replay(self, shop: Shop, error: TaskSendError) -> None:
        """Replay a send until it is accepted; in a third of the cases, a worker ends the task first, if it exists."""
        assert (error.retryable, error.task_id is not None) == (True, True), error
        exists = bool(column(self.db, "select 1 from horsies.tasks where id = %s", error.task_id))
        self.seen["committed before the replay" if exists else "not committed"] += 1
        if exists and self.dice.random() < 1 / 3:
            self.end_all()
            self.seen["ended before the replay"] += 1
        again: Any = await shop.add.retry_send_async(error)
        while isinstance(again, Err):
            self.seen["replay cut"] += 1
            again = await shop.add.retry_send_async(again.error)
        assert again.value.task_id == error.task_id
        self.accepted.add(again.value.task_id)

    def kill(self, url: str, kills: int) -> None:
        """Kill producers in the middle of a send, and replay what they had stored before the send."""
        shop = Shop(config(url))
        with tempfile.TemporaryDirectory() as name:
            for number in range(kills):
                outbox = Path(name, str(number))
                command = [sys.executable, "-m", "tests.producer.killed", url, str(outbox)]
                with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as producer:
                    assert producer.stdout is not None
                    assert producer.stdout.readline() == b"sending\n"
                    with suppress(subprocess.TimeoutExpired):
                        producer.wait(self.dice.random() * 0.006)
                    producer.kill()
                self.seen["killed"] += 1
                for error in pickle.loads(outbox.read_bytes()):  # noqa: S301 - its own child wrote it
                    asyncio.run(self.replay(shop, error))
        shop.app.close()

    def end_all(self, but: AbstractSet[str] = frozenset()) -> None:
        """Run all waiting tasks once, as a worker does. Tasks of which some are left waiting are at most 1,000."""
        while fences := self.hand.worker.claim(1_000):
            run = [each for each in fences if str(each.task_id) not in but]
            assert set(self.hand.worker.finish(*map(done, run))) <= {"accepted"}
            call(self.db, worker_queries.notify_done([fence.task_id for fence in run], with_results=False))
            self.seen["run"] += len(run)
            if len(run) < len(fences):
                self.hand.worker.release(*(each for each in fences if each not in run))
                return

    def check(self) -> None:
        """Every accepted task exists once, ran once, and nothing else exists."""
        self.end_all()
        ended = Counter(map(str, column(self.db, "select id from horsies.history")))
        assert column(self.db, "select count(*) from horsies.tasks") == [0]
        assert set(ended) == self.accepted
        assert set(ended.values()) <= {1}
        assert column(self.db, "select max(attempt) from horsies.history") == [1]
        assert self.seen["run"] == len(self.accepted)


def run_all(run: Replays, proxy: Proxy, urls: tuple[str, str], cuts: int, kills: int) -> Replays:
    """Cut connections and kill producers, and check every promise.

    Args:
        run: The run.
        proxy: The proxy that cuts connections.
        urls: The URLs of the database: one of any kind, and one over TCP.
        cuts: The number of cuts.
        kills: The number of kills.
    """
    near_url, tcp_url = urls
    shop = Shop(config(proxy.url(tcp_url)))

    async def cut_all() -> None:
        try:
            await run.cut(shop, proxy, cuts)
        finally:
            await shop.app.close_async()

    asyncio.run(cut_all())
    run.kill(near_url, kills)
    run.check()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.producer.replays", description=__doc__)
    parser.add_argument("form", nargs="?", choices=("single", "many"), default="single")
    parser.add_argument("--cuts", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    begin_run()
    try:
        run_by_hand(asked)
    finally:
        end_run()


def run_by_hand(asked: argparse.Namespace) -> None:
    """Start a server, and print what happened."""
    with running_server() as server, new_database(server, migrated_template(server)) as url, open_session(url) as db:
        proxy = Proxy(server.tcp_url)
        tcp_url = with_database(server.tcp_url, database_name(url))
        kind = Replays if asked.form == "single" else import_module("tests.producer.replays_many").BulkReplays
        run = run_all(kind(db, asked.seed), proxy, (url, tcp_url), asked.cuts, asked.kills)
        proxy.close()
    sys.stdout.write(f"{len(run.accepted):,} tasks, each once; {dict(run.seen)}; seed {asked.seed}\n")


if __name__ == "__main__":
    main()
