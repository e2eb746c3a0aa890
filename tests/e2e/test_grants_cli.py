"""`horsies db grant | revoke | status`, `check --live` and `doctor` about the rights of roles."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from horsies.config.postgres import DEFAULT_SCHEMA
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.factories import ended_task, request, send
from tests.support.roles import HAS_ROLES, new_role
from tests.support.server import PASSWORD
from tests.support.sessions import SCHEMA, Session, column, open_session, scalar
from tests.support.shell import Shell

pytestmark = pytest.mark.skipif(
    SCHEMA != DEFAULT_SCHEMA or HAS_ROLES, reason="the tests grant rights themselves, in the default schema"
)


@pytest.fixture
def role(shell: Shell) -> Iterator[str]:
    """A role that can log in, without any rights."""
    with new_role(shell.session) as name:
        shell.session.execute(f"alter role {name} login password '{PASSWORD}'".encode())
        yield name


@pytest.fixture
def as_role(shell: Shell, role: str, tcp_database_url: str) -> Shell:
    """A shell whose environment names the database with that role."""
    url = re.sub(r"//[^@]+@", f"//{role}:{PASSWORD}@", tcp_database_url)
    return Shell(shell.folder, url, shell.session)


def rights_findings(shell: Shell) -> list[tuple[str, str]]:
    """The problems with rights that the doctor reports: what it found, and the fix."""
    found = json.loads(horsies(shell.folder, "doctor", "--json", **{URL_VARIABLE: shell.url}).stdout)
    return [(each["found"], each["fix"]) for each in found if each["look"] == "rights" and each["fix"]]


def test_a_role_is_granted_shown_and_revoked(shell: Shell, as_role: Shell, role: str) -> None:
    as_role.run("send", "app:app", "add", code=1)
    for _ in range(2):
        assert shell.run("db", "grant", "--producer", role).stdout == f"granted to '{role}': producer\n"
    shell.run("db", "grant", "--viewer", "--with-arguments", role)
    assert f"  {role}: arguments, producer, viewer\n" in shell.run("db", "status").stdout
    assert {"role": role, "kind": "viewer", "role_exists": True} in shell.json("db", "status")["grants"]  # type: ignore[call-overload]
    shell.run("db", "revoke", "--viewer", role)
    assert f"  {role}: producer\n" in shell.run("db", "status").stdout
    shell.run("db", "revoke", role)
    assert role not in shell.run("db", "status").stdout
    functions = "select count(*) from pg_proc p where pronamespace = 'horsies'::regnamespace"
    assert scalar(shell.session, f"{functions} and has_function_privilege(%s, p.oid, 'execute')", role) == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "say what the role is for"),
        (["--with-arguments"], "say what the role is for"),
        (["--worker", "--with-arguments"], "--with-arguments is for --viewer and --operator"),
        (["--worker", "a:b", "c:d"], "give an app and a role, not 3 arguments"),
    ],
)
def test_a_grant_that_is_not_clear_is_refused(shell: Shell, options: list[str], problem: str) -> None:
    said = shell.run("db", "grant", *options, "somebody", code=2).stderr
    assert problem in re.sub(r"[\s│]+", " ", said)


def test_a_role_that_does_not_exist_is_refused(shell: Shell) -> None:
    said = shell.run("db", "grant", "--worker", "no_such_role", code=1).stderr
    assert 'role "no_such_role" does not exist' in said
    assert column(shell.session, "select role_name from horsies.grants") == []


def test_printed_statements_do_the_same(shell: Shell, role: str) -> None:
    printed = shell.run("db", "grant", "--worker", "--sql", role).stdout
    assert column(shell.session, "select kind from horsies.grants") == []
    shell.session.execute(printed.encode())
    by_hand = column(shell.session, _EXECUTABLE, role)
    assert column(shell.session, "select kind from horsies.grants") == ["worker"]
    shell.session.execute(shell.run("db", "revoke", "--sql", role).stdout.encode())
    assert column(shell.session, _EXECUTABLE, role) == []
    shell.run("db", "grant", "--worker", role)
    assert column(shell.session, _EXECUTABLE, role) == by_hand
    shell.session.execute(shell.run("db", "revoke", "--worker", "--sql", role).stdout.encode())
    assert column(shell.session, "select kind from horsies.grants") == []


def test_the_statements_need_no_database(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    for command in (["grant", "--viewer"], ["revoke"]):
        ended = horsies(tmp_path, "db", *command, "--sql", "web", "--database-url", url)
        assert ended.returncode == 0
        assert ended.stdout.startswith("-- Run this as the owner of the schema.")
        assert '"web";' in ended.stdout


_EXECUTABLE = """
    select p.proname::text from pg_proc p
    where p.pronamespace = 'horsies'::regnamespace and has_function_privilege(%s, p.oid, 'execute') order by 1
