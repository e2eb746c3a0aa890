"""Restoring the process after user code, which may do anything to it, before the next task runs.

A task may fork. The copy has the socket and the jobs of its original, and must never run the next job a second time:
it is ended as soon as it returns from user code.
"""

import asyncio
import os
import sys
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Never

from horsies.process import flush_output

_MIN_RECURSION_LIMIT = 1000  # the default of Python
_FORKED_COPY_EXIT_CODE = 70


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception of user code, carried as a value: SystemExit and KeyboardInterrupt must not leave an event loop."""

    exception: BaseException


def restore_process(home: int, returned: object) -> None:
    """Restore this process after user code: end it if it is a forked copy, and reset a low recursion limit.

    Args:
        home: the id of the process that called the code.
        returned: the value that the code returned, or `Raised`.
    """
    if os.getpid() != home:
        _end_copy(returned.exception if isinstance(returned, Raised) else None)
    if sys.getrecursionlimit() < _MIN_RECURSION_LIMIT:
        sys.setrecursionlimit(_MIN_RECURSION_LIMIT)


def _end_copy(raised: BaseException | None) -> Never:
    """End a forked copy as a program ends: with the exit status of SystemExit, or a traceback."""
    status: object = 0
    try:
        if isinstance(raised, SystemExit):
            status = raised.code
        elif raised is not None:
            status = 1
            traceback.print_exception(raised)
        flush_output()
    finally:
        os._exit(status & 0xFF if isinstance(status, int) else status is not None)


def exit_forked_copies(loop: asyncio.AbstractEventLoop) -> None:
    """End forked copies of this process when they return to the event loop, before they run anything else there."""

    def in_copy() -> None:
        if loop.is_running():
            getattr(loop, "_ready", []).clear()  # in asyncio's own loop, these are the next steps of all tasks
            loop.call_soon(os._exit, _FORKED_COPY_EXIT_CODE)

    os.register_at_fork(after_in_child=in_copy)


def exit_if_copy(home: int) -> None:
    """End this process if it is a forked copy, which has returned from a coroutine that waits for something.

    Args:
        home: the id of the process that started the coroutine.
    """
    if os.getpid() != home:
        os._exit(_FORKED_COPY_EXIT_CODE)


def drive[T](loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], context: Context | None = None) -> T:
    """Run a coroutine to its end, even if other tasks stop the loop or raise SystemExit or KeyboardInterrupt.

    asyncio lets these two exceptions out of the loop, and also stores them in the task that raised them.
    """
    task = loop.create_task(coroutine, context=context)
    task.add_done_callback(lambda _: loop.stop())
    while not task.done():
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
    return task.result()


def unhealthy_reason(loop: asyncio.AbstractEventLoop, file: int) -> str | None:
    """Return why this process cannot run further tasks; None if it can.

    Args:
        loop: runs the asynchronous tasks.
        file: any open descriptor.
    """
    if loop.is_closed():
        return "a task closed its event loop"
    try:
        os.close(os.dup(file))
    except OSError as error:
        return f"it cannot open files any more: {error.strerror}"
    return None
