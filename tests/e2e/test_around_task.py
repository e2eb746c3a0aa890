"""``@app.around_task``: hooks run around every attempt, and cannot change its outcome."""

import json

import pytest

from horsies import RetryPolicy, TaskError, TaskResult
from tests.support.environment import Environment
from tests.support.sessions import scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

AROUND = """
import asyncio
import json
import logging
import os
import threading
from collections.abc import Generator, Iterator
from contextvars import ContextVar
from pathlib import Path

from horsies import AttemptOutcome, CurrentTask, TaskError, TaskResult, current_task

from mixed_tasks import app

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def write(**fields: object) -> None:
    with Path("hooks.jsonl").open("a") as file:
        file.write(json.dumps(fields) + "\\n")


@app.around_task
def outer(task: CurrentTask) -> Generator[None, AttemptOutcome]:
    tenant.set(f"tenant of {task.name}")
    write(hook="outer", at="begin", task=task.name, id=task.id, attempt=task.attempt,
          is_current=current_task() is task, thread=threading.current_thread().name)
    outcome = yield
    raised, error = outcome.exception, outcome.error
    write(hook="outer", at="end", task=task.name, id=task.id, status=outcome.status, code=outcome.error_code,
          error=None if error is None else [type(error).__name__, error.error_code, error.message, error.data],
          max_retries=outcome.max_retries, may_retry=outcome.may_retry,
          exception=None if raised is None else f"{type(raised).__name__}: {raised}", tenant=tenant.get())


@app.around_task
def inner(task: CurrentTask) -> Iterator[None]:
    write(hook="inner", at="begin", id=task.id)
    yield
    write(hook="inner", at="end", id=task.id)


@app.task("whose")
def whose() -> TaskResult[list[str], TaskError]:
    logging.getLogger("shop.parcels").warning("asked for the tenant")
    return TaskResult(ok=[tenant.get(), threading.current_thread().name])


@app.task("whose_async")
async def whose_async() -> TaskResult[list[str], TaskError]:
    async def nested() -> str:
        await asyncio.sleep(0)
        logging.getLogger("shop.parcels").warning("asked for the tenant")
        return tenant.get()

    return TaskResult(ok=[await asyncio.create_task(nested()), threading.current_thread().name])


@app.task("twice")
def twice() -> TaskResult[list[str], TaskError]:
    attempt = current_task().attempt
    return TaskResult(ok=["done"]) if attempt == 2 else TaskResult(err=TaskError(error_code="NOT_THERE"))
{more}
"""
OPTIONS = pytest.mark.parametrize("options", [[], ["--concurrency=4"], ["--start-method=spawn"]], ids=" ".join)
CODES = {
    ("boom", "UNHANDLED_EXCEPTION", "RuntimeError: boom key"),
    ("boom_async", "UNHANDLED_EXCEPTION", "RuntimeError: boom key"),
    ("leave", "UNHANDLED_EXCEPTION", "SystemExit: leaving key"),
    ("fail", "SHOP_CLOSED", None),
    ("wrong_type", "RETURN_TYPE_MISMATCH", None),
    ("slow_async", "TASK_TIMEOUT", None),
}


def around(environment: Environment, more: str = "", *args: str) -> WorkerProcess:
    file = environment.folder / "around.py"
    file.write_text(AROUND.replace("{more}", more))
    return environment.worker(*args, app="around:app")


def send(environment: Environment, name: str, policy: RetryPolicy | None = None) -> str:
    """Send a task that only the worker's module has; return its id."""

    def stand_in() -> TaskResult[list[str], TaskError]:
        raise AssertionError(name)

    return environment.tasks.app.task(name, retry_policy=policy)(stand_in).send().unwrap().task_id


def written(environment: Environment) -> list[dict[str, object]]:
    file = environment.folder / "hooks.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def of_task(environment: Environment, task_id: str) -> list[dict[str, object]]:
    """Return what hooks wrote about a task, after the outermost hook has ended."""
    wait_until(
        lambda: (
            {"outer", "end"}
            <= {str(line[key]) for line in written(environment) if line["id"] == task_id for key in ("hook", "at")}
        )
    )
    return [line for line in written(environment) if line["id"] == task_id]


