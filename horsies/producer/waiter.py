"""Waiting for tasks to end: one listener thread and one connection serve all waiters of a process.

The thread runs as long as there are waiters, whatever happens: it connects again after every failure. While it cannot
listen, or could not even be started, the waiters are *deaf*: each of them wakes up at the poll interval, and its
operation queries the database itself.
"""

import logging
import re
import selectors
import socket
import threading
from collections.abc import Iterable
from contextlib import closing, suppress
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from psycopg.pq.abc import PGconn

from horsies.codes import TASK_TERMINAL_STATES
from horsies.db.bounded import BoundedConnection
from horsies.db.connect import Database
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import StoredResult
from horsies.db.sqlfiles import channel, listen
from horsies.events import event
from horsies.masking import mask_secrets
from horsies.process import monotonic, socket_pair
from horsies.producer.fork_reset import reset_in_children

_LINGER_S = 30.0
_RECONNECT_FIRST_S = 0.1
_RECONNECT_MAX_S = 5.0
_POLL_ONLY_S = 0.25
_CHECK_LISTENER_S = 20.0
_HEX_DIGITS = 32
_IDS = re.compile(r"([0-9a-f]{32})+", re.ASCII)
_RESULT = re.compile(
    rf"(?P<status>{'|'.join(sorted(TASK_TERMINAL_STATES))}) (?P<task_name>[^\n]+)\n(?P<result>.+)", re.DOTALL
)


class Hearing(NamedTuple):
    """The state of the listener, as a waiter sees it.

    Attributes:
        is_deaf: Whether notifications do not arrive at the moment, so that the waiter has to query itself.
        seconds: How long this can be relied on, in seconds.
    """

    is_deaf: bool
    seconds: float


class Waiter:
    """A subscription of one caller to the end of one task or run. It is active as soon as it is made.

    ``_pushed_result`` is the result that a notification carried: the listener thread writes it, the caller reads it.
    """

    __slots__ = ("_pushed_result", "_waiters", "task_id")

    def __init__(self, waiters: "Waiters", task_id: UUID) -> None:
        self._waiters = waiters
        self._pushed_result: StoredResult | None = None
        self.task_id = task_id
        waiters.add(self)

    def wake(self, pushed_result: StoredResult | None) -> None:
        """Store the pushed result, if there is one. The listener thread calls it at least once after the end."""
        self._pushed_result = pushed_result or self._pushed_result

    def close(self) -> None:
        """Cancel the subscription."""
        self._waiters.remove(self)


