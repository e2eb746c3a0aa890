"""A failed attempt is logged by the worker, without any data of the task."""

import json
from typing import Any

import psutil
import pytest

from horsies import TaskError, TaskResult
from tests.support.environment import Environment
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

SECRET = "4111-1111-1111-1111"


def events(worker: WorkerProcess, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def failure(worker: WorkerProcess, task_id: str, attempt: int = 1) -> dict[str, Any]:
    """Wait for the only log line about an attempt."""

    def found() -> list[dict[str, Any]]:
        return [each for each in events(worker, "task.failed") if (each["id"], each["attempt"]) == (task_id, attempt)]

    wait_until(lambda: bool(found()), describe=worker.log)
    [line] = found()
    return line


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [[], ["--concurrency=4"]], ids=" ".join)
def test_each_way_to_fail_is_logged_at_its_level(environment: Environment, options: list[str]) -> None:
    worker = environment.ready_worker("--log-format=json", *options)
    expected = {
        "fail": ("WARNING", "SHOP_CLOSED"),
        "boom": ("WARNING", "UNHANDLED_EXCEPTION"),
        "boom_async": ("WARNING", "UNHANDLED_EXCEPTION"),
        "boom_mapped": ("WARNING", "NOT_THERE"),
        "bare_value": ("WARNING", "TASK_EXCEPTION"),
        "unserialisable": ("WARNING", "WORKER_SERIALIZATION_ERROR"),
        "slow_async": ("WARNING", "TASK_TIMEOUT"),
        "wrong_type": ("ERROR", "RETURN_TYPE_MISMATCH"),
        "kill": ("ERROR", "WORKER_CRASHED"),
    }
    for task, (level, code) in expected.items():
        handle = environment.send(task, SECRET)
        assert str(handle.get(timeout_ms=20_000).err_value.error_code) == code
        line = failure(worker, handle.task_id)
        assert (line["level"], line["task"], line["code"], line["retried"]) == (level, task, code, False)
        assert line["ms"] > 0
        assert "retry_at" not in line
    assert environment.send("ok", SECRET).get(timeout_ms=20_000).is_ok()
    assert events(worker, "payload.size_exceeded") == []
    large = environment.send("large_result", 1 << 20)
    assert large.get(timeout_ms=20_000).is_ok()
    wait_until(lambda: bool(events(worker, "payload.size_exceeded")), describe=worker.log)
    [line] = events(worker, "payload.size_exceeded")
    assert (line["level"], line["task"], line["id"]) == ("WARNING", "large_result", large.task_id)
    assert (line["content"], line["bytes"], line["warn_bytes"]) == ("result", (1 << 20) + 2, 1 << 20)
    assert events(worker, "task.finished") == []
    assert SECRET not in worker.log()
    assert worker.stop() == 0


SHOP = """
import json

from mixed_tasks import app
from horsies import TaskError, TaskResult


def _price(card):
    return [][len(card)]


@app.task("buggy")
def buggy(key: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=_price(key))


@app.task("library")
def library(key: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=json.loads(key))


@app.task("named_oddly")
def named_oddly(key: str) -> TaskResult[str, TaskError]:
    raise type("Odd\\x1b[31m" + "E" * 9000, (Exception,), {})(key)


@app.task("mistyped")
async def mistyped(key: str) -> TaskResult[int, TaskError]:
    return TaskResult(ok=key)


@app.task("no_code")
def no_code(key: str) -> TaskResult[str, TaskError]:
    return TaskResult(err=TaskError(message=key))


@app.task("too_slow", timeout_ms=300)
async def too_slow(key: str) -> TaskResult[str, TaskError]:
    import asyncio
    await asyncio.sleep(60)
"""


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(SHOP.splitlines(), 1) if text in line)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [[], ["--concurrency=4"]], ids=" ".join)
def test_a_failure_is_logged_with_type_and_place_but_without_its_message(
    environment: Environment, options: list[str]
) -> None:
    (environment.folder / "shop.py").write_text(SHOP)
    worker = environment.worker("--log-format=json", *options, app="shop:app")
    worker.wait_until_ready()
    expected = {
        "buggy": ("NOT_THERE", "IndexError", line_of("[][len(card)]")),
        "library": ("UNHANDLED_EXCEPTION", "JSONDecodeError", line_of("json.loads(key)")),
        "mistyped": ("RETURN_TYPE_MISMATCH", None, line_of("async def mistyped") - 1),
        "no_code": ("TASK_EXCEPTION", None, line_of("def no_code") - 1),
        "too_slow": ("TASK_TIMEOUT", None, line_of("async def too_slow") - 1),
    }
    for name, (code, exception, number) in expected.items():
        task_id = send_by_name(environment, name)
        line = failure(worker, task_id)
        found = (line["code"], line.get("exception"), line["place"])
        assert found == (code, exception, f"shop.py:{number}")
        assert "hint" not in line
    odd = failure(worker, send_by_name(environment, "named_oddly"))
    assert odd["exception"].startswith("Odd\\x1b[31mEEE")
    assert len(odd["exception"]) < 5000
    assert SECRET not in worker.log()
    assert worker.stop() == 0


