"""Faults that other users of the same server cause: row locks, a full notification queue, and garbage in notices."""

import json
import random
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg

from tests.chaos.cluster import Cluster

CHANNELS = ("horsies.wake", "horsies.done", "horsies.cancel")
_ROLE = "chaos_stranger"
_ROLE_PASSWORD = "any-password"
_SHORT_LOCK_S = (0.5, 2.0)
_LONG_LOCK_S = (2.0, 15.0)
_FULL_QUEUE_S = (1.0, 6.0)
_NOTICES_EVERY_S = 0.01
_LOOK_EVERY_S = 0.1
_MALFORMED = 0.3
_LIVE = "select id from horsies.tasks order by id desc limit 20"
_ROWS: dict[str, LiteralString] = {
    "tasks": "select id from horsies.tasks where status = 'RUNNING' order by id limit 20",
    "runs": "select id from horsies.workflows where status = 'RUNNING' and parent_id is null order by id limit 5",
}
_LOCKS: dict[str, LiteralString] = {
    "tasks": "select id from horsies.tasks where id = any (%s) order by id for update",
    "runs": "select id from horsies.workflows where id = any (%s) order by id for update",
}
_FLOOD = "select pg_notify('chaos', repeat('x', 7000) || n) from generate_series(1, 20) as n"


class Strangers:
    """Other users of the server, who can do what any role with access to the database can do."""

    def __init__(self, cluster: Cluster) -> None:
        """Prepare the faults for a cluster."""
        self._cluster = cluster

    def lock_rows(self, rng: random.Random) -> bool:
        """Lock the rows of running tasks, or of workflow runs, in a transaction that stays open for a while."""
        for kind in rng.sample(sorted(_ROWS), len(_ROWS)):
            with self._cluster.connect() as session:
                found = [row[0] for row in session.execute(_ROWS[kind])]
                if not found:
                    continue
                wanted = rng.sample(found, rng.randint(1, len(found)))
                with self._cluster.disturbed(), session.transaction():
                    session.execute("set local lock_timeout = '1s'")
                    locked = session.execute(_LOCKS[kind], (wanted,)).fetchall()
                    if locked:
                        time.sleep(rng.uniform(*rng.choice([_SHORT_LOCK_S, _LONG_LOCK_S])))
                        return True
        return False

    def fill_notification_queue(self, rng: random.Random) -> bool:
        """Fill the notification queue of the server: a listener stays idle in a transaction while others notify."""
        with self._cluster.connect() as listener, self._cluster.connect() as flooder, self._cluster.disturbed():
            listener.execute("listen chaos")
            with listener.transaction():
                listener.execute("select 1")
                while True:
                    try:
                        flooder.execute(_FLOOD)
                    except psycopg.errors.ProgramLimitExceeded:
                        break
                time.sleep(rng.uniform(*_FULL_QUEUE_S))
        return True


class HostileRole:
    """A role that may connect and has no other right. It sends notices of all kinds all the time.

    It is told the ids of live tasks, so that it can forge cancels and results of them.
    """

    def __init__(self, cluster: Cluster, seed: str) -> None:
        """Prepare the role, which `at_work` creates."""
        self._cluster = cluster
        self._rng = random.Random(f"{seed} hostile")  # noqa: S311
        self._ids: list[UUID] = []
        self._closing = threading.Event()
        self.notices = 0

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Send notices while the body runs."""
        with self._cluster.connect() as session:
            session.execute(f"create role {_ROLE} login password '{_ROLE_PASSWORD}'".encode())
        threads = [threading.Thread(target=work, daemon=True) for work in (self._learn_ids, self._notify)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._closing.set()
            for thread in threads:
                thread.join()

    def _learn_ids(self) -> None:
        while not self._closing.wait(_LOOK_EVERY_S):
            with suppress(psycopg.Error), self._cluster.connect() as session:
                while not self._closing.wait(_LOOK_EVERY_S):
                    self._ids = [row[0] for row in session.execute(_LIVE)]

    def _notify(self) -> None:
        place = urlsplit(self._cluster.observer_url)
        url = place._replace(netloc=f"{_ROLE}:{_ROLE_PASSWORD}@{place.hostname}:{place.port}").geturl()
        while not self._closing.wait(_LOOK_EVERY_S):
            with suppress(psycopg.Error), psycopg.connect(url, autocommit=True, connect_timeout=3) as session:
                while not self._closing.wait(_NOTICES_EVERY_S):
                    self._notify_once(session)

    def _notify_once(self, session: psycopg.Connection[Any]) -> None:
        notice = forged_notice(self._rng, self._ids)
        with suppress(psycopg.errors.ProgramLimitExceeded):  # the notification queue is full
            session.execute("select pg_notify(%s, %s)", notice)
            self.notices += 1


def forged_notice(rng: random.Random, ids: list[UUID]) -> tuple[str, str]:
    """Return the channel and the payload of a notice: a forged one about one of the tasks, or a malformed one."""
    channel = rng.choice(CHANNELS)
    task_id = rng.choice(ids) if ids else uuid4()
    if rng.random() < _MALFORMED:
        return channel, _malformed(rng, task_id)
    if channel == "horsies.done":
        completed = f"{task_id.hex} COMPLETED nap\n" + json.dumps("forged")
        failed = f"{task_id.hex} FAILED nap\n" + json.dumps({"error_code": "FORGED", "message": "forged"})
        return channel, rng.choice([completed, failed, task_id.hex, "".join(each.hex for each in ids)])
    return channel, task_id.hex


def _malformed(rng: random.Random, task_id: UUID) -> str:
    return rng.choice(
        [
            f"{task_id.hex} COMPLETED nap\n{{",
            f"{task_id.hex} \n",
            task_id.hex[:-1],
            str(task_id),
            "",
            "\x1b]0;\n\u2028\u202e",
            "ž" * rng.randrange(3000),
        ]
    )
