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
from tests.support.sessions import Session, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

TASKS = Path(__file__).parents[1] / "e2e" / "mixed_tasks.py"
URL_VARIABLE = "HORSIES_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: a task began (or, with ``:end`` in the key, went through) in a process."""

    key: str
    pid: int


class Environment:
    """A producer, in this process, and any number of workers on one database.

    Attributes:
        url: the database.
        folder: where workers run; it holds the tasks and the ledger.
        tasks: the producer's own copy of the module ``mixed_tasks``.
        session: for a look at the tables.
    """

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        """Everything that is opened here is closed with ``stack``."""
        self.url = url
        self.folder = folder
        self.ledger_file = folder / "ledger"
        self._stack = stack
        shutil.copy(TASKS, folder)
        self.session: Session = stack.enter_context(open_session(url))
        self.tasks = load_tasks(folder / TASKS.name, {URL_VARIABLE: url})
        stack.callback(self.tasks.app.close)

    def worker(self, *args: str, app: str = "mixed_tasks:app", **env: str) -> WorkerProcess:
        """Start a worker, and do not wait for it. It is killed with the environment, and must leave nothing behind."""
        environment = {URL_VARIABLE: self.url, "TEST_LEDGER": str(self.ledger_file), **env}
        worker = WorkerProcess(["worker", app, *args], self.folder, environment)
        self._stack.callback(worker.assert_gone)
        self._stack.callback(worker.kill_all)
        return worker

    def at_end(self, action: Callable[[], object]) -> None:
        """Do something when the environment ends; what was asked for last is done first."""
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
        """What was written so far, in the order of the writing."""
        if not self.ledger_file.exists():
            return []
        lines = self.ledger_file.read_text().splitlines()
        return [Entry(key, int(pid)) for key, pid in (line.rsplit(" ", 1) for line in lines)]

    def counts(self) -> Counter[str]:
        """How often each key stands in the ledger."""
        return Counter(entry.key for entry in self.ledger())

    def wait_for_note(self, key: str, timeout: float = 20) -> Entry:
        """Wait until a key stands in the ledger; its last entry."""
        wait_until(lambda: key in self.counts(), timeout, lambda: f"{key!r} in the ledger {self.ledger()}")
        return next(entry for entry in reversed(self.ledger()) if entry.key == key)

    def live_tasks(self, status: str = "%") -> int:
        """How many tasks have not ended; those of one status, if it is given."""
        return scalar(self.session, "select count(*) from horsies.tasks where status like %s", status)

    def wait_until_all_ended(self, timeout: float = 30) -> None:
        """Wait until no task is left to do."""
        wait_until(lambda: not self.live_tasks(), timeout, lambda: f"{self.live_tasks()} tasks to end")

    def ended(self) -> Counter[tuple[str, str, str | None]]:
        """How many tasks ended how: task name, status and error code."""
        rows = self.session.execute("select task_name, status, error_code from horsies.history")
        return Counter((name, status, code) for name, status, code in rows)

    def worker_rows(self) -> int:
        """How many workers the database believes to live."""
        return scalar(self.session, "select count(*) from horsies.workers")


def load_tasks(file: Path, env: Mapping[str, str]) -> ModuleType:
    """Import a file anew, in this process, with variables set that it reads while it is imported."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        spec.loader.exec_module(module)
    return module


@contextmanager
def new_scene(url: str, folder: Path) -> Generator[Environment]:
    """Set a environment on a database, in a folder; everything that runs in it ends with it."""
    with ExitStack() as stack:
        yield Environment(url, folder, stack)
