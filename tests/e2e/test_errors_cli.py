"""``horsies errors``: the most frequent errors of a time, and how much is known."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, failed, request, send
from tests.support.sessions import call, freeze_clock, move_clock
from tests.support.shell import Shell


def sample(shell: Shell) -> None:
    move_clock(shell.session, 60)
    assert all(iter(lambda: call(shell.session, monitoring_queries.sample(None)), 0))
    assert all(iter(lambda: call(shell.session, monitoring_queries.sample_errors()), 0))


@pytest.fixture
def broken(shell: Shell) -> Shell:
    """Three attempts have failed: two of one group, one of another."""
    freeze_clock(shell.session, datetime.now(UTC))
    sample(shell)
    worker = DrivenWorker(shell.session, names=["add", "mail"])
    for name, code in (("add", "BOOM"), ("add", "BOOM"), ("mail", "BANG")):
        send(shell.session, request(name=name))
        worker.finish(failed(worker.claim_one(), code))
    sample(shell)
    return shell


def groups(shell: Shell, *options: str) -> list[dict[str, Any]]:
    return json.loads(shell.run("errors", *options, "--json").stdout)["groups"]


def test_the_most_frequent_come_first(broken: Shell) -> None:
    head, *rows = broken.run("errors").stdout.splitlines()
    assert head.split()[:5] == ["NUMBER", "TASK", "NAME", "ERROR", "CODE"]
    assert [row.split()[:3] for row in rows] == [["2", "add", "BOOM"], ["1", "mail", "BANG"]]
    assert [each["number"] for each in groups(broken)] == [2, 1]
    assert groups(broken, "--name=mail") == groups(broken, "--error-code=BANG") != []
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    assert groups(broken, f"--since={later}", f"--until={later}") == []


def test_what_is_not_shown_is_said(broken: Shell) -> None:
    ended = broken.run("errors", "--limit=1")
    assert "there are more errors: give a higher --limit" in ended.stderr
    assert "failures before 20" in ended.stderr
    move_clock(broken.session, 3600)
    assert "are not counted yet: start a worker" in broken.run("errors").stderr
    assert "no such errors" in broken.run("errors", "--name=nothing").stderr


def test_before_maintenance_has_run(shell: Shell) -> None:
    assert "no failures are counted yet" in shell.run("errors").stderr