@OPTIONS
def test_hooks_nest_around_each_attempt_and_set_context_for_it(environment: Environment, options: list[str]) -> None:
    worker = around(environment, "", *options)
    worker.wait_until_ready()
    for name in ("whose", "whose_async"):
        task_id = send(environment, name)
        [tenant, thread] = environment.tasks.app.get_result(task_id, timeout_ms=20_000).ok_value
        lines = of_task(environment, task_id)
        assert [(line["hook"], line["at"]) for line in lines] == [
            ("outer", "begin"),
            ("inner", "begin"),
            ("inner", "end"),
            ("outer", "end"),
        ]
        assert tenant == f"tenant of {name}" == lines[-1]["tenant"]
        assert lines[0]["thread"] == thread
        assert lines[0]["is_current"] is True
        assert (lines[-1]["status"], lines[-1]["code"], lines[-1]["exception"]) == ("COMPLETED", None, None)
        worker.wait_for_log(rf"asked for the tenant logger=shop.parcels task={name} id={task_id} attempt=1\n")

    task_id = send(environment, "twice", RetryPolicy.fixed([0.01], auto_retry_for=["NOT_THERE"], jitter=False))
    assert environment.tasks.app.get_result(task_id, timeout_ms=20_000).is_ok()
    wait_until(lambda: len([line for line in written(environment) if line["id"] == task_id]) == 8)
    ends = [
        line
        for line in written(environment)
        if line["id"] == task_id and (line["hook"], line["at"]) == ("outer", "end")
    ]
    assert [(line["status"], line["code"]) for line in ends] == [("FAILED", "NOT_THERE"), ("COMPLETED", None)]
    assert worker.stop() == 0


@pytest.mark.parametrize("options", [[], ["--concurrency=4"]], ids=" ".join)
def test_hooks_receive_the_error_of_the_task(environment: Environment, options: list[str]) -> None:
    worker = around(environment, "", *options)
    worker.wait_until_ready()
    expected = {
        "ok": None,
        "fail": ["ShopError", "SHOP_CLOSED", "no key", {"key": "key"}],
        "boom": ["TaskError", "UNHANDLED_EXCEPTION", "RuntimeError: boom key", None],
    }
    for name, error in expected.items():
        handle = environment.send(name, "key")
        handle.get(timeout_ms=20_000)
        assert of_task(environment, handle.task_id)[-1]["error"] == error
    for name, code in (("wrong_type", "RETURN_TYPE_MISMATCH"), ("slow_async", "TASK_TIMEOUT")):
        handle = environment.send(name, "key")
        assert str(handle.get(timeout_ms=20_000).err_value.error_code) == code
        error = of_task(environment, handle.task_id)[-1]["error"]
        assert isinstance(error, list)
        assert error[:2] == ["TaskError", code]
    assert worker.stop() == 0


FLAKY = """

from horsies import RetryPolicy


@app.task("flaky", retry_policy=RetryPolicy.fixed([0.01], auto_retry_for=["AGAIN", "TASK_CANCELLED"], jitter=False))
async def flaky(code: str) -> TaskResult[str, TaskError]:
    if code == "WAIT":
        write(hook="task", at="waits", id=current_task().id)
        await asyncio.sleep(60)
    return TaskResult(err=TaskError(error_code=code))
"""


def test_hooks_can_predict_a_retry_and_recognize_a_cancel(environment: Environment) -> None:
    worker = around(environment, FLAKY)
    worker.wait_until_ready()

    def predicted(code: str, *, cancel: bool = False) -> list[tuple[object, ...]]:
        def stand_in(code: str) -> TaskResult[str, TaskError]:
            raise AssertionError(code)

        policy = RetryPolicy.fixed([0.01], auto_retry_for=["AGAIN", "TASK_CANCELLED"], jitter=False)  # type: ignore[list-item]
        task = environment.tasks.app.task("flaky", retry_policy=policy)(stand_in)
        handle = task.send(code).unwrap()
        if cancel:
            wait_until(
                lambda: any(line["id"] == handle.task_id and line["at"] == "waits" for line in written(environment))
            )
            assert handle.cancel().unwrap() is True
        handle.get(timeout_ms=20_000)
        attempts = scalar(environment.session, "select attempt from horsies.history where id = %s", handle.task_id)

        def ends() -> list[dict[str, object]]:
            of_outer = ("outer", "end")
            return [
                line
                for line in written(environment)
                if line["id"] == handle.task_id and (line["hook"], line["at"]) == of_outer
            ]

        wait_until(lambda: len(ends()) == attempts)
        return [(line["code"], line["max_retries"], line["may_retry"]) for line in ends()]

    assert predicted("AGAIN") == [("AGAIN", 1, True), ("AGAIN", 1, False)]
    assert predicted("NEVER") == [("NEVER", 1, False)]
    assert predicted("WAIT", cancel=True) == [("TASK_CANCELLED", 1, False)]
    assert worker.stop() == 0


