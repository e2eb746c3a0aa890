"""After user code, which may do anything to its process: what must hold for the next task, and who must not see it."""

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

_LEAST_RECURSION = 1000  # what Python begins with
_STRAY_COPY = 70


@dataclass(frozen=True, slots=True)
class Raised:
    """What user code raised; carried as a value, for SystemExit and KeyboardInterrupt must not leave a loop."""

    exception: BaseException


def restore_process(home: int, returned: object) -> None:
    """Go on after user code: not in a copy of this process that the code has forked, and with room on the stack.

    Args:
        home: the id of the process that called the code.
        returned: what the code returned, or `Raised`.
    """
    if os.getpid() != home:
        _end_copy(returned.exception if isinstance(returned, Raised) else None)
    if sys.getrecursionlimit() < _LEAST_RECURSION:
        sys.setrecursionlimit(_LEAST_RECURSION)


def _end_copy(raised: BaseException | None) -> Never:
    """End as a program would. This copy has its original's socket and jobs: it would do them a second time."""
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
    """End copies of this process when they come back to its event loop, before they run anything else there."""

    def in_copy() -> None:
        if loop.is_running():
            getattr(loop, "_ready", []).clear()  # in asyncio's own loop: the next steps of all tasks
            loop.call_soon(os._exit, _STRAY_COPY)

    os.register_at_fork(after_in_child=in_copy)


def drive[T](loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], context: Context | None = None) -> T:
    """Run a coroutine to its end, although other tasks may stop the loop, or raise what asyncio lets out of it.

    What it lets out, it also keeps for whoever awaits that task.
    """
    task = loop.create_task(coroutine, context=context)
    task.add_done_callback(lambda _: loop.stop())
    while not task.done():
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
    return task.result()


def unhealthy_reason(loop: asyncio.AbstractEventLoop, file: int) -> str | None:
    """Say why this process can run no more tasks; None if it can.

    Args:
        loop: where it runs the asynchronous ones.
        file: any open descriptor.
    """
    if loop.is_closed():
        return "a task closed its event loop"
    try:
        os.close(os.dup(file))
    except OSError as error:
        return f"it can't open files any more: {error.strerror}"
    return None
