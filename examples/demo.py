"""`make demo`: starts an embedded PostgreSQL and a worker, sends tasks, and shows their results.

The files of the seed example are copied to a separate folder, as a new user would type them. Only the database URL is
replaced. Everything is stopped and removed at the end.
"""

import asyncio
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from horsies import Err, Ok, TaskHandle, TaskInfo, TaskSendResult
from horsies.embedded import server as embedded

EXAMPLES = Path(__file__).parent
PRINTED_URL = "postgresql+psycopg://user:password@localhost:5432/mydb"
READY_WITHIN_S = 60
console = Console()


def say(text: str) -> None:
    """Print a heading."""
    console.print(f"\n[bold]{text}[/bold]")


def prepare(folder: Path, database_url: str) -> None:
    """Copy the examples, and replace the database URL in them."""
    for file in (*(EXAMPLES / "seed").glob("*.py"), EXAMPLES / "demo_tasks.py"):
        text = file.read_text(encoding="utf-8").replace(PRINTED_URL, database_url)
        (folder / file.name).write_text(text, encoding="utf-8")
    os.chdir(folder)
    sys.path.insert(0, str(folder))


@contextmanager
def worker(folder: Path) -> Generator[None]:
    """Run a worker within the block. At the end, stop it gracefully and show its log."""
    command = [str(Path(sys.executable).parent / "horsies"), "worker", "demo_tasks:app", "--processes=4"]
    console.print("$", " ".join(["horsies", *command[1:]]))
    log = folder / "worker.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, stderr=stream)  # a fixed command
    try:
        until = time.monotonic() + READY_WITHIN_S
        while "worker.ready" not in log.read_text(encoding="utf-8"):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the worker did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.02)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait()
    say(f"The worker exited with code {code}. Its log:")
    console.print(log.read_text(encoding="utf-8"), highlight=False, soft_wrap=True, markup=False)


def run_seed_example() -> None:
    """Run the producer and the endpoint of the seed example as printed."""
    say("The seed example, as printed")
    console.print("producer.py:")
    runpy.run_path("producer.py")
    endpoint = runpy.run_path("endpoint.py")["my_endpoint"]
    console.print("endpoint.py:", asyncio.run(endpoint()))


def send_more(tasks: Any) -> Iterator[tuple[str, TaskSendResult[TaskHandle[Any]]]]:  # a module
    """Send one task of each kind."""
    yield "process_data({})", tasks.instance.process_data.send({})
    yield "divide(1, 0)", tasks.demo_tasks.divide.send(1, 0)
    yield 'fetch_greeting("Ada")', tasks.demo_tasks.fetch_greeting.send("Ada")
    yield 'ask_shop("paper")', tasks.demo_tasks.ask_shop.send("paper")
    yield "add_numbers(20, 22) in 0.5 s", tasks.instance.add_numbers.schedule(0.5, 20, 22)
    yield 'add_numbers("5", 3)', tasks.instance.add_numbers.send("5", 3)


def outcome(handle: TaskHandle[Any]) -> tuple[str, str]:
    """Return the result and the attempts of a task."""
    result = handle.get(timeout_ms=30_000)
    shown = repr(result.ok_value) if result.is_ok() else f"{result.err_value.error_code}: {result.err_value.message}"
    match handle.info(include_attempts=True):
        case Ok(TaskInfo(attempts=attempts)):
            return shown, ", ".join(f"{attempt.attempt} {attempt.outcome}" for attempt in reversed(attempts or ()))
        case other:
            return shown, repr(other)


def show_more() -> None:
    """Send tasks that end in different ways, and show their outcomes."""
    say("More tasks: errors are values")
    modules = type("Tasks", (), {name: __import__(name) for name in ("instance", "demo_tasks")})
    table = Table("sent", "result", "attempts")
    for call, sent in list(send_more(modules)):
        match sent:
            case Ok(handle):
                table.add_row(call, *outcome(handle))
            case Err(error):
                table.add_row(call, f"not sent: {error.code}: {error.message}", "none")
    console.print(table)


def run_workflow() -> None:
    """Start a workflow, and show each of its nodes."""
    say("A workflow: a task for each item of a list that another task returns, and a summary of the results")
    demo_tasks: Any = __import__("demo_tasks")
    handle = demo_tasks.order(["paper", "stapler", "printer"]).start().unwrap()
    console.print("result:", handle.get(timeout_ms=30_000).unwrap())
    table = Table("node", "task", "status", "result")
    for info in handle.tasks().unwrap():
        table.add_row(info.node_id, info.name, info.status, repr(info.result))
    console.print(table)


def main() -> None:
    """Run the demo."""
    say("Starting an embedded PostgreSQL")
    url = embedded.acquire(EXAMPLES.parent / ".horsies" / "pg")
    folder = Path(tempfile.mkdtemp(prefix="horsies-demo-"))
    try:
        prepare(folder, url)
        with worker(folder):
            run_seed_example()
            show_more()
            run_workflow()
    finally:
        os.chdir(EXAMPLES)
        shutil.rmtree(folder)
        embedded.release()
    console.print("\nEverything is stopped. README.md shows how to do the same by hand.")


if __name__ == "__main__":
    main()
