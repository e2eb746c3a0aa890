"""In Python's development mode with warnings as errors, horsies leaves no resource unclosed."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.environment import URL_VARIABLE, Environment
from tests.support.workers import HORSIES, WorkerProcess

STRICT = ("-X", "dev", "-W", "error")
PRODUCER = """
import asyncio
from mixed_tasks import app, ok
handle = ok.send("key").unwrap()
print(handle.get(20_000).ok_value)
print(asyncio.run(handle.get_async(20_000)).ok_value)
{end}
"""


def strict(environment: Environment, *args: str, **env: str) -> WorkerProcess:
    python = HORSIES.with_name("python")
    process = WorkerProcess(
        [*STRICT, *args], environment.folder, {URL_VARIABLE: environment.url, **env}, executable=Path(python)
    )
    environment.at_end(process.assert_gone)
    environment.at_end(process.kill_all)
    return process


def check_clean(process: WorkerProcess, code: int = 0) -> None:
    assert process.wait() == code
    assert "Warning" not in process.log(), process.log()
    assert "Traceback" not in process.log()


@pytest.mark.parametrize("options", [["--scheduler"], ["--concurrency=2"], ["--start-method=spawn"]])
def test_a_worker_closes_what_it_opened(environment: Environment, options: list[str]) -> None:
    worker = strict(environment, str(HORSIES), "worker", "mixed_tasks:app", "--processes=2", *options)
    worker.wait_until_ready()
    assert environment.send("ok", "key").get(timeout_ms=20_000).is_ok()
    assert environment.send("ok_async", "key").get(timeout_ms=20_000).is_ok()
    assert environment.send("kill", "key").get(timeout_ms=20_000).is_err()
    assert environment.send("sender", "key").get(timeout_ms=40_000).is_ok()
    worker.signal(signal.SIGTERM)
    check_clean(worker)


def test_a_worker_that_is_refused_closes_what_it_opened(environment: Environment) -> None:
    (environment.folder / "broken.py").write_text("1 / 0\n")
    worker = strict(environment, str(HORSIES), "worker", "broken:app")
    assert worker.wait() == 1
    assert "Warning" not in worker.log()


def test_a_worker_that_is_stopped_during_the_import_closes_what_it_opened(environment: Environment) -> None:
    (environment.folder / "slow.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    worker = strict(environment, str(HORSIES), "worker", "slow:app")
    worker.wait_for_log("importing")
    worker.signal(signal.SIGTERM)
    check_clean(worker)


def test_a_scheduler_closes_what_it_opened(environment: Environment) -> None:
    scheduler = strict(environment, str(HORSIES), "scheduler", "mixed_tasks:app")
    scheduler.wait_for_log(r"scheduler\.ready")
    scheduler.signal(signal.SIGTERM)
    check_clean(scheduler)


@pytest.mark.parametrize("end", ["app.close()", ""])
def test_a_producer_leaves_nothing_open(environment: Environment, end: str) -> None:
    environment.ready_worker()
    (environment.folder / "producer.py").write_text(PRODUCER.format(end=end))
    producer = strict(environment, "producer.py")
    assert producer.wait() == 0
    assert producer.log() == f"done key{os.linesep}" * 2
