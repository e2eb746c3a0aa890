"""A process that has used the app forks: parent and children continue, and share no connections."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from horsies.db.queries import worker as worker_queries
from tests.producer.shop import LOOPS, Hand
from tests.support.factories import done
from tests.support.sessions import Session, call, column, scalar

if TYPE_CHECKING:
    from uuid import UUID

ROOT = Path(__file__).parents[2]
DEVELOPMENT = ["-X", "dev", "-W", "error", "-W", "ignore:This process"]  # Python's warning about forking with threads


def end_everything(hand: Hand, db: Session) -> None:
    """End all waiting tasks, as a worker does."""
    fences = hand.worker.claim(100)
    ids: list[UUID] = [fence.task_id for fence in fences]
    if ids:
        hand.worker.finish(*map(done, fences))
        call(db, worker_queries.notify_done(ids, with_results=False))


@pytest.mark.parametrize("loop", LOOPS)
def test_parent_and_children(database_url: str, db: Session, hand: Hand, *, loop: str) -> None:
    command = [sys.executable, *DEVELOPMENT, "-m", "tests.producer.forking", database_url, loop]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as producer:
        while producer.poll() is None:
            end_everything(hand, db)
        output, errors = producer.communicate()
    assert errors == ""
    assert producer.returncode == 0
    seen: dict[str, Any] = dict(json.loads(line) for line in output.splitlines())
    assert seen.pop("codes") == [7, 8, 0]
    assert set(seen) == {"first", "child", "process", "last"}
    assert seen["first"] == seen["last"], "a child closed what was not its own"
    assert len(set(seen.values())) == 3
    assert column(db, "select count(*) from horsies.tasks") == [0]


def test_a_child_that_lives_on_keeps_nothing_of_its_parent(tcp_database_url: str, db: Session) -> None:
    """The server sees the end of the parent's connections at once, and the parent can close its app."""
    port = str(urlsplit(tcp_database_url).port)
    command = [sys.executable, *DEVELOPMENT, "-m", "tests.producer.forking_long", tcp_database_url, port]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""
    seen: dict[str, list[int]] = json.loads(done.stdout)
    assert len(seen["parent"]) == 4, "idle in both pools, in a transaction, and listening"
    assert (seen["child"], seen["closed"]) == ([], [])
    assert scalar(db, "select count(*) from horsies.tasks") == 20_002
