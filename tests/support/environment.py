"""The environment of an end-to-end test: a folder with `mixed_tasks.py`, workers, and a ledger of task starts."""

import importlib.util
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from horsies import TaskHandle
from tests.support.pooler import pooled_variables
from tests.support.roles import as_role
from tests.support.sessions import Session, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

TASKS = Path(__file__).parents[1] / "e2e" / "mixed_tasks.py"
URL_VARIABLE = "HORSIES_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: a task started in a process or, with ``:end`` in the key, finished there."""

    key: str
    pid: int


class Environment:
    """A producer, in this process, and any number of workers on one database.

    Attributes:
        url: The URL of the database.
        folder: The folder in which workers run. It contains the tasks and the ledger.
        tasks: The producer's own copy of the module ``mixed_tasks``.
        session: A session to inspect the tables.
    """

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        """Prepare the folder and the producer. ``stack`` closes everything that is opened here."""
        self.url = url
        self.folder = folder
        self.ledger_file = folder / "ledger"
        self._stack = stack
        shutil.copy(TASKS, folder)
        self.session: Session = stack.enter_context(open_session(url))
        self.tasks = load_tasks(folder / TASKS.name, pooled_variables(url))
        stack.callback(self.tasks.app.close)

    def worker(self, *args: str, app: str = "mixed_tasks:app", command: str = "worker", **env: str) -> WorkerProcess:
        """Start a worker without waiting for it. It is killed at the end, and none of its processes may remain."""
        environment = {**pooled_variables(self.url), "TEST_LEDGER": str(self.ledger_file), **env}
        worker = WorkerProcess([command, app, *args], self.folder, environment)
        self._stack.callback(worker.assert_gone)
        self._stack.callback(worker.kill_all)
        return worker

    def at_end(self, action: Callable[[], object]) -> None:
        """Register an action for the end of the environment. The last registered action runs first."""
        self._stack.callback(action)

    def ready_worker(self, *args: str, **env: str) -> WorkerProcess:
        """Start a worker and wait until it claims work."""
        worker = self.worker(*args, **env)
        worker.wait_until_ready()
        return worker

    def send(self, task: str, *args: object, **kwargs: object) -> TaskHandle[Any]:
        """Send a task of ``mixed_tasks`` by the name of its function."""
        return getattr(self.tasks, task).send(*args, **kwargs).unwrap()

    def ledger(self) -> list[Entry]:
        """Return the entries that were written so far, in their order."""
        if not self.ledger_file.exists():
            return []
        lines = self.ledger_file.read_text().splitlines()
        return [Entry(key, int(pid)) for key, pid in (line.rsplit(" ", 1) for line in lines)]

    def counts(self) -> Counter[str]:
        """Count the entries of each key in the ledger."""
        return Counter(entry.key for entry in self.ledger())

    def wait_for_note(self, key: str, timeout: float = 20) -> Entry:
        """Wait until the ledger contains a key, and return its last entry."""
        wait_until(lambda: key in self.counts(), timeout, lambda: f"{key!r} in the ledger {self.ledger()}")
        return next(entry for entry in reversed(self.ledger()) if entry.key == key)

    def live_tasks(self, status: str = "%") -> int:
        """Count the tasks that have not ended, optionally only those with one status."""
        return scalar(self.session, "select count(*) from horsies.tasks where status like %s", status)

    def wait_until_all_ended(self, timeout: float = 30) -> None:
        """Wait until all tasks have ended."""
        wait_until(lambda: not self.live_tasks(), timeout, lambda: f"{self.live_tasks()} tasks to end")

    def ended(self) -> Counter[tuple[str, str, str | None]]:
        """Count the ended tasks by name, status and error code."""
        rows = self.session.execute("select task_name, status, error_code from horsies.history")
        return Counter((name, status, code) for name, status, code in rows)

    def worker_rows(self) -> int:
        """Count the workers that are registered in the database."""
        return scalar(self.session, "select count(*) from horsies.workers")


def load_tasks(file: Path, env: Mapping[str, str]) -> ModuleType:
    """Import a file again in this process, with environment variables that it reads during the import."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, as_role(value, "producer") if value.startswith("postgres") else value)
        spec.loader.exec_module(module)
    return module


@contextmanager
def new_environment(url: str, folder: Path) -> Generator[Environment]:
    """Create an environment with a database and a folder. At its end, everything that runs in it is stopped."""
    with ExitStack() as stack:
        yield Environment(url, folder, stack)
