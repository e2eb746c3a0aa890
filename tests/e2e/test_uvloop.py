"""Children run `async def` tasks on uvloop if the module of the app makes it the event loop of its process."""

from horsies import TaskError, TaskHandle, TaskResult
from tests.support.environment import Environment

TASKS = """
import asyncio

import uvloop

from horsies import TaskError, TaskResult
from mixed_tasks import app, note, ok

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


@app.task("which_loop")
async def which_loop(key: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=type(asyncio.get_running_loop()).__module__)


@app.task("wait_forever")
async def wait_forever(key: str) -> TaskResult[str, TaskError]:
    note(key)
    try:
        await asyncio.Event().wait()
    finally:
        note(f"{key}:end")


@app.task("send_and_wait")
async def send_and_wait(key: str) -> TaskResult[str, TaskError]:
    handle = (await ok.send_async(key)).unwrap()
    return TaskResult(ok=(await handle.get_async(timeout_ms=20_000)).ok_value)
"""


def send(environment: Environment, name: str, key: str, timeout_ms: int | None = None) -> TaskHandle[str]:
    """Send a task that only the worker's module defines."""

    def stand_in(key: str) -> TaskResult[str, TaskError]:
        raise AssertionError(key)

    return environment.tasks.app.task(name, timeout_ms=timeout_ms)(stand_in).send(key).unwrap()


def test_tasks_run_send_wait_and_are_stopped_on_uvloop(environment: Environment) -> None:
    (environment.folder / "uvloop_tasks.py").write_text(TASKS)
    worker = environment.worker("--processes=2", "--concurrency=10", app="uvloop_tasks:app")
    worker.wait_until_ready()
    assert send(environment, "which_loop", "loop").get(timeout_ms=20_000).ok_value == "uvloop"
    many = [environment.send("sleep_async", f"slow-{number}", 0.1) for number in range(20)]
    inner = [send(environment, "send_and_wait", f"inner-{number}") for number in range(4)]
    overdue = send(environment, "wait_forever", "late", timeout_ms=500)
    cancelled = send(environment, "wait_forever", "forever")
    assert [handle.get(timeout_ms=20_000).ok_value for handle in many] == [f"slow-{number}" for number in range(20)]
    assert [handle.get(timeout_ms=20_000).ok_value for handle in inner] == [f"done inner-{n}" for n in range(4)]
    assert overdue.get(timeout_ms=20_000).err_value.error_code == "TASK_TIMEOUT"
    environment.wait_for_note("forever")
    assert cancelled.cancel().unwrap()
    assert environment.wait_for_note("forever:end").pid == environment.wait_for_note("forever").pid
    environment.wait_for_note("late:end")
    assert environment.send("leave_async", "leave").get(timeout_ms=20_000).err_value.error_code == "UNHANDLED_EXCEPTION"
    assert worker.stop() == 0