"""


def test_a_schema_in_which_others_may_create_is_refused_with_the_fix(shell: Shell, role: str) -> None:
    shell.session.execute("grant create on schema horsies to public")
    said = " ".join(shell.run("db", "grant", "--worker", role, code=1).stderr.split())
    fix = re.search(r'revoke create on schema "horsies" from public', said)
    assert fix is not None
    [(found, advice)] = rights_findings(shell)
    assert "may create objects in the schema" in found
    assert "from public" in advice
    shell.session.execute(fix[0].encode())
    shell.run("db", "grant", "--worker", role)
    assert rights_findings(shell) == []


def test_only_the_owner_can_grant(as_role: Shell, shell: Shell, role: str) -> None:
    shell.run("db", "grant", "--operator", role)
    assert "InsufficientPrivilege" in as_role.run("db", "grant", "--worker", role, code=1).stderr


def test_the_doctor_tells_each_role_what_it_lacks(as_role: Shell, shell: Shell, role: str) -> None:
    shell.run("db", "grant", "--producer", role)
    assert rights_findings(as_role) == []  # a producer is not told of the needs of others
    said = as_role.run("doctor").stdout
    assert "a worker, a viewer and an operator may" in said
    shell.session.execute(f"revoke execute on function horsies.cancel from {role}".encode())
    [(found, fix)] = rights_findings(as_role)
    assert found == f"the role '{role}' lacks execute on 1 function (cancel)"
    assert fix.endswith(f"horsies db grant MODULE:APP --producer {role}")


def test_the_doctor_names_rights_that_only_the_owner_should_have(shell: Shell, role: str) -> None:
    shell.session.execute(f"grant delete on horsies.tasks to {role}".encode())
    [(found, _)] = rights_findings(shell)
    assert found == f"{role} has rights that only the owner should have, for example on the table tasks"


def test_a_viewer_looks_but_changes_nothing(as_role: Shell, shell: Shell, role: str) -> None:
    shell.run("db", "grant", "--viewer", role)
    task = ended_task(shell.session, request(name="add", args=b'{"key":"s3cret"}'))
    waiting = send(shell.session)
    for command in (
        ["tasks", "list"],
        ["tasks", "show", task],
        ["tasks", "list", "--json"],
        ["workers"],
        ["errors"],
    ):
        assert "s3cret" not in as_role.run(*command).stdout
    as_role.run("why", waiting)
    as_role.run("workflows", "list")
    assert "unclaimable" in as_role.run("doctor", code=1).stdout  # no worker has the waiting task
    for command in (["tasks", "cancel", waiting], ["tasks", "rerun", task]):
        assert "permission denied" in as_role.run(*command, code=1).stderr
    shell.run("db", "grant", "--operator", "--with-arguments", role)
    assert "s3cret" in as_role.run("tasks", "show", task).stdout
    as_role.run("tasks", "cancel", waiting)


def test_a_schema_with_other_tables_needs_consent(tmp_path: Path, empty_database_url: str) -> None:
    def run(*args: str) -> tuple[int, str]:
        ended = horsies(tmp_path, *args, **{URL_VARIABLE: empty_database_url})
        return ended.returncode, ended.stdout + ended.stderr

    with open_session(empty_database_url) as db:
        db.execute("create table public.orders (id int)")
        code, said = run("db", "migrate", "--schema", "public")
        assert (code, "tables that horsies has not created: orders" in said) == (1, True)
        code, said = run("db", "migrate", "--schema", "public", "--into-existing")
        assert (code, "applied: 0001" in said) == (0, True)
        assert scalar(db, "select to_regclass('public.orders') is not null and to_regclass('public.tasks') is not null")
        _check_creators_of_public(db, run("db", "grant", "--schema", "public", "--worker", "pg_monitor"))


def _check_creators_of_public(db: Session, answer: tuple[int, str]) -> None:
    """Before PostgreSQL 15, everybody may create objects in the schema public."""
    code, said = answer
    if db.info.server_version >= 15_00_00:
        assert code == 0, said
        return
    assert code == 1
    assert "revoke create on schema" in said
    db.execute("revoke create on schema public from public")


def test_names_of_roles_are_data(shell: Shell) -> None:
    name = f"x{uuid.uuid4().hex[:6]} \"; drop table horsies.tasks; -- '{{role}}'"
    with new_role(shell.session, name) as odd:
        shell.run("db", "grant", "--producer", odd)
        assert column(shell.session, "select role_name from horsies.grants") == [odd]
        shell.run("db", "revoke", odd)
    assert isinstance(shell.session, psycopg.Connection)
    assert scalar(shell.session, "select to_regclass('horsies.tasks') is not null")
