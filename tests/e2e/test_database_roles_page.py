"""docs/database-roles.md: its instructions work as they are printed, each process with its own role."""

import re
import shlex
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from tests.support.commands import horsies
from tests.support.databases import new_database
from tests.support.environment import URL_VARIABLE
from tests.support.roles import HAS_ROLES
from tests.support.server import PASSWORD, Server, database_name, with_database
from tests.support.sessions import SCHEMA, open_session
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

PAGE = (Path(__file__).parents[2] / "docs" / "database-roles.md").read_text()
SET_UP = PAGE[PAGE.index("## Set up roles") : PAGE.index("## What each kind of role may do")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROLES = ("jobs_owner", "jobs_worker", "jobs_web", "jobs_operator")

pytestmark = pytest.mark.skipif(SCHEMA != "horsies" or HAS_ROLES, reason="the page has the default schema and roles")


@dataclass
class Reader:
    """Someone who follows the page. Only the names of the database and of the roles, and the address, are different."""

    server: Server
    database: str
    suffix: str
    folder: Path
    url: str = ""

    def adapt(self, text: str) -> str:
        """Replace the names of the page by those of the test."""
        text = text.replace("database shop", f'database "{self.database}"').replace("…", PASSWORD)
        place = self.server.tcp_url.rpartition("@")[2].partition("/")[0]
        text = text.replace("db.example.com/shop", f"{place}/{self.database}")
        return re.sub(rf"\b({'|'.join(ROLES)})\b", rf"\1_{self.suffix}", text)

    def run(self, line: str, code: int = 0) -> str:
        """Run a line of a shell block; returns the output of the command."""
        program, *args = shlex.split(self.adapt(line))
        if program == "export":
            self.url = args[0].removeprefix(f"{URL_VARIABLE}=")
            return ""
        assert program == "horsies"
        ended = horsies(self.folder, *args, **{URL_VARIABLE: self.url})
        assert ended.returncode == code, f"{line}\n{ended.stdout}{ended.stderr}"
        return ended.stdout + ended.stderr


@pytest.fixture
def reader(server: Server, tmp_path: Path) -> Iterator[Reader]:
    with new_database(server) as url:
        reader = Reader(server, database_name(url), uuid.uuid4().hex[:8], tmp_path)
        yield reader
        with open_session(url) as session:
            for role in ROLES:
                name = Identifier(reader.adapt(role))
                session.execute(SQL("drop owned by {} cascade").format(name))
                session.execute(SQL("drop role {}").format(name))


@pytest.mark.timeout(180)  # eleven commands
def test_the_set_up_works_as_printed(reader: Reader) -> None:
    found = BLOCK.findall(SET_UP)
    [roles] = [code for kind, code in found if kind == "sql"]
    [app] = [code for kind, code in found if kind == "python"]
    of_owner, of_worker, of_producer, of_operator = (code.splitlines() for kind, code in found if kind == "sh")
    (reader.folder / "instance.py").write_text(app)
    with open_session(with_database(reader.server.tcp_url, reader.database)) as session:
        session.execute(reader.adapt(roles).encode())
        for line in of_owner[:2]:
            reader.run(line)
        reader.run(of_worker[0])
        worker = "horsies worker instance:app"
        assert f"run as the owner of the schema: {reader.adapt(of_owner[2])}".replace(
            "instance:app", "MODULE:APP"
        ) in " ".join(reader.run(worker, code=1).split())
        reader.run(of_owner[0])
        for line in of_owner[2:]:
            reader.run(line)
        [printed] = [code for kind, code in BLOCK.findall(PAGE.replace(SET_UP, "")) if kind == "sh"]
        assert "jobs_dashboard" in reader.run(printed)
        reader.run(of_worker[0])
        assert of_worker[-1] == worker
        process = WorkerProcess(["worker", "instance:app"], reader.folder, {URL_VARIABLE: reader.url})
        try:
            process.wait_until_ready()
            for line in of_producer:
                if "horsies check" not in line:  # tests/e2e/test_checks.py
                    reader.run(line)
            count = "select count(*) from horsies.history where status = 'COMPLETED'"
            wait_until(lambda: session.execute(count).fetchone() == (1,), describe="the end of the task")
            said = "".join(reader.run(line) for line in of_operator)
            assert "send_invoice" in said
            assert "COMPLETED" in said
            assert "queue default is paused" in said
            assert process.stop() == 0
        finally:
            process.kill_all()
        users = session.execute("select distinct tableowner::text from pg_tables where schemaname = 'horsies'")
        assert users.fetchall() == [(reader.adapt("jobs_owner"),)]