@pytest.mark.parametrize("options", [[], ["--concurrency=4"]], ids=" ".join)
def test_hooks_receive_code_and_exception_of_a_failed_attempt(environment: Environment, options: list[str]) -> None:
    worker = around(environment, "", *options)
    worker.wait_until_ready()
    for name, code, exception in sorted(CODES):
        handle = environment.send(name, "key")
        assert str(handle.get(timeout_ms=20_000).err_value.error_code) == code
        end = of_task(environment, handle.task_id)[-1]
        assert (end["task"], end["status"], end["code"]) == (name, "FAILED", code)
        assert end["exception"] == exception or name == "slow_async"
    assert worker.stop() == 0


@pytest.mark.parametrize("options", [[], ["--concurrency=4"]], ids=" ".join)
def test_hooks_see_an_attempt_whose_arguments_do_not_fit(environment: Environment, options: list[str]) -> None:
    worker = around(environment, "", *options)
    worker.wait_until_ready()
    handle = environment.send("ok", "key")
    assert handle.get(timeout_ms=20_000).is_ok()
    environment.session.execute(
        "update horsies.tasks set args = '{\"key\": 5}', run_at = now() where id = %s",
        [environment.tasks.ok.schedule(3600, "key").unwrap().task_id],
    )
    environment.send("ok", "another")  # its notice wakes the worker
    environment.wait_until_all_ended()
    [end] = [line for line in written(environment) if line["at"] == "end" and line.get("status") == "FAILED"]
    assert end["code"] == "WORKER_SERIALIZATION_ERROR"
    assert worker.stop() == 0


BROKEN = """

def _broken(before, after):
    def hook(task):
        exec(before)
        yield
        exec(after)
    return hook


for before, after in [
    ("raise ValueError('before')", ""),
    ("", "raise ValueError('after')"),
    ("raise SystemExit('leave')", ""),
    ("", "raise KeyboardInterrupt"),
    ("", "raise asyncio.CancelledError"),
]:
    app.around_task(_broken(before, after))


@app.around_task
def never(task):
    return
    yield


@app.around_task
def too_often(task):
    yield
    yield


@app.around_task
def reraises(task):
    outcome = yield
    if outcome.exception is not None:
        raise outcome.exception
"""


@pytest.mark.parametrize("options", [[], ["--concurrency=4"]], ids=" ".join)
def test_an_exception_of_a_hook_is_logged_and_changes_nothing(environment: Environment, options: list[str]) -> None:
    worker = around(environment, BROKEN, *options)
    worker.wait_until_ready()
    for name, code in [("ok", None), ("ok_async", None), ("boom", "UNHANDLED_EXCEPTION"), ("fail", "SHOP_CLOSED")]:
        handle = environment.send(name, "secret-argument")
        outcome = handle.get(timeout_ms=20_000)
        assert (outcome.err_value.error_code if outcome.err else None) == code
        assert of_task(environment, handle.task_id)[-1]["at"] == "end"
        failures = [line for line in worker.log().splitlines() if " hook.failed " in line and handle.task_id in line]
        reasons = " ".join(failures)
        for expected in ("ValueError", "SystemExit", "KeyboardInterrupt", "CancelledError", "yields more than once"):
            assert expected in reasons
        assert len(failures) == (7 if name == "boom" else 6)
        assert "never" not in reasons
        assert all(" ERROR " in line for line in failures)
    assert "secret-argument" not in worker.log()
    assert set(environment.session.execute("select distinct attempt from horsies.history")) == {(1,)}
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("@app.around_task\ndef trace(task):\n    return\n", "it is not a generator function"),
        ("@app.around_task\nasync def trace(task):\n    yield\n", "it is asynchronous"),
        ("@app.around_task\ndef trace():\n    yield\n", "does not take exactly one positional argument"),
        (
            "@app.around_task\n@contextmanager\ndef trace(task):\n    yield\n",
            "another decorator, such as @contextmanager",
        ),
        ("app.around_task(5)\n", "it is not callable"),
        ("@app.on_child_process_stop\ndef close(child): ...\n", "at the stop of a child process: it takes child"),
    ],
)
def test_an_unsuitable_hook_is_refused_with_its_line(environment: Environment, source: str, says: str) -> None:
    (environment.folder / "around.py").write_text(
        f"from mixed_tasks import app; from contextlib import contextmanager\n\n{source}"
    )
    worker = environment.worker(app="around:app")
    assert worker.wait() == 1
    assert worker.log().startswith("error[HRS-214]: ")
    assert says in worker.log()
    assert "--> around.py:3\n" in worker.log()
