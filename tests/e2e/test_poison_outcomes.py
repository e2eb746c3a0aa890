"""One outcome that the database refuses stops neither its worker nor other outcomes."""

from horsies.codes import OperationalErrorCode, TaskSendErrorCode
from tests.support.environment import Environment

UNSTORABLE = OperationalErrorCode.WORKER_SERIALIZATION_ERROR
GIGABYTE = 10**9


def test_a_result_of_a_gigabyte_fails_its_task_alone(environment: Environment) -> None:
    worker = environment.ready_worker()
    large = environment.send("large_result", GIGABYTE)
    error = large.get(timeout_ms=120_000).err_value
    assert error.error_code is UNSTORABLE
    assert "bytes, and the database stores less than 1,000,000,000" in error.message
    assert environment.send("ok", "after").get(timeout_ms=20_000).is_ok()
    assert "connection.lost" not in worker.log()


def test_a_batch_that_the_statement_refuses_is_sent_one_by_one(environment: Environment) -> None:
    """The function that stores outcomes refuses one of them before it handles rows."""
    source = environment.session.execute(
        "select pg_get_functiondef(p.oid) from pg_proc p where p.oid = to_regproc('horsies.finish')"
    ).fetchone()
    assert source is not None
    guard = "perform horsies.durable();"
    poison = "if results::text like '%done toxic%' then raise exception 'poison' using errcode = '22021'; end if;"
    environment.session.execute(source[0].replace(guard, f"{poison} {guard}", 1).encode())
    worker = environment.ready_worker("--processes=4")
    keys = ["toxic", *(f"task-{n}" for n in range(30))]
    handles = {key: environment.send("ok", key) for key in keys}
    guilty = handles.pop("toxic").get(timeout_ms=30_000).err_value
    assert (guilty.error_code, "poison" in guilty.message) == (UNSTORABLE, True)
    assert all(handle.get(timeout_ms=30_000).is_ok() for handle in handles.values())
    assert environment.counts() == dict.fromkeys(keys, 1)
    assert "outcomes.refused" in worker.log()
    assert worker.stop() == 0


def test_a_send_of_a_gigabyte_is_refused_before_it_leaves(environment: Environment) -> None:
    sent = environment.tasks.ok.send("x" * GIGABYTE)
    assert sent.err_value.code is TaskSendErrorCode.PAYLOAD_TOO_LARGE
    assert "1,000,000,0" in sent.err_value.message