class Waiters:
    """All waiters of a process. The first waiter starts the listener thread.

    ``_by_task`` and ``_listener`` are written by callers and by the listener thread; ``_lock`` guards them. Most tasks
    have one waiter, for which ``_by_task`` needs no set.
    """

    def __init__(self, database: Database, poll_seconds: float, *, results_in_notices: bool = False) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._results_in_notices = results_in_notices
        self.reset_after_fork()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Drop all waiters and the listener thread, which belong to the parent process."""
        self._lock = threading.RLock()  # the collector of garbage may close a waiter while its thread holds the lock
        self._by_task: dict[UUID, Waiter | set[Waiter]] = {}
        self._listener: _Listener | None = None
        self._start_failure = ""

    def add(self, waiter: Waiter) -> None:
        """Add a waiter, and start the listener thread if it is not running."""
        with self._lock:
            others = self._by_task.get(waiter.task_id)
            if isinstance(others, set):
                others.add(waiter)
            else:
                self._by_task[waiter.task_id] = waiter if others is None else {others, waiter}
            self._start_listener()

    def hearing(self) -> Hearing:
        """Return whether notifications arrive, and start the listener thread if it is not running."""
        with self._lock:
            self._start_listener()
            is_deaf = self._listener is None or self._listener.state is ListenerState.DEAF
        return Hearing(is_deaf, self._poll_seconds if is_deaf else _CHECK_LISTENER_S)

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter."""
        with self._lock:
            of_task = self._by_task.get(waiter.task_id)
            if isinstance(of_task, set):
                of_task.discard(waiter)
            if of_task is waiter or of_task == set():
                del self._by_task[waiter.task_id]

    def close(self) -> None:
        """Stop the listener thread and close its connection. Remaining waiters get a new thread."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()
            with self._lock:
                if self._by_task:
                    self._start_listener()

    def awaited(self) -> list[UUID]:
        """Return the ids of all tasks and runs that have a waiter."""
        with self._lock:
            return list(self._by_task)

    def active(self) -> list[Waiter]:
        """Return all waiters."""
        with self._lock:
            return [waiter for of_task in self._by_task.values() for waiter in _each(of_task)]

    def notice(self, payload: str) -> None:
        r"""Wake the waiters of a notification that `horsies.notify_done` sent.

        The payload is either the hex ids of ended tasks without separators, or one id and its result:
        ``<id> <status> <task name>\n<result>``. Anybody can send such a notification. So the result is used only with
        ``AppConfig(results_in_notices=True)``, and a payload of any other form is ignored.
        """
        ids, _, pushed = payload.partition(" ")
        if _IDS.fullmatch(ids) is None:
            return
        result = _RESULT.fullmatch(pushed) if self._results_in_notices else None
        if result is not None and len(ids) == _HEX_DIGITS:
            self.wake(UUID(hex=ids), StoredResult(result["task_name"], result["status"], result["result"].encode()))
            return
        for start in range(0, len(ids), _HEX_DIGITS):
            self.wake(UUID(hex=ids[start : start + _HEX_DIGITS]))

    def wake(self, task_id: UUID, pushed_result: StoredResult | None = None) -> None:
        """Wake the waiters of a task, and pass them its result if it was pushed."""
        with self._lock:
            waiters = _each(self._by_task.get(task_id, ()))
        for waiter in waiters:
            waiter.wake(pushed_result)

    def retire_if_idle(self, listener: "_Listener") -> bool:
        """Whether the listener may stop because there are no waiters. The next waiter starts another listener."""
        with self._lock:
            if self._by_task or self._listener is not listener:
                return False
            self._listener = None
            return True

    def forget(self, listener: "_Listener") -> None:
        """Forget a listener whose thread ends. A waiter that is left starts another one."""
        with self._lock:
            if self._listener is listener:
                self._listener = None

    def _start_listener(self) -> None:
        if self._listener is not None:
            return
        try:
            self._listener = _Listener(self, self._database, self._poll_seconds)
        except (OSError, RuntimeError) as error:  # no file descriptor or no thread is left
            if self._start_failure != (reason := f"{type(error).__name__}: {error}"):
                event("listener.failed", level=logging.WARNING, reason=reason)
            self._start_failure = reason
        else:
            self._start_failure = ""


def _each(of_task: Waiter | Iterable[Waiter]) -> list[Waiter]:
    return [of_task] if isinstance(of_task, Waiter) else list(of_task)


class ListenerState(Enum):
    """Whether the listener thread receives notifications."""

    STARTING = "starting"
    LISTENING = "listening"
    DEAF = "deaf"  # it could not connect, or its connection has failed; it tries again


class _Listener:
    """The listener thread with its connection. Creating the object starts the thread.

    A notification is only a hint, which may be lost with its connection. So the thread also queries after every connect
    and every ``poll_seconds`` which of the awaited tasks are no longer live. The query also checks the connection.
    """

    def __init__(self, waiters: Waiters, database: Database, poll_seconds: float) -> None:
        self._waiters = waiters
        self._database = database
        self._poll_seconds = poll_seconds if database.can_listen else _POLL_ONLY_S
        self.state = ListenerState.STARTING
        self._stop, self._stopped = socket_pair()
        self._thread = threading.Thread(target=self._run, name="horsies-listener", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._stop.close()
            self._stopped.close()
            raise

    def stop(self) -> None:
        """Stop the thread: it notices that the socket pair is shut down.

        To close this end would not be enough while a forked child process has a copy of it.
        """
        with suppress(OSError):  # the thread has ended, and has closed both ends
            self._stop.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._stop, self._stopped:
                self._listen_until_stopped()
        finally:
            self._waiters.forget(self)

    def _listen_until_stopped(self) -> None:
        """Listen, and connect again after every failure, until the thread is stopped or nobody waits."""
        self._delay = _RECONNECT_FIRST_S
        while not self._waiters.retire_if_idle(self):
            try:
                with closing(self._database.connect(to_listen=True)) as connection:
                    self._listen(connection)
                    return
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave the process deaf for ever
                if self.state is not ListenerState.DEAF:
                    reason = f"{type(error).__name__}: {mask_secrets(str(error))}"
                    event("listener.failed", level=logging.WARNING, reason=reason)
                self.state = ListenerState.DEAF
            if self._is_stopped_within(self._delay):
                return
            self._delay = min(self._delay * 2, _RECONNECT_MAX_S)

    def _is_stopped_within(self, seconds: float) -> bool:
        """Sleep, unless the thread is stopped. A selector would need a file descriptor, and there may be none left."""
        self._stopped.settimeout(seconds)
        try:
            self._stopped.recv(1)
        except TimeoutError:
            return False
        return True

    def _listen(self, connection: BoundedConnection) -> None:
        """Wake waiters until the thread is stopped, or until there have been no waiters for ``_LINGER_S`` seconds."""
        connection.add_notify_handler(lambda notice: self._notice(notice.payload.encode()))
        if self._database.can_listen:
            connection.execute(listen(channel("done", self._database.schema)))
        last_needed = monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while self._read_notices(selector, connection.pgconn, self._poll(connection)):
                if self._waiters.awaited():
                    last_needed = monotonic()
                elif monotonic() - last_needed > _LINGER_S and self._waiters.retire_if_idle(self):
                    return

    def _poll(self, connection: BoundedConnection) -> float:
        """Query the awaited tasks, wake the waiters of ended ones, and return the time of the next query."""
        ended = self._database.ask(connection, task_queries.ended_among(self._waiters.awaited()))
        for task_id in ended:
            self._waiters.wake(task_id)
        if self.state is ListenerState.DEAF:
            event("listener.restored")
        self.state = ListenerState.LISTENING
        self._delay = _RECONNECT_FIRST_S
        return monotonic() + self._poll_seconds

    def _notice(self, payload: bytes) -> None:
        """Wake the waiters of a notification. Every role of the database can send one, so it may contain anything."""
        with suppress(ValueError):  # also UnicodeDecodeError
            self._waiters.notice(payload.decode())

    def _read_notices(self, selector: selectors.BaseSelector, pgconn: PGconn, until: float) -> bool:
        """Read notifications directly from libpq until ``until``. Return False if the thread is stopped."""
        while (left := until - monotonic()) > 0:
            while notice := pgconn.notifies():
                self._notice(notice.extra)
            ready = {key.fileobj for key, _ in selector.select(left)}
            if self._stopped in ready:
                return False
            if ready:
                pgconn.consume_input()
        return True
