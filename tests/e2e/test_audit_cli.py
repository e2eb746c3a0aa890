"""Every command that operates the queue leaves one record, and ``horsies audit`` shows it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from horsies.monitoring.audit import ACTIONS, current_user
from tests.support import runs
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.factories import define, ended_task, numbered_id, request, send
from tests.support.sessions import SCHEMA
from tests.support.shell import Shell

APP = f"""
from horsies import *
app = Horsies(AppConfig(broker=PostgresConfig(schema={SCHEMA!r})))
"""
ELSEWHERE = {
    *("task.return", "worker.declare_dead"),  # only the broker object; see tests/producer/test_audit.py
    *("task.send", "bulk.preview", "bulk.start", "bulk.stop", "bulk.resume"),  # only the web interface; see tests/web
}
"""Actions that no command has."""

type Command = Callable[[Shell], tuple[tuple[object, ...], str]]


@pytest.fixture
def shop(shell: Shell) -> Shell:
    """An app with a keyed queue, a schedule, a run, a waiting task and an ended one."""
    (shell.folder / "shop.py").write_text(APP)
    shell.session.execute("insert into horsies.queues (name, turns) values ('default', 'on')")
    define(shell.session)
    return shell


def records(shop: Shell, *options: str) -> list[dict[str, Any]]:
    return shop.json("audit", "list", "shop:app", *options)


def test_every_command_leaves_one_record(shop: Shell) -> None:
    first, second = ended_task(shop.session, request(numbered_id(3))), ended_task(shop.session, request(numbered_id(4)))
    third = ended_task(shop.session, request(numbered_id(5), name="third"))
    waiting = send(shop.session, request(numbered_id(1)))
    by_name = send(shop.session, request(numbered_id(2), name="other"))
    run = runs.start(shop.session, runs.node())
    commands: list[tuple[str, object, tuple[object, ...]]] = [
        ("task.cancel", waiting, ("tasks", "cancel", "shop:app", waiting)),
        ("task.cancel", by_name, ("tasks", "cancel", "shop:app", "--name=other", "--yes")),
        ("task.rerun", first, ("tasks", "rerun", "shop:app", first)),
        ("task.rerun", second, ("tasks", "rerun", "shop:app", second, "--again")),
        ("task.rerun", third, ("tasks", "rerun", "shop:app", "--name=third", "--status=completed", "--yes")),
        ("queue.pause", "default", ("queues", "pause", "shop:app", "default")),
        ("queue.resume", "default", ("queues", "resume", "shop:app", "default")),
        ("queue.cap", "default", ("queues", "cap", "shop:app", "default", 3)),
        ("queue.limit", "default", ("queues", "limit", "shop:app", "default", "--rate=5/s")),
        ("key.pause", "tenant", ("keys", "pause", "shop:app", "default", "tenant")),
        ("key.resume", "tenant", ("keys", "resume", "shop:app", "default", "tenant")),
        ("schedule.pause", "nightly", ("schedules", "pause", "shop:app", "nightly")),
        ("schedule.resume", "nightly", ("schedules", "resume", "shop:app", "nightly")),
        ("schedule.run", "nightly", ("schedules", "run", "shop:app", "nightly")),
        ("run.pause", run, ("workflows", "pause", "shop:app", run)),
        ("run.resume", run, ("workflows", "resume", "shop:app", run)),
        ("run.cancel", run, ("workflows", "cancel", "shop:app", run)),
    ]
    for action, subject, command in commands:
        shop.run(*command)
        [record] = shop.session.execute("delete from horsies.audit returning action, who, subjects").fetchall()
        assert record == (action, current_user(), [str(subject)]), command
    assert {action for action, *_ in commands} == set(ACTIONS) - ELSEWHERE


def test_the_list_names_who_and_can_be_filtered(shop: Shell) -> None:
    environment = {URL_VARIABLE: shop.url, "HORSIES_WHO": "ci"}
    assert horsies(shop.folder, "queues", "pause", "shop:app", "default", **environment).returncode == 0
    shop.run("--who", "ada", "queues", "resume", "shop:app", "default")
    resumed, paused = records(shop)
    assert (paused["who"], paused["action"], paused["subjects"]) == ("ci", "queue.pause", ["default"])
    assert (resumed["who"], resumed["action"], resumed["details"]) == ("ada", "queue.resume", None)
    assert UUID(resumed["id"]) > UUID(paused["id"])
    assert records(shop, "--by=ci") == records(shop, "--action=queue.pause") == [paused]
    assert records(shop, f"--since={resumed['acted_at']}", "--subject=default") == [resumed]
    assert records(shop, f"--before={resumed['id']}") == [paused]
    limited = shop.run("audit", "list", "shop:app", "--limit=1")
    assert "queue.resume" in limited.stdout
    assert f"--before {resumed['id']}" in limited.stderr
    assert "there is no action 'pause'" in shop.run("audit", "list", "shop:app", "--action=pause", code=1).stderr
    assert shop.run("audit", "list", "shop:app", "--by=nobody").stderr == "no such actions\n"


def test_hostile_names_cannot_control_the_terminal(shop: Shell) -> None:
    shop.run("--who", "ada\x1b[2J\nforged", "keys", "pause", "shop:app", "default", "\x1b[31m", "--reason=\x1b]0;x\x07")
    shown = shop.run("audit", "list", "shop:app").stdout
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2
    [record] = records(shop)
    assert record["subjects"] == ["\x1b[31m"]
