"""`current_task`: access to the running attempt, its progress and its cancellation."""

import asyncio
import logging
import threading
from collections.abc import Callable
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
    """Return the running task. Return None outside of a worker, and where a task is called directly.

    The task is known in its own thread or coroutine, and in asyncio tasks and threads started with `asyncio`. Pass it
    explicitly to threads that the task starts itself.
    """
    return _current.get()


class CurrentTask:
    """The running attempt of a task. No method waits for the database, or fails when it cannot be reached.

    Attributes:
        name: The name of the task.
        attempt: The number of the attempt, from 1.
        queue: The queue of the task.
        deadline: When the timeout ends the attempt, by the clock of this machine; None: never.
    """

    __slots__ = ("_asked_at", "_cancelled", "_reporter", "_scrub", "attempt", "deadline", "name", "queue", "uuid")

    def __init__(  # noqa: PLR0913 - one keyword per attribute
        self,
        reporter: "Reporter",
        task_id: UUID,
        attempt: int,
        *,
        name: str,
        queue: str,
        timeout_ms: int | None,
        scrub: Callable[[str], str] | None = None,
    ) -> None:
        self.name = name
        self.uuid = task_id
        self.attempt = attempt
        self.queue = queue
        self.deadline = None if timeout_ms is None else datetime.now(UTC) + timedelta(milliseconds=timeout_ms)
        self._reporter = reporter
        self._scrub = scrub
        self._cancelled = False
        self._asked_at = monotonic()

    def __repr__(self) -> str:
        """Show id and attempt."""
        return f"<task {self.id}, attempt {self.attempt}>"

    @property
    def id(self) -> str:
        """The id of the task, a UUID as text."""
        return str(self.uuid)

    @property
    def cancelled(self) -> bool:
        """Whether this attempt must end.

        It must end if the task was cancelled, if it exceeded its timeout and could not be stopped, or if the worker was
        declared dead. The value is the last known one; reading it requests a new one from the database in the
        background, as `heartbeat` does.
        """
        self.heartbeat()
        return self._cancelled

    def progress(self, done: float, total: float = 1, note: str | None = None) -> None:
        """Report the progress of the task: ``progress(0.5)`` or ``progress(3, 10, "pages")``.

        It may be called at any rate: the latest report is written a few times per second, and the last one is always
        written. `TaskInfo.progress` shows it as ``{"done": 3, "total": 10, "note": "pages"}``.

        Args:
            done: How much is done, from 0 to ``total``.
            total: The amount of all work, more than 0. Default: 1.
            note: Text for people; None: no text. Secret arguments in it are replaced.

        Raises:
            ValueError: ``done`` is not between 0 and ``total``, or ``total`` is not a finite number above 0.
        """
        if not (0 <= done <= total and 0 < total < float("inf")):
            msg = f"progress must be from 0 to the total (default 1), and the total above 0: got {done} of {total}"
            raise ValueError(msg)
        text = None if note is None else self.scrubbed(escape_surrogates(note))
        report = {"done": _plain(done), "total": _plain(total), "note": text}
        self._reporter.submit(self, encode_json(report))

    @property
    def scrub(self) -> Callable[[str], str] | None:
        """Returns a text with ``[redacted]`` in place of the secret arguments; None: the task has no secrets."""
        return self._scrub

    def scrubbed(self, text: str) -> str:
        """Return a text with ``[redacted]`` in place of the secret arguments of the task."""
        return text if self._scrub is None else self._scrub(text)

    def heartbeat(self) -> None:
        """Request in the background, at most once per second, whether this attempt must end; see `cancelled`.

        Calling it is optional: the worker sends the heartbeats that keep the task alive.
        """
        now = monotonic()
        if now - self._asked_at > _ASK_EVERY_S:
            self._asked_at = now
            self._reporter.submit(self, None)

    def note_cancelled(self, *, cancelled: bool) -> None:
        """Record whether the attempt must end, as the worker or the database reports it. It is never revoked.

        The reporter thread writes it with the database's answer, the worker runtime when it stops the attempt; the
        task reads it as `cancelled`.
        """
        self._cancelled = self._cancelled or cancelled


class Running:
    """A context manager within which `current_task` returns the task.

    It is a class because a generator-based context manager would dominate the run time of a small task.
    """

    __slots__ = ("_task", "_token")

    def __init__(self, task: CurrentTask) -> None:
        self._task = task

    def __enter__(self) -> None:
        """Set the current task."""
        self._token: Token[CurrentTask | None] = _current.set(self._task)

    def __exit__(self, *_raised: object) -> None:
        """Restore the previous current task."""
        _current.reset(self._token)


def _plain(number: float) -> float:
    return number if isinstance(number, int) else float(number)


class Reporter:
    """Writes the reports of the tasks of this process to the database, in a separate thread, so that no task blocks.

    It keeps only the latest report of each task. The thread starts with the first report. It writes all pending
    reports in one round and pauses after each round. ``_pending`` has the reports for the next round (written by tasks
    and, after a failure, by the thread), ``_writing`` those of the current one (written by the thread).
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._changed = threading.Condition()
        self._pending: dict[CurrentTask, bytes | None] = {}
        self._writing: dict[CurrentTask, bytes | None] = {}
        self._skips_pause = False
        self._thread: threading.Thread | None = None

    def submit(self, task: CurrentTask, report: bytes | None) -> None:
        """Queue a report of a task. None only asks the database whether the attempt must end."""
        with self._changed:
            self._pending[task] = report or self._pending.get(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="horsies-reporter", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def has_pending_report(self, task: CurrentTask) -> bool:
        """Whether a report of the task has not been written yet."""
        return bool(self._pending.get(task) or self._writing.get(task))

    def settle(self, task: CurrentTask) -> None:
        """Wait at the end of a task until its last report is written, at most two seconds."""
        if task not in self._pending and task not in self._writing:
            return  # the usual case: the task reported nothing
        with self._changed:
            if self.has_pending_report(task):
                self._skips_pause = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self.has_pending_report(task), _LAST_REPORT_WITHIN_S)
            self._pending.pop(task, None)

    async def settle_async(self, task: CurrentTask) -> None:
        """Like `settle`, without blocking the event loop."""
        if self.has_pending_report(task):
            await asyncio.to_thread(self.settle, task)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending)
                self._writing, self._pending = self._pending, {}
                self._skips_pause = False
            failed = {task: report for task, report in self._writing.items() if not self._write(task, report)}
            with self._changed:
                self._pending |= {task: self._pending.get(task) or report for task, report in failed.items()}
                self._writing = {}
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._skips_pause, _PAUSE_AFTER_FAILURE_S if failed else _PAUSE_S)

    def _write(self, task: CurrentTask, report: bytes | None) -> bool:
        """Write one report. Return False if it must be retried."""
        try:
            is_active = self._runner.run(_write_progress(task, report))
            task.note_cancelled(cancelled=not is_active)
        except CallFailedError as failure:
            event("progress.failed", level=logging.WARNING, task_id=task.id, reason=failure.message)
            return not failure.retryable
        return True


def _write_progress(task: CurrentTask, report: bytes | None) -> Operation[bool]:
    """Write a report, and return whether the attempt is still active."""
    return (yield task_queries.progress(task.uuid, task.attempt, report))
