"""Waiting for tasks to end: one listening thread and one connection for all waiters of a process."""

import os
import selectors
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
from psycopg.pq.abc import PGconn

from horsies.db import calls_tasks
from horsies.db.connect import Database
from horsies.db.sqlfiles import channel, listen

_LINGER_S = 30.0
_RECONNECT_FIRST_S = 0.1
_RECONNECT_MAX_S = 5.0
_POLL_ONLY_S = 0.25
_HEX_DIGITS = 32

type Connection = psycopg.Connection[tuple[Any, ...]]


class Waiter:
    """One who waits for one task. ``wake`` is called from the listening thread, at least once after the end."""

    __slots__ = ("_waiters", "task_id", "wake")

    def __init__(self, waiters: "Waiters", task_id: UUID, wake: Callable[[], None]) -> None:
        """Made by `Waiters.watch`."""
        self._waiters = waiters
        self.task_id = task_id
        self.wake = wake

    def close(self) -> None:
        """Stop waiting."""
        self._waiters.forget(self)


class Waiters:
    """All waiters of a process.

    A notice is a hint that may be lost with its connection. So the thread also asks, after every (re)connect and
    every ``poll_seconds``, which of the awaited tasks are no longer live. That question is the connection's ping too.
    """

    def __init__(self, database: Database, poll_seconds: float) -> None:
        """Nothing is opened before the first waiter."""
        self._database = database
        self._poll_seconds = poll_seconds
        self._lock = threading.Lock()
        self._by_task: dict[UUID, set[Waiter]] = defaultdict(set)
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._stopping = False
        self._nudges: tuple[socket.socket, socket.socket] | None = None

    def watch(self, task_id: UUID, wake: Callable[[], None]) -> Waiter:
        """Add a waiter; the listening thread is started if it does not run (in this process)."""
        waiter = Waiter(self, task_id, wake)
        with self._lock:
            if self._pid != os.getpid():
                self._begin_anew()
            self._by_task[task_id].add(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="horsies-listener", daemon=True)
                self._thread.start()
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Remove a waiter."""
        with self._lock:
            of_task = self._by_task.get(waiter.task_id)
            if of_task is not None:
                of_task.discard(waiter)
                if not of_task:
                    del self._by_task[waiter.task_id]

    def close(self) -> None:
        """End the thread and its connection."""
        with self._lock:
            thread, self._stopping = self._thread, True
        if self._nudges is None or self._pid != os.getpid():
            return
        if thread is not None:
            self._nudges[0].send(b"x")
            thread.join()
        for end in self._nudges:
            end.close()

    def _begin_anew(self) -> None:
        """After a fork the parent's thread and connection are not ours; its waiters neither."""
        self._pid = os.getpid()
        self._thread = None
        self._by_task.clear()
        for end in self._nudges or ():
            end.close()
        self._nudges = socket.socketpair()

    def _run(self) -> None:
        delay = _RECONNECT_FIRST_S
        while not self._is_over():
            try:
                with self._database.connect(to_listen=True) as connection:
                    delay = _RECONNECT_FIRST_S
                    self._listen(connection)
                    return
            except psycopg.Error:
                self._sleep(delay)
                delay = min(delay * 2, _RECONNECT_MAX_S)

    def _listen(self, connection: Connection) -> None:
        connection.add_notify_handler(lambda notice: self._wake(notice.payload))
        if self._database.can_listen:
            connection.execute(listen(channel("done", self._database.schema)))
        last_needed = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            self._register_nudge(selector)
            while not self._stopping:
                self._poll(connection)
                if self._by_task:
                    last_needed = time.monotonic()
                elif self._leave(last_needed):
                    return
                self._read_notices(selector, connection.pgconn)

    def _read_notices(self, selector: selectors.BaseSelector, pgconn: PGconn) -> None:
        """Read notices straight off libpq until it is time to poll."""
        poll_at = time.monotonic() + (self._poll_seconds if self._database.can_listen else _POLL_ONLY_S)
        while not self._stopping and (left := poll_at - time.monotonic()) > 0:
            if selector.select(left):
                pgconn.consume_input()
                while notice := pgconn.notifies():
                    self._wake(notice.extra.decode())

    def _poll(self, connection: Connection) -> None:
        with self._lock:
            awaited = list(self._by_task)
        call = calls_tasks.ended_among(awaited)
        for task_id in call.decode(connection.execute(self._database.statement(call), call.params).fetchall()):
            self._wake(task_id.hex)

    def _wake(self, packed_ids: str) -> None:
        for start in range(0, len(packed_ids), _HEX_DIGITS):
            task_id = UUID(hex=packed_ids[start : start + _HEX_DIGITS])
            with self._lock:
                waiters = list(self._by_task.get(task_id, ()))
            for waiter in waiters:
                waiter.wake()

    def _leave(self, last_needed: float) -> bool:
        """End the thread when nobody has waited for a while."""
        with self._lock:
            if self._by_task or time.monotonic() - last_needed < _LINGER_S:
                return False
            self._thread = None
            return True

    def _is_over(self) -> bool:
        with self._lock:
            if self._stopping or not self._by_task:
                self._thread = None
                return True
            return False

    def _sleep(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            self._register_nudge(selector)
            selector.select(seconds)

    def _register_nudge(self, selector: selectors.BaseSelector) -> None:
        if self._nudges is not None:
            selector.register(self._nudges[1], selectors.EVENT_READ)
