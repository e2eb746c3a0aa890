"""Waiting for tasks to end: one listener thread and one connection serve all waiters of a process."""

import re
import selectors
import threading
from collections import defaultdict
from typing import Any
from uuid import UUID

import psycopg
from psycopg.pq.abc import PGconn

from horsies.codes import TASK_TERMINAL_STATES
from horsies.db.connect import Database
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import StoredResult
from horsies.db.sqlfiles import channel, listen
from horsies.errors import HorsiesError
from horsies.process import monotonic, socket_pair
from horsies.producer.fork_reset import reset_in_children

_LINGER_S = 30.0
_RECONNECT_FIRST_S = 0.1
_RECONNECT_MAX_S = 5.0
_POLL_ONLY_S = 0.25
_HEX_DIGITS = 32
_IDS = re.compile(r"([0-9a-f]{32})+", re.ASCII)
_RESULT = re.compile(
    rf"(?P<status>{'|'.join(sorted(TASK_TERMINAL_STATES))}) (?P<task_name>[^\n]+)\n(?P<result>.+)", re.DOTALL
)

type Connection = psycopg.Connection[tuple[Any, ...]]


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

    ``_by_task`` and ``_listener`` are written by callers and by the listener thread; ``_lock`` guards them.
    """

    def __init__(self, database: Database, poll_seconds: float, *, results_in_notices: bool = False) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._results_in_notices = results_in_notices
        self.reset_after_fork()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Drop all waiters and the listener thread, which belong to the parent process."""
        self._lock = threading.Lock()
        self._by_task: dict[UUID, set[Waiter]] = defaultdict(set)
        self._listener: _Listener | None = None

    def add(self, waiter: Waiter) -> None:
        """Add a waiter, and start the listener thread if it is not running."""
        with self._lock:
            self._by_task[waiter.task_id].add(waiter)
            self._listen()

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter."""
        with self._lock:
            of_task = self._by_task.get(waiter.task_id)
            if of_task is not None:
                of_task.discard(waiter)
                if not of_task:
                    del self._by_task[waiter.task_id]

    def close(self) -> None:
        """Stop the listener thread and close its connection. Remaining waiters get a new thread."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()
            with self._lock:
                if self._by_task:
                    self._listen()

    def awaited(self) -> list[UUID]:
        """Return the ids of all tasks and runs that have a waiter."""
        with self._lock:
            return list(self._by_task)

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
            waiters = list(self._by_task.get(task_id, ()))
        for waiter in waiters:
            waiter.wake(pushed_result)

    def retire_if_idle(self, listener: "_Listener") -> bool:
        """Whether the listener may stop because there are no waiters. The next waiter starts another listener."""
        with self._lock:
            if self._by_task or self._listener is not listener:
                return False
            self._listener = None
            return True

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _Listener(self, self._database, self._poll_seconds)
            self._listener.start()


class _Listener:
    """The listener thread with its connection.

    A notification is only a hint, which may be lost with its connection. So the thread also queries after every connect
    and every ``poll_seconds`` which of the awaited tasks are no longer live. The query also checks the connection.
    """

    def __init__(self, waiters: Waiters, database: Database, poll_seconds: float) -> None:
        self._waiters = waiters
        self._database = database
        self._poll_seconds = poll_seconds if database.can_listen else _POLL_ONLY_S
        self._stop, self._stopped = socket_pair()
        self._thread = threading.Thread(target=self._run, name="horsies-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread: it notices that the other end of the socket pair is closed."""
        self._stop.close()
        self._thread.join()

    def _run(self) -> None:
        delay = _RECONNECT_FIRST_S
        with self._stop, self._stopped, selectors.DefaultSelector() as selector:
            selector.register(self._stopped, selectors.EVENT_READ)
            while not self._waiters.retire_if_idle(self):
                try:
                    with self._database.connect(to_listen=True) as connection:
                        delay = _RECONNECT_FIRST_S
                        self._listen(connection)
                        return
                except (psycopg.Error, HorsiesError):
                    if selector.select(delay):
                        return
                    delay = min(delay * 2, _RECONNECT_MAX_S)

    def _listen(self, connection: Connection) -> None:
        """Wake waiters until the thread is stopped, or until there have been no waiters for ``_LINGER_S`` seconds."""
        connection.add_notify_handler(lambda notice: self._waiters.notice(notice.payload))
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

    def _poll(self, connection: Connection) -> float:
        """Query the awaited tasks, wake the waiters of ended ones, and return the time of the next query."""
        call = task_queries.ended_among(self._waiters.awaited())
        for task_id in call.decode(connection.execute(self._database.statement(call), call.params).fetchall()):
            self._waiters.wake(task_id)
        return monotonic() + self._poll_seconds

    def _read_notices(self, selector: selectors.BaseSelector, pgconn: PGconn, until: float) -> bool:
        """Read notifications directly from libpq until ``until``. Return False if the thread is stopped."""
        while (left := until - monotonic()) > 0:
            while notice := pgconn.notifies():
                self._waiters.notice(notice.extra.decode(errors="replace"))
            ready = {key.fileobj for key, _ in selector.select(left)}
            if self._stopped in ready:
                return False
            if ready:
                pgconn.consume_input()
        return True
