"""Forks in the middle of use: other threads send and wait while a process forks, also inside an event loop."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.producer.shop import LOOPS, Hand
from tests.producer.test_fork import end_everything
from tests.support.sessions import Session, column

ROOT = Path(__file__).parents[2]
WARNINGS = ["-W", "error", "-W", "ignore:This process"]  # Python's warning about forking with threads


@pytest.mark.parametrize("loop", LOOPS)
def test_children_forked_while_threads_send_and_wait(database_url: str, db: Session, hand: Hand, *, loop: str) -> None:
    command = [sys.executable, *WARNINGS, "-m", "tests.producer.forking_in_use", database_url, loop]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as producer:
        while producer.poll() is None:
            end_everything(hand, db)
        output, errors = producer.communicate()
    assert errors == ""
    assert producer.returncode == 0
    lines: list[dict[str, Any]] = list(map(json.loads, output.splitlines()))
    assert [line["codes"] for line in lines if "codes" in line] == [[0] * 3]
    children = [line for line in lines if "child" in line]
    assert sorted(line["child"] for line in children) == [0, 1, 2]
    sockets = [tuple(line["backends"]) for line in children]
    assert len({backend for each in sockets for backend in each}) == sum(map(len, sockets)), "a socket was shared"
    [parent] = [line for line in lines if "sent" in line]
    sent: list[str] = [*parent["sent"], *(task_id for line in children for task_id in line["ids"])]
    assert len(sent) == len(set(sent))
    assert set(sent) == {str(each) for each in column(db, "select id from horsies.history")}
    assert column(db, "select count(*) from horsies.tasks") == [0]
