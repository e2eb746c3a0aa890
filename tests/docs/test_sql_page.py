"""docs/sql.md describes the schema as it is, and its statements work."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from horsies.db import sqlfiles
from horsies.db.rights import Kind, grant_sql
from tests.docs.test_documents import ROOT, blocks
from tests.support.environment import URL_VARIABLE, load_tasks
from tests.support.factories import send
from tests.support.roles import acting_as, new_role
from tests.support.sessions import SCHEMA, Session, column, open_session
from tests.support.workers import WorkerProcess

PAGE = ROOT / "docs" / "sql.md"
TEXT = PAGE.read_text()
UUID = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
NOT_IN_HISTORY = {"held", "worker_deaths", "lease_until", "holds_unique", "turn_key"}
READER = "horsies_reader"
COLUMNS = """
    select attname from pg_attribute
    where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
"""
TABLES = """
    select relname::text from pg_class
    where relnamespace = to_regnamespace(%s) and relkind in ('r', 'p', 'v', 'm') and relname !~ '^history_'
"""
SIGNATURES = """
    select proname || '(' || pg_get_function_identity_arguments(oid) || ')' from pg_proc
    where pronamespace = to_regnamespace(%s)
"""
APP = """
import os
from horsies import (
    AppConfig, CustomQueueConfig, Horsies, PostgresConfig, QueueMode, RetryPolicy, TaskError, TaskResult,
)

broker = PostgresConfig(database_url=os.environ["HORSIES_DATABASE_URL"])
queues = [CustomQueueConfig(name=name, max_concurrency=None) for name in ("emails", "invoices")]
app = Horsies(AppConfig(broker=broker, queue_mode=QueueMode.CUSTOM, custom_queues=queues))
once_more = RetryPolicy.fixed([1], auto_retry_for=["UNHANDLED_EXCEPTION"])


@app.task("send_email", queue_name="emails", retry_policy=once_more)
def send_email(to: str) -> TaskResult[str, TaskError]:
    if "@" not in to:
        raise ValueError(to)
    return TaskResult(ok=to)


@app.task("print_invoice", queue_name="invoices")
def print_invoice(number: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=number)


app.discover_tasks(["shop"])
"""


def section(title: str, level: int = 2) -> str:
    return re.split(rf"\n#{{1,{level}}} ", TEXT.split(f"\n{'#' * level} {title}\n")[1])[0]


def statements(text: str) -> list[str]:
    found = [each for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) for each in block.split(";\n")]
    return [each for each in found if each.strip()]


def listed_columns(table: str) -> set[str]:
    rows = re.findall(r"^\| (`.+?`) \| ", section(f"`{table}`", 3), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    with open_session(database_url) as session:
        yield session


def test_every_table_has_a_section_with_all_of_its_columns(session: Session) -> None:
    tables = column(session, TABLES, SCHEMA)
    described = {table: listed_columns(table) for table in tables}
    described["history"] |= described["tasks"] - NOT_IN_HISTORY
    assert {table: set(column(session, COLUMNS, f"{SCHEMA}.{table}")) for table in tables} == described
    assert set(re.findall(r"^### `(\w+)`$", TEXT, re.MULTILINE)) == set(tables)


def test_the_functions_to_call_exist_with_these_arguments(session: Session) -> None:
    shown = re.findall(r"^\| `(\w+\(.*?\))` \| ", section("Functions to call"), re.MULTILINE)
    assert len(shown) > 15
    found = column(session, SIGNATURES, SCHEMA)
    exact = {each.replace("timestamp with time zone", "timestamptz").replace("integer", "int") for each in found}
    assert set(shown) - exact == set()


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Ended, retried and waiting tasks and a run: ids by name."""
    (tmp_path / "shop.py").write_text(APP)
    module = load_tasks(tmp_path / "shop.py", {URL_VARIABLE: database_url})
    worker = WorkerProcess(["worker", "shop:app", "--queues=emails"], tmp_path, {URL_VARIABLE: database_url})
    try:
        worker.wait_until_ready()
        for to in ("ada@example.com", "nobody"):
            module.send_email.send(to).unwrap().get(timeout_ms=20_000)
        run = module.app.workflow("billing", [module.print_invoice.node()(number=1)], definition_key="billing.v1")
        run.start().unwrap()
        yield {"waiting": module.print_invoice.send(2).unwrap().task_id}
    finally:
        module.app.close()
        worker.kill_all()


@pytest.fixture
def reader(session: Session) -> Iterator[None]:
    """The role of the page, which exists in all databases of the server."""
    for statement in statements(section("A role that only reads")):
        session.execute(statement.encode())
    yield
    session.execute("reset role")
    session.execute(f"drop owned by {READER}".encode())
    session.execute(f"drop role {READER}".encode())


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("reader")
def test_the_queries_work_and_a_role_that_only_reads_may_make_those_of_tables(
    shop: dict[str, str], session: Session
) -> None:
    queries = [*statements(section("Useful queries")), *statements(section("Functions that read", 3))]
    assert len(queries) > 8
    for query in queries:
        role = "none" if re.search(r"horsies\.\w+\(", query) else READER
        session.execute(f"set role {role}".encode())
        rows = session.execute(query.replace(UUID, shop["waiting"]).encode()).fetchall()
        assert rows or "'RUNNING'" in query, query
    session.execute(f"set role {READER}".encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(f"select {SCHEMA}.cancel('{shop['waiting']}')".encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(f"delete from {SCHEMA}.tasks".encode())


def test_the_queries_of_views_work_with_the_rights_of_a_viewer(session: Session) -> None:
    send(session)
    queries = statements(section("Views"))
    assert len(queries) == 3
    with new_role(session) as role:
        session.execute(grant_sql(SCHEMA, role, [Kind.VIEWER]).encode())
        with acting_as(session, role):
            comments, throughput, latest = [session.execute(query.encode()).fetchall() for query in queries]
    assert [(view, comment.split(" of ")[0]) for view, comment in comments] == [
        (view, "Version 1") for view in sqlfiles.views()
    ]
    assert (throughput, len(latest)) == ([], 1)


def test_every_view_is_described() -> None:
    shown = re.findall(r"^### `(\w+)`$", section("Views"), re.MULTILINE)
    assert sorted(shown) == list(sqlfiles.views())


@pytest.mark.timeout(120)
def test_the_functions_that_change_something_work(shop: dict[str, str], session: Session) -> None:
    called = statements(section("Functions that change something", 3))
    assert [session.execute(sql.replace(UUID, shop["waiting"]).encode()).fetchone() for sql in called] == [
        ("cancelled",),
        ("",),
        (True,),
        (True,),
    ]


def test_the_page_is_no_second_copy_of_the_list_of_functions() -> None:
    assert "<!-- server functions -->" in TEXT
    assert len(blocks(PAGE, "sql")) > 10
