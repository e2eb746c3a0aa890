"""The notification queue of the server is full, because a stranger listens and leaves a transaction open."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from horsies.db.migrate import migrate
from tests.support.environment import Environment, new_environment
from tests.support.runs import node, start, state
from tests.support.server import own_server
from tests.support.sessions import SCHEMA, open_session
from tests.support.shell import Shell
from tests.support.waiting import wait_until

HAS_SETTING = 17_00_00
FILL = b"select pg_notify('anything', repeat('x', 7000) || n) from generate_series(1, 20) as n"


class Crowd:
    """An environment on a server of its own, with a small notification queue that a stranger holds up."""

    def __init__(self, environment: Environment, stranger: psycopg.Connection, shell: Shell) -> None:
        self.environment = environment
        self.stranger = stranger
        self.shell = shell

    def fill_up(self) -> None:
        self.stranger.execute("listen anything")
        self.stranger.execute("begin;")
        self.stranger.execute("select 1")
        with open_session(self.environment.url) as session, suppress(psycopg.errors.ProgramLimitExceeded):
            while True:
                session.execute(FILL)


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()), "pg")
        server = stack.enter_context(own_server(home, {"max_notify_queue_pages": "64"}))
        with psycopg.connect(server.url, autocommit=True) as session:
            if session.info.server_version < HAS_SETTING:
                pytest.skip("the server has no max_notify_queue_pages")
            migrate(session, SCHEMA)
        environment = stack.enter_context(new_environment(server.url, tmp_path))
        stranger = stack.enter_context(psycopg.connect(server.url, autocommit=True, application_name="idle reporter"))
        yield Crowd(environment, stranger, Shell(tmp_path, server.url, environment.session))


def test_everything_works_by_polling_and_the_doctor_names_the_cause(crowd: Crowd) -> None:
    environment = crowd.environment
    worker = environment.ready_worker("--processes=2", TEST_POLL_MS="1000", TEST_HEARTBEAT_MS="1000")
    crowd.fill_up()
    handles = [environment.send("ok", f"task-{n}") for n in range(10)]
    assert [handle.get(timeout_ms=20_000).ok_value for handle in handles] == [f"done task-{n}" for n in range(10)]
    slow = environment.send("sleep", "slow", 60)
    environment.wait_for_note("slow")
    assert slow.cancel().unwrap()
    assert slow.get(timeout_ms=20_000).is_err()
    assert environment.send("ok", "after").get(timeout_ms=20_000).is_ok()
    log = worker.log()
    assert log.count("notice.failed") == 1
    assert "connection.lost" not in log
    found = crowd.shell.run("doctor", code=1).stdout
    assert "notification queue of the server is 100% full" in found
    assert f"process {crowd.stranger.info.backend_pid} (idle reporter" in found
    crowd.stranger.close()
    assert "this look has made room" in crowd.shell.run("doctor").stdout
    assert "!! notices" not in crowd.shell.run("doctor").stdout
    assert worker.stop() == 0


def test_a_workflow_and_a_send_in_the_transaction_of_the_caller(crowd: Crowd) -> None:
    environment = crowd.environment
    environment.ready_worker("--processes=2", TEST_POLL_MS="1000")
    crowd.fill_up()
    with psycopg.connect(environment.url) as connection:
        sent = environment.tasks.ok.with_options(connection=connection).send("within").unwrap()
    assert sent.get(timeout_ms=20_000).ok_value == "done within"
    run = start(
        environment.session, node(task_name="ok", args={"key": "a"}), node(0, task_name="ok", args={"key": "b"})
    )
    wait_until(lambda: state(environment.session, run).status == "COMPLETED", 20, "the end of the run")
    assert environment.counts() == {"within": 1, "a": 1, "b": 1}
