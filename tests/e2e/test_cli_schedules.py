"""``horsies schedules``, and the methods of the broker that it calls."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from horsies import AppConfig, Horsies, Ok, PostgresConfig
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.factories import define, schedule_state
from tests.support.sessions import NOON, SCHEMA, Session, freeze_clock, open_session, row


@pytest.fixture
def db(database_url: str) -> Iterator[Session]:
    """Yield a session of a database with two schedules."""
    with open_session(database_url) as session:
        freeze_clock(session)
        define(session, "nightly", due=NOON + timedelta(hours=15))
        define(session, "off", due=None)
        yield session


@pytest.fixture
def env(database_url: str) -> dict[str, str]:
    return {URL_VARIABLE: database_url}


@pytest.mark.usefixtures("db")
def test_list_shows_the_schedules(tmp_path: Path, env: dict[str, str]) -> None:
    shown = horsies(tmp_path, "schedules", "list", **env)
    assert shown.returncode == 0
    header, nightly, off = (line.rstrip() for line in shown.stdout.splitlines())
    assert " ".join(header.split()) == "NAME TASK NAME PATTERN TIMEZONE NEXT RUN AT LAST RUN AT RUN COUNT PAUSED"
    assert " ".join(nightly.split()) == "nightly add At 03:00 every day UTC 2031-05-07 03:00:00 UTC 0 False"
    assert " ".join(off.split()) == "off add At 03:00 every day UTC 0 False"
    [first, _] = json.loads(horsies(tmp_path, "schedules", "list", "--json", **env).stdout)
    assert (first["name"], first["next_run_at"], first["paused"]) == ("nightly", "2031-05-07T03:00:00Z", False)


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("Europe/Berlin", "05:00:00 CEST"), ("Asia/Kolkata", "08:30:00 IST"), ("Mars/Base", "03:00:00 UTC")],
)
def test_times_are_those_of_the_schedules_zone(
    db: Session, tmp_path: Path, env: dict[str, str], zone: str, shown: str
) -> None:
    """This applies if the machine knows the zone."""
    db.execute("update horsies.schedules set timezone = %s, last_run_at = next_run_at", (zone,))
    [_, nightly, _] = horsies(tmp_path, "schedules", "list", **env).stdout.splitlines()
    assert nightly.count(f"2031-05-07 {shown}") == 2


def test_pause_resume_and_run(db: Session, tmp_path: Path, env: dict[str, str]) -> None:
    paused = horsies(tmp_path, "schedules", "pause", "nightly", **env)
    assert (paused.returncode, paused.stdout) == (0, "schedule nightly is paused\n")
    assert horsies(tmp_path, "schedules", "pause", "nightly", **env).stdout == "schedule nightly is already paused\n"
    assert schedule_state(db).paused
    sent = horsies(tmp_path, "schedules", "run", "nightly", **env)
    assert (sent.returncode, sent.stdout) == (0, f"{schedule_state(db).last_task_id}\n")
    assert row(db, "tasks", UUID(sent.stdout.strip()))["task_name"] == "add"
    resumed = horsies(tmp_path, "schedules", "resume", "nightly", **env)
    assert (resumed.returncode, resumed.stdout) == (0, "schedule nightly is resumed\n")
    assert schedule_state(db).resumed_at == NOON
    assert horsies(tmp_path, "schedules", "resume", "nightly", **env).stdout == "schedule nightly is already running\n"


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("command", ["pause", "resume", "run"])
def test_an_unknown_schedule_gets_a_suggestion(tmp_path: Path, env: dict[str, str], command: str) -> None:
    done = horsies(tmp_path, "schedules", command, "nightyl", **env)
    assert done.returncode == 1
    assert "there is no schedule 'nightyl'; did you mean 'nightly'?" in done.stderr


def test_next_shows_times_without_a_database(tmp_path: Path) -> None:
    asked = ["30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2026-03-28", "--count", "2"]
    shown = horsies(tmp_path, "schedules", "next", *asked)
    assert shown.stdout.splitlines() == [
        "At 02:30 every day",
        "Sat 2026-03-28 02:30 CET = 01:30 UTC",
        "Sun 2026-03-29 03:00 CEST = 01:00 UTC",
    ]
    assert json.loads(horsies(tmp_path, "schedules", "next", *asked, "--json").stdout) == {
        "expression": "30 2 * * *",
        "words": "At 02:30 every day",
        "next": ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"],
    }


def test_next_explains_days_that_must_both_match(tmp_path: Path) -> None:
    shown = horsies(tmp_path, "schedules", "next", "0 9 13 * fri", "--match=all", "--after=2026-01-01", "--count=2")
    assert shown.stdout.splitlines() == [
        "At 09:00 on the 13th of the month if it is Friday",
        "Fri 2026-02-13 09:00 UTC",
        "Fri 2026-03-13 09:00 UTC",
    ]


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (["30 2 * *"], "five fields"),
        (["61 2 * * *"], "bad minute"),
        (["30 2 * * *", "--timezone", "Berlin"], "did you mean 'Europe/Berlin'?"),
    ],
)
def test_next_refuses_impossible_expressions(tmp_path: Path, asked: list[str], problem: str) -> None:
    done = horsies(tmp_path, "schedules", "next", *asked)
    assert done.returncode == 1
    assert done.stderr.startswith("error[HRS-205]: ")
    assert problem in done.stderr
    assert "-->" not in done.stderr


def test_a_program_can_do_the_same(db: Session, database_url: str) -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url=database_url, schema=SCHEMA)))
    broker = app.get_broker()

    async def use() -> None:
        known = (await broker.get_schedules()).unwrap()
        assert [state.name for state in known] == ["nightly", "off"]
        assert await broker.pause_schedule("nightly") == await broker.resume_schedule("nightly") == Ok(True)
        assert await broker.pause_schedule("no") == await broker.run_schedule("no") == Ok(None)
        task_id = (await broker.run_schedule("nightly")).unwrap()
        assert task_id == str(schedule_state(db).last_task_id)
        await app.close_async()

    asyncio.run(use())
