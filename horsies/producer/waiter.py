"""Waiting for tasks to end: one listening thread and one connection for all waiters of a process."""

import selectors
import threading
from collections import defaultdict
from typing import Any
from uuid import UUID

import psycopg
from psycopg.pq.abc import PGconn

from horsies.db.connect import Database
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import StoredResult
from horsies.db.sqlfiles import channel, listen
from horsies.errors import HorsiesError
from horsies.process import monotonic, socket_pair
from horsies.producer.fork_reset import renew_in_children

_LINGER_S = 30.0
_RECONNECT_FIRST_S = 0.1
_RECONNECT_MAX_S = 5.0
_POLL_ONLY_S = 0.25
_HEX_DIGITS = 32

type Connection = psycopg.Connection[tuple[Any, ...]]


class Waiter:
    """One who waits for one task."""

    __slots__ = ("_told", "_waiters", "task_id")

    def __init__(self, waiters: "Waiters", task_id: UUID) -> None:
        """Begin to wait."""
        self._waiters = waiters
        self._told: StoredResult | None = None
        self.task_id = task_id
        waiters.add(self)

    def wake(self, told: StoredResult | None) -> None:
        """Take the result, if it is known. Called from the listening thread, at least once after the end."""
        self._told = told or self._told

    def close(self) -> None:
        """Stop waiting."""
        self._waiters.forget(self)


class Waiters:
    """All waiters of a process."""

    def __init__(self, database: Database, poll_seconds: float) -> None:
        """Nothing is opened before the first waiter."""
        self._database = database
        self._poll_seconds = poll_seconds
        self.reset_after_fork()
        renew_in_children(self)

    def reset_after_fork(self) -> None:
        """Forget everybody, and the thread: a fork's parent has them."""
        self._lock = threading.Lock()
        self._by_task: dict[UUID, set[Waiter]] = defaultdict(set)
        self._listener: _Listener | None = None

    def add(self, waiter: Waiter) -> None:
        """Add a waiter; the listening thread is started if it does not run."""
        with self._lock:
            self._by_task[waiter.task_id].add(waiter)
            self._listen()

    def forget(self, waiter: Waiter) -> None:
        """Remove a waiter."""
        with self._lock:
            of_task = self._by_task.get(waiter.task_id)
            if of_task is not None:
                of_task.discard(waiter)
                if not of_task:
                    del self._by_task[waiter.task_id]

    def close(self) -> None:
        """End the thread and its connection. Who still waits gets a new one."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()
            with self._lock:
                if self._by_task:
                    self._listen()

    def awaited(self) -> list[UUID]:
        """The tasks that somebody waits for."""
        with self._lock:
            return list(self._by_task)

    def notice(self, payload: str) -> None:
        """Wake those whom a notice of `horsies.notify_done` concerns."""
        ids, is_told, told = payload.partition(" ")
        if is_told:
            head, _, result = told.partition("\n")
            status, _, task_name = head.partition(" ")
            self.wake(UUID(hex=ids), StoredResult(task_name, status, result.encode()))
            return
        for start in range(0, len(ids), _HEX_DIGITS):
            self.wake(UUID(hex=ids[start : start + _HEX_DIGITS]))

    def wake(self, task_id: UUID, told: StoredResult | None = None) -> None:
        """Wake those who wait for a task, and hand them its result if that is known."""
        with self._lock:
            waiters = list(self._by_task.get(task_id, ()))
        for waiter in waiters:
            waiter.wake(told)

    def leave(self, listener: "_Listener") -> bool:
        """Whether a listener may go, for nobody waits: the next waiter starts another one."""
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
    """The listening thread with its connection.

    A notice is a hint that may be lost with its connection. So the thread also asks, after every (re)connect and
    every ``poll_seconds``, which of the awaited tasks are no longer live. That question is the connection's ping too.
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
        """End the thread. To close one end is seen at the other."""
        self._stop.close()
        self._thread.join()

    def _run(self) -> None:
        delay = _RECONNECT_FIRST_S
        with self._stop, self._stopped, selectors.DefaultSelector() as selector:
            selector.register(self._stopped, selectors.EVENT_READ)
            while not self._waiters.leave(self):
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
        """Wake who is to be woken until the thread is stopped or nobody has waited for a while."""
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
                elif monotonic() - last_needed > _LINGER_S and self._waiters.leave(self):
                    return

    def _poll(self, connection: Connection) -> float:
        """Ask for the awaited tasks; answers when to ask again."""
        call = task_queries.ended_among(self._waiters.awaited())
        for task_id in call.decode(connection.execute(self._database.statement(call), call.params).fetchall()):
            self._waiters.wake(task_id)
        return monotonic() + self._poll_seconds

    def _read_notices(self, selector: selectors.BaseSelector, pgconn: PGconn, until: float) -> bool:
        """Read notices straight off libpq; False: the thread is stopped."""
        while (left := until - monotonic()) > 0:
            while notice := pgconn.notifies():
                self._waiters.notice(notice.extra.decode())
            ready = {key.fileobj for key, _ in selector.select(left)}
            if self._stopped in ready:
                return False
            if ready:
                pgconn.consume_input()
        return True
