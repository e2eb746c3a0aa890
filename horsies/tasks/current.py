"""`current_task`: what a task can know and say of itself while it runs."""

import logging
import threading
from contextvars import ContextVar, Token
from datetime import UTC, datetime, timedelta
from uuid import UUID

from horsies.codec.text import encode_json
from horsies.db.operations import CallFailedError, Operation, Runner
from horsies.db.queries import tasks as task_queries
from horsies.events import event
from horsies.plain import escape_surrogates
from horsies.process import monotonic

_PAUSE_S = 0.1
_PAUSE_AFTER_FAILURE_S = 1.0
_LAST_REPORT_WITHIN_S = 2.0
_ASK_EVERY_S = 1.0

_current: ContextVar["CurrentTask | None"] = ContextVar("horsies_current_task", default=None)


def current_task() -> "CurrentTask | None":
    """The task that this code runs for, in a worker; None anywhere else, also where a task is called directly.

    It is known in the task's own thread or coroutine, and in what that starts with `asyncio`. Hand it to threads of
    your own.
    """
    return _current.get()


class CurrentTask:
    """One attempt at a task, seen from inside. Nothing here waits for the database, or fails because it is away.

    Attributes:
        name: the name of the task.
        attempt: its number, from 1.
        queue: where the task waited.
        deadline: when its time-out strikes, by this machine's clock; None: never.
    """

    __slots__ = ("_asked_at", "_is_wanted", "_reporter", "attempt", "deadline", "name", "queue", "uuid")

    def __init__(  # noqa: PLR0913 - what a task can know
        self, reporter: "Reporter", task_id: UUID, attempt: int, *, name: str, queue: str, timeout_ms: int | None
    ) -> None:
        """Made by the worker."""
        self.name = name
        self.uuid = task_id
        self.attempt = attempt
        self.queue = queue
        self.deadline = None if timeout_ms is None else datetime.now(UTC) + timedelta(milliseconds=timeout_ms)
        self._reporter = reporter
        self._is_wanted = True
        self._asked_at = monotonic()

    def __repr__(self) -> str:
        """Show id and attempt."""
        return f"<task {self.id}, attempt {self.attempt}>"

    @property
    def id(self) -> str:
        """The task's id, a UUID as text."""
        return str(self.uuid)

    @property
    def cancelled(self) -> bool:
        """Whether this attempt is not wanted any more.

        The task was cancelled, it exceeded its time-out and could not be stopped, or the worker was declared dead. It
        is what the worker or the database said last; reading it has the database asked again, as `heartbeat` does.
        """
        self.heartbeat()
        return not self._is_wanted

    def progress(self, done: float, total: float = 1, note: str | None = None) -> None:
        """Say how far the task has come: ``progress(0.5)`` or ``progress(3, 10, "pages")``.

        It may be called as often as you like: a few times a second the latest word is written, and the last one in any
        case. `TaskInfo.progress` shows it as ``{"done": 3, "total": 10, "note": "pages"}``.

        Raises:
            ValueError: ``done`` is not between 0 and ``total``, or ``total`` is 0.
        """
        if not (0 <= done <= total and 0 < total < float("inf")):
            msg = f"progress goes from 0 to a total of more than 0, which is 1 unless given: got {done} of {total}"
            raise ValueError(msg)
        text = None if note is None else escape_surrogates(note)
        report = {"done": _plain(done), "total": _plain(total), "note": text}
        self._reporter.tell(self, encode_json(report))

    def heartbeat(self) -> None:
        """Have the database asked, once a second at most, whether this attempt is still wanted; see `cancelled`.

        There is no need to call it: that the task lives is for the worker to say.
        """
        now = monotonic()
        if now - self._asked_at > _ASK_EVERY_S:
            self._asked_at = now
            self._reporter.tell(self, None)

    def is_told(self, *, wanted: bool) -> None:
        """Take the database's answer, or the worker's word that the attempt must end. Neither is ever taken back."""
        self._is_wanted = self._is_wanted and wanted


class Running:
    """What runs inside is this task's. A generator would do, and takes longer than the rest of a small task."""

    __slots__ = ("_task", "_token")

    def __init__(self, task: CurrentTask) -> None:
        """Take the task."""
        self._task = task

    def __enter__(self) -> None:
        """Make it the current one."""
        self._token: Token[CurrentTask | None] = _current.set(self._task)

    def __exit__(self, *_raised: object) -> None:
        """Go back to what was before."""
        _current.reset(self._token)


def _plain(number: float) -> float:
    return number if isinstance(number, int) else float(number)


class Reporter:
    """Says to the database what the tasks of this process say, in a thread of its own, so that no task waits for it.

    Of each task it keeps the latest word only. It begins a round when there is something to say, and pauses after it.
    """

    def __init__(self, runner: Runner) -> None:
        """Start nothing before there is something to say."""
        self._runner = runner
        self._changed = threading.Condition()
        self._waiting: dict[CurrentTask, bytes | None] = {}
        self._writing: dict[CurrentTask, bytes | None] = {}
        self._is_hurried = False
        self._thread: threading.Thread | None = None

    def tell(self, task: CurrentTask, report: bytes | None) -> None:
        """Take a task's report, or with None a question whether it is still wanted."""
        with self._changed:
            self._waiting[task] = report or self._waiting.get(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="horsies-reporter", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def has_pending_report(self, task: CurrentTask) -> bool:
        """Whether a report of the task is not written yet."""
        return bool(self._waiting.get(task) or self._writing.get(task))

    def settle(self, task: CurrentTask) -> None:
        """The task has ended: wait for its last report to be written, two seconds at most."""
        if task not in self._waiting and task not in self._writing:
            return  # as nearly always: it has said nothing
        with self._changed:
            if self.has_pending_report(task):
                self._is_hurried = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self.has_pending_report(task), _LAST_REPORT_WITHIN_S)
            self._waiting.pop(task, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                self._writing, self._waiting = self._waiting, {}
                self._is_hurried = False
            failed = {task: report for task, report in self._writing.items() if not self._write(task, report)}
            with self._changed:
                self._waiting |= {task: self._waiting.get(task) or report for task, report in failed.items()}
                self._writing = {}
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_hurried, _PAUSE_AFTER_FAILURE_S if failed else _PAUSE_S)

    def _write(self, task: CurrentTask, report: bytes | None) -> bool:
        """Write one report; False: it has to be tried again."""
        try:
            task.is_told(wanted=self._runner.run(_say(task, report)))
        except CallFailedError as failure:
            event("progress.failed", level=logging.WARNING, task_id=task.id, reason=failure.message)
            return not failure.retryable
        return True


def _say(task: CurrentTask, report: bytes | None) -> Operation[bool]:
    return (yield task_queries.progress(task.uuid, task.attempt, report))
