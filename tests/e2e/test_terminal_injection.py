"""No command lets a text from the database control the terminal or forge a line, whatever the text contains."""

import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

import horsies.cli
from horsies.cli.main import COMMANDS, load_command
from horsies.rendering import printable_line
from tests.support import runs
from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker, define, done, failed, numbered_id, prefetch, request, send
from tests.support.sessions import NOON, SCHEMA, Session, column
from tests.support.shell import Shell
from tests.support.workers import clean_environment

FORGED = "FORGED"
JOINERS = {"\u200c", "\u200d"}  # Persian, Indic scripts and emoji need them
VISIBLE_SIGNS = {"\u0600", "\u0601", "\u0602", "\u0603", "\u0604", "\u0605", "\u06dd", "\u070f", "\u0890", "\u0891"} | {
    "\u08e2",
    "\U000110bd",
    "\U000110cd",
}
CONTROLS = (
    {
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Cs"}
    }
    - JOINERS
    - VISIBLE_SIGNS
)
STORABLE = "".join(sorted(each for each in CONTROLS if each not in "\0\n\t" and unicodedata.category(each) != "Cs"))
HOSTILE = f"x\x1b]0;owned\x07\x1b[2J{STORABLE}\n{FORGED} line\r{FORGED}\t\u2028{FORGED}"
IN_JSON = json.dumps(
    {
        "error_code": HOSTILE,
        "message": HOSTILE,
        "data": {HOSTILE: [HOSTILE]},
        "exception": {"type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE},
    }
).encode()
WITHOUT_TEXTS = {
    ("worker",): "serves an app",
    ("scheduler",): "serves an app",
    ("dev",): "serves an app",
    ("web",): "serves pages: tests/web",
    ("db", "migrate"): "prints numbers of migrations",
    ("db", "sql"): "prints the SQL files of the package",
    ("db", "grant"): "prints names of roles, quoted",
    ("db", "revoke"): "prints names of roles, quoted",
    ("schedules", "next"): "reads no database",
}
APP = """
from horsies import *
app = Horsies(AppConfig(broker=PostgresConfig(schema={schema!r})))

@app.task("hostile")
def hostile(value: str) -> TaskResult[str, TaskError]:
    return TaskResult(err=TaskError(error_code={name!r}))
"""
RUN_ALL = """
import json, sys
from typer.testing import CliRunner
from horsies.cli.main import app
from horsies.errors import HorsiesError
from horsies.rendering import render_error

answers = []
for args in json.load(sys.stdin):
    ended = CliRunner().invoke(app, args, input="y\\n")
    shown = ended.stdout + "\\n" + ended.stderr
    if isinstance(ended.exception, HorsiesError):
        shown += render_error(ended.exception, color=False)
    elif ended.exception is not None and not isinstance(ended.exception, SystemExit):
        shown += "Traceback: " + ascii(ended.exception)
    answers.append((ended.stdout, shown))
print(json.dumps(answers))
"""


def spoil(session: Session, *, keep: tuple[str, ...]) -> int:
    """Write the hostile text into every column of text that takes it; returns how many did."""
    columns = session.execute(
        "select c.relname::text, a.attname::text, a.atttypid::regtype::text from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = %s::regnamespace and c.relkind in ('r', 'p') and not c.relispartition"
        " and a.atttypid in ('text'::regtype, 'text[]'::regtype)",
        (f'"{SCHEMA}"',),
    ).fetchall()
    spoilt = 0
    for table, name, kind in columns:
        if table == "schema_version" or name in keep:
            continue
        value: Any = [HOSTILE] if kind == "text[]" else HOSTILE
        statement = SQL("update {} set {} = %s").format(Identifier(SCHEMA, table), Identifier(name))
        try:
            with session.transaction():
                spoilt += session.execute(statement, (value,)).rowcount > 0
        except psycopg.errors.IntegrityError:
            continue  # a state, or a name that has to be unique
    return spoilt


def add_error_group(session: Session) -> None:
    """Add the error group that maintenance makes of a failed attempt, with one failure in this hour."""
    session.execute(
        "insert into horsies.sampling (first_minute, sampled_until, errors_since) select t, t, t from horsies.now() t"
    )
    session.execute(
        "with g as (insert into horsies.error_groups (task_name, digest, error_code, frame, message, is_other,"
        " first_seen, last_seen, example_id) select '', '', '', '', '', false, t, t, %s"
        " from horsies.now() t returning id)"
        " insert into horsies.error_counts select 3600, date_trunc('hour', horsies.now()), g.id, '', '', 1 from g",
        (numbered_id(1),),
    )


@pytest.fixture
def ids(shell: Shell) -> dict[str, UUID]:
    """Tasks, a run, a schedule and workers, with the hostile text wherever it is accepted."""
    session, waiting = shell.session, request(name=HOSTILE, queue=HOSTILE, args=IN_JSON)
    ended = [request(name=HOSTILE, queue=HOSTILE, args=IN_JSON) for _ in range(2)]
    for each in ended:
        send(session, each)
    worker = DrivenWorker(session, queues=[HOSTILE], names=[HOSTILE])
    first, second = worker.claim(2)
    worker.finish(failed(first, HOSTILE)._replace(result=IN_JSON), done(second, IN_JSON))
    send(session, waiting)
    held = send(session, request(name=HOSTILE, queue=HOSTILE, args=IN_JSON))
    prefetch(session, worker.claim_one())
    define(session, HOSTILE, due=NOON)
    run_id = runs.start(session, runs.node(), runs.node(0))
    add_error_group(session)
    assert spoil(session, keep=("status", "queue", "task_name")) > 15
    return {"failed": first.task_id, "done": second.task_id, "waiting": waiting.task_id, "held": held, "run": run_id}


def commands(ids: dict[str, UUID], names: list[str]) -> list[list[str]]:
    """Every command that shows something from the database, in every form of output."""
    app, [name, *_] = "hostile_app:app", names
    tasks = [str(ids[key]) for key in ("failed", "done", "waiting", "held")]
    run = str(ids["run"])
    reads = [
        ["check", app, "--live"],
        ["tasks", "list", app],
        *(["tasks", "show", app, task] for task in tasks),
        ["queues", "list", app],
        ["queues", "limit", app, "default"],
        ["keys", "list", app, "default"],
        ["schedules", "list", app],
        ["workflows", "list", app],
        ["workflows", "show", app, run],
        ["workers", app],
        ["errors", app],
        ["top", app],
        ["doctor", app],
        ["db", "status", app],
        ["db", "url", app],
    ]
    return [
        *reads,
        *([*read, "--json"] for read in reads),
        ["tasks", "list", app, f"--name={HOSTILE}z"],
        ["tasks", "list", app, f"--queue={HOSTILE}z"],
        *(["why", app, each] for each in (*tasks, run)),
        ["send", app, "hostile", HOSTILE],
        ["send", app, f"{HOSTILE}z", HOSTILE],
        ["send", app, "hostile", HOSTILE, HOSTILE],
        *(["queues", action, app, "default"] for action in ("pause", "resume", "cap")),
        ["queues", "pause", app, f"{HOSTILE}z"],
        ["queues", "limit", app, "default", f"--rate={HOSTILE}"],
        *(["keys", action, app, "default", HOSTILE] for action in ("pause", "resume")),
        *(["schedules", action, app, each] for action in ("pause", "resume", "run") for each in (name, f"{HOSTILE}z")),
        *(["workflows", action, app, run] for action in ("pause", "resume", "cancel")),
        ["workflows", "show", app, HOSTILE],
        ["db", "repair", app, "--yes"],
        ["db", "register", app],
        ["tasks", "rerun", app, str(ids["failed"])],
        ["tasks", "rerun", app, f"--name={HOSTILE}"],
        ["tasks", "show", app, HOSTILE],
        ["tasks", "cancel", app, str(ids["held"])],
        ["tasks", "cancel", app, f"--name={HOSTILE}"],
        ["metrics", app, "--once"],
        ["audit", "list", app],
        ["audit", "list", app, "--json"],
        ["audit", "list", app, f"--by={HOSTILE}"],
        ["audit", "list", app, f"--action={HOSTILE}"],
    ]


@pytest.mark.timeout(240)
def test_no_text_controls_the_terminal_or_forges_a_line(shell: Shell, ids: dict[str, UUID]) -> None:
    (shell.folder / "hostile_app.py").write_text(APP.format(schema=SCHEMA, name=HOSTILE))
    run = commands(ids, column(shell.session, "select name from horsies.schedules"))
    assert leaves() - WITHOUT_TEXTS.keys() == {
        tuple(each[:2]) if tuple(each[:2]) in leaves() else (each[0],) for each in run
    }
    ended = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        cwd=shell.folder,
        env=clean_environment(**{URL_VARIABLE: shell.url}),
        input=json.dumps(run),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    answers = json.loads(ended.stdout)
    for args, (stdout, shown) in zip(run, answers, strict=True):
        assert "Traceback" not in shown, (args, shown)
        assert not (CONTROLS - {"\n", "\t"}) & set(shown), args
        assert not [line for line in shown.splitlines() if line.startswith(FORGED)], (args, shown)
        if "--json" in args:
            assert stdout, (args, shown)
            json.loads(stdout)
    assert sum("owned" in shown for _, shown in answers) > len(answers) / 2


def leaves() -> set[tuple[str, ...]]:
    """All commands, as their words."""
    found: set[tuple[str, ...]] = set()
    for name in COMMANDS:
        below = getattr(load_command(name), "commands", None)
        found |= {(name,)} if below is None else {(name, each) for each in below}
    return found


def test_every_character_that_a_terminal_would_interpret_is_escaped() -> None:
    for character in CONTROLS:
        shown = printable_line(f"a{character}b")
        assert shown.isascii()
        assert len(shown) > 3


def test_commands_print_by_the_functions_of_one_module() -> None:
    """These functions escape texts. The others print the version, and the SQL files of the package."""
    others = {"main.py": 1, "db.py": 1, "grants.py": 2}
    folder = Path(horsies.cli.__file__).parent
    calls = re.compile(r"\b(?:typer\.(?:echo|secho)|print)\(")
    found = {file.name: len(calls.findall(file.read_text())) for file in folder.glob("*.py")}
    assert {name: count for name, count in found.items() if count and name != "output.py"} == others