def send_by_name(environment: Environment, name: str) -> str:
    """Send a task that only the worker's module has; return its id."""

    def stand_in(key: str) -> TaskResult[str, TaskError]:
        raise AssertionError(key)

    timeout_ms = 300 if name == "too_slow" else None
    return environment.tasks.app.task(name, timeout_ms=timeout_ms)(stand_in).send(SECRET).unwrap().task_id


def test_the_log_says_how_to_see_the_details(environment: Environment) -> None:
    worker = environment.ready_worker("--log-format=json", "--reload")
    task_id = environment.send("boom", SECRET).task_id
    assert failure(worker, task_id)["hint"] == f"horsies tasks show {task_id}"
    assert worker.stop() == 0


def test_a_retry_is_logged_with_its_time(environment: Environment) -> None:
    worker = environment.ready_worker("--log-format=json")
    again = environment.send("survivor", "again", str(environment.folder))
    assert again.get(timeout_ms=20_000).is_ok()
    later = environment.send("late_survivor", "later", str(environment.folder))
    line = failure(worker, later.task_id)
    assert (line["retried"], line["code"], line["level"]) == (True, "WORKER_CRASHED", "ERROR")
    [(due,)] = environment.session.execute("select run_at from horsies.tasks where id = %s", [later.task_id])
    assert line["retry_at"] == due.isoformat(timespec="milliseconds")
    assert failure(worker, again.task_id)["retried"] is True
    assert worker.stop() == 0


def test_a_success_is_logged_for_debugging(environment: Environment) -> None:
    worker = environment.ready_worker("--log-format=json", "--loglevel=DEBUG")
    handle = environment.send("ok", SECRET)
    assert handle.get(timeout_ms=20_000).is_ok()
    wait_until(lambda: bool(events(worker, "task.finished")), describe=worker.log)
    [line] = events(worker, "task.finished")
    assert (line["level"], line["task"], line["id"], line["attempt"]) == ("DEBUG", "ok", handle.task_id, 1)
    assert SECRET not in worker.log()
    assert worker.stop() == 0


def test_a_result_that_the_database_refuses_is_a_failure_in_the_log(environment: Environment) -> None:
    environment.session.execute(
        "alter table horsies.history add constraint small check (octet_length(result::text) < 1000 or error_code is not null)"
    )
    worker = environment.ready_worker("--log-format=json")
    handle = environment.send("big", "key", "x" * 5000)
    assert str(handle.get(timeout_ms=20_000).err_value.error_code) == "WORKER_SERIALIZATION_ERROR"
    assert failure(worker, handle.task_id)["code"] == "WORKER_SERIALIZATION_ERROR"
    assert worker.stop() == 0


def test_tasks_of_a_dead_worker_are_logged_by_the_worker_that_recovers_them(environment: Environment) -> None:
    worker = environment.ready_worker("--log-format=json")
    running = environment.send("sleep", "running", 60)
    environment.wait_for_note("running")
    psutil.Process(worker.pid).kill()
    assert str(running.get(timeout_ms=20_000).err_value.error_code) == "WORKER_CRASHED"
    wait_until(lambda: bool(events(worker, "tasks.crashed")), describe=worker.log)
    [line] = events(worker, "tasks.crashed")
    assert (line["level"], line["count"], line["workers"]) == ("ERROR", 1, 1)
