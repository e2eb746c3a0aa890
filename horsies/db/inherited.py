"""Connections of a process that forks: the child closes its copies of their sockets.

Otherwise the server would not notice the end of the parent as long as the child lives, and would keep the transactions
and locks of the parent. The child sends nothing, because a Terminate message would end the session of the parent.
"""

import os
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import BaseConnection

_opened: WeakSet[BaseConnection[Any]] = WeakSet()


def close_in_children(connection: BaseConnection[Any]) -> None:
    """Register a connection so that every forked child process closes it first."""
    _opened.add(connection)


def _close_all() -> None:
    for connection in list(_opened):
        with suppress(psycopg.Error, OSError):  # it is closed
            os.close(connection.pgconn.socket)
        connection.pgconn.finish()
    _opened.clear()


os.register_at_fork(after_in_child=_close_all)
