"""A database whose transactions become read-only by default, and are not any more: workers wait, and continue."""

from psycopg.sql import SQL, Identifier

from tests.support.databases import set_for_all
from tests.support.environment import Environment
from tests.support.sessions import column

OTHERS = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> %s"


def test_a_worker_waits_until_the_database_can_be_written_again(environment: Environment) -> None:
    session = environment.session
    worker = environment.ready_worker(TEST_HEARTBEAT_MS="1000")
    assert environment.send("ok", "before").get(timeout_ms=20_000).is_ok()
    set_for_all(environment.url, {"default_transaction_read_only": "on"})
    column(session, OTHERS, session.info.backend_pid)
    worker.wait_for_log(r"connection\.retrying .*session is read-only")
    refused = environment.tasks.ok.send("refused").unwrap_err()
    assert refused.retryable
    session.execute(
        SQL("alter database {} reset default_transaction_read_only").format(Identifier(session.info.dbname))
    )
    assert environment.tasks.ok.retry_send(refused).unwrap().get(timeout_ms=20_000).is_ok()
    assert environment.send("ok", "after").get(timeout_ms=20_000).is_ok()
    assert "child.died" not in worker.log()
    assert worker.stop() == 0
