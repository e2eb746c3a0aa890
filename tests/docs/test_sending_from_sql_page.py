"""The examples of docs/sending-from-sql.md work."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.docs.test_documents import ROOT, blocks
from tests.support.commands import horsies
from tests.support.declared import declaration, declare
from tests.support.environment import URL_VARIABLE
from tests.support.sessions import Session, column, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

PAGE = ROOT / "docs" / "sending-from-sql.md"
TEXT = PAGE.read_text()
UUID = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
ROLE = "webshop"
RESULTS = "select result from horsies.history where task_name = 'send_receipt' order by id"


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    with open_session(database_url) as session:
        yield session
        session.execute("reset role")
        if scalar(session, "select to_regrole(%s) is not null", ROLE):
            session.execute(f"drop owned by {ROLE}".encode())
            session.execute(f"drop role {ROLE}".encode())


@pytest.fixture
def instance(database_url: str, tmp_path: Path) -> WorkerProcess:
    """The app of the page, as the module of the name that the page uses, and a worker that is started later."""
    (tmp_path / "instance.py").write_text("\n".join([*blocks(PAGE, "python"), 'app.discover_tasks(["instance"])']))
    assert horsies(tmp_path, "db", "register", "instance:app", **{URL_VARIABLE: database_url}).returncode == 0
    return WorkerProcess(["worker", "instance:app"], tmp_path, {URL_VARIABLE: database_url})


@pytest.mark.timeout(120)
def test_the_examples_work(instance: WorkerProcess, session: Session) -> None:
    try:
        send, look, options, once, trigger, staging, send_all, unknown, unnotified, role = blocks(PAGE, "sql")
        task_id = scalar(session, send)
        for statement in (options, trigger, staging):
            session.execute(statement.encode())
        with session.cursor().copy("copy staging from stdin csv") as copy:
            copy.write("8,bob@example.org\n9,eve@example.org\n")
        assert scalar(session, send_all) == 2
        assert scalar(session, once) == scalar(session, once)
        assert scalar(session, unknown)
        quiet_id = scalar(session, unnotified)
        look = look.replace(UUID, str(task_id))
        wait_until(lambda: session.execute(look.encode()).fetchall() == [("COMPLETED", b"8")], describe="a result")
        wait_until(lambda: len(column(session, RESULTS)) == 3, describe="three receipts")
        assert column(session, RESULTS) == [
            b'"receipt of order 1 to ada@example.org"',
            b'"receipt of order 8 to bob@example.org"',
            b'"receipt of order 9 to eve@example.org"',
        ]
        wait_until(lambda: scalar(session, "select count(*) from horsies.history where id = %s", quiet_id) == 1)
        session.execute(role.encode())
        session.execute(f"set role {ROLE}".encode())
        assert scalar(session, send)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(look.encode())
    finally:
        instance.kill_all()


def test_the_table_of_options_lists_all_arguments(session: Session) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", TEXT, re.MULTILINE)
    arguments = "select pg_get_function_identity_arguments('horsies.send'::regproc)"
    shown = ", ".join(f"{name} {kind}" for name, kind in rows)
    assert shown.replace("int,", "integer,").replace("timestamptz", "timestamp with time zone") == scalar(
        session, arguments
    )


def test_the_error_is_shown_as_it_is(session: Session) -> None:
    declare(session, declaration("add_numbers", required=["a", "b"]))
    [statement] = re.findall(r"For example, `(select .*)`:", TEXT)
    error, hint = re.findall(r"^ERROR:  (.*)\nHINT:  (.*)$", TEXT, re.MULTILINE)[0]
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        session.execute(statement.encode())
    assert (refused.value.diag.message_primary, refused.value.diag.message_hint) == (error, hint)
