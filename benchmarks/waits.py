"""Waiting times of a person: for an import, for help, and for a changed file to be reloaded."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from setting import measure, wait_for

from horsies.embedded import server as embedded

HORSIES = str(Path(sys.executable).parent / "horsies")
SEED = Path(__file__).parent.parent / "examples" / "seed" / "instance.py"
NAMES = "Horsies, AppConfig, PostgresConfig, TaskResult, TaskError, Ok, Err"
VARIABLE = "HORSIES_DEV_DATABASE_URL"


def took(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def imports(runs: int) -> None:
    """Measure the import of the package, of pydantic and of psycopg, and the help of the command line."""
    base = "import psycopg; from pydantic import BaseModel, TypeAdapter"
    floor = measure("import, floor: pydantic and psycopg", "ms", runs, lambda: took(sys.executable, "-c", base))
    ours = measure(
        "import of what a producer needs",
        "ms",
        runs,
        lambda: took(sys.executable, "-c", f"from horsies import {NAMES}"),
    )
    beyond = statistics.median(ours.values) - statistics.median(floor.values)
    measure("import, beyond the floor", "ms", 1, lambda: beyond)
    measure("horsies --help", "ms", runs, lambda: took(HORSIES, "--help"))


def reload(runs: int) -> None:
    """Measure the time from a change of a file to the result of a task sent then, with `horsies dev`."""
    with tempfile.TemporaryDirectory(prefix="horsies-bench-") as name:
        folder = Path(name)
        file = folder / "instance.py"
        text = SEED.read_text().replace("a + b", "a + b + 0")
        file.write_text(text)
        with (folder / "log").open("wb") as log:
            dev = subprocess.Popen([HORSIES, "dev", "instance:app"], cwd=folder, stderr=log)
        ready = (folder / "log").read_bytes
        wait_for(lambda: b"worker.ready" in ready())
        send = {**os.environ, VARIABLE: f"embedded://{folder}/.horsies/pg"}
        try:
            measure("change to its task's result, dev", "s", runs, lambda: changed(file, text, send))
        finally:
            dev.send_signal(signal.SIGINT)
            dev.wait()
            wait_for(lambda: not embedded.is_running(folder / ".horsies" / "pg"))


def changed(file: Path, text: str, env: dict[str, str]) -> float:
    number = time.time_ns() % 1_000_000
    start = time.perf_counter()
    file.write_text(text.replace("a + b + 0", f"a + b + {number}"))
    command = [HORSIES, "send", "instance:app", "add_numbers", "0", "0", "--wait"]
    while True:  # a worker that has not noticed the change yet may run the task
        done = subprocess.run(command, cwd=file.parent, env=env, capture_output=True, text=True, check=True)
        if done.stdout.strip() == str(number):
            return time.perf_counter() - start
