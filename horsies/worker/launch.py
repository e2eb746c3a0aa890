"""Starting a process of the worker: as a fork of this one, or as a fresh interpreter.

What the process does is a function, its *life*, which gets descriptors. A fork just calls it. A fresh interpreter gets
it pickled, so there it is a function of a module, or a `functools.partial` of one with arguments that can be pickled.
"""

import base64
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Never

from horsies.errors import ErrorCode, HorsiesError
from horsies.worker.exits import flush_open_files
from horsies.worker.settings import StartMethod

START_FAILED = 70

type Life = Callable[..., None]


def start_process(method: StartMethod, life: Life, files: Sequence[int], unneeded: Iterable[socket.socket]) -> int:
    """Start a process with a session of its own.

    Args:
        method: ``fork`` or ``spawn``.
        life: what it does; it is called with the descriptors, as they are numbered there.
        files: descriptors to hand over; they stay open here.
        unneeded: sockets that a fork is to close; a fresh interpreter has nothing but ``files``.

    Returns:
        The process id.
    """
    if method == "spawn":
        return _spawn(life, files)
    flush_open_files()  # or each process that ends with a copy of the buffers writes them again
    pid = os.fork()
    if pid == 0:
        _live(partial(_as_fork, life, files, unneeded))
    return pid


def threads_left(problem: str) -> HorsiesError | None:
    """Why this process can't fork: a fork takes one thread with it, and the others' locks stay locked for ever.

    Args:
        problem: what it means that there are threads.
    """
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if not others:
        return None
    return HorsiesError(
        ErrorCode.MODULE_EXEC_ERROR,
        f"{problem}: {', '.join(others)}",
        help_text="start threads, pools and clients in tasks, at first use or in a function with "
        "@app.on_child_process_start, not when a module is imported; or let each child import the app by itself: "
        "--start-method spawn",
    )


def main() -> Never:
    """The beginning of a fresh interpreter."""
    sys.argv, life, files = pickle.loads(base64.b64decode(sys.argv[1]))  # noqa: S301 - from our own parent
    _live(partial(life, *files))


def _spawn(life: Life, files: Sequence[int]) -> int:
    """Not by fork and exec, which would be our own code between the two: this process may have threads."""
    numbers = [number for number in range(3, 3 + 2 * len(files)) if number not in files][: len(files)]
    moves = [(os.POSIX_SPAWN_DUP2, file, number) for file, number in zip(files, numbers, strict=True)]
    message = base64.b64encode(pickle.dumps((sys.argv, life, numbers))).decode()
    begin = f"import sys; sys.path[:] = {sys.path!r}; from horsies.worker.launch import main; main()"
    command = [sys.executable, "-P", "-c", begin, message]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=moves, setsid=True, setsigmask=[])


def _as_fork(life: Life, files: Sequence[int], unneeded: Iterable[socket.socket]) -> None:
    os.setsid()  # a Ctrl-C in the terminal is for the supervisor
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for each in unneeded:
        each.close()
    life(*files)


def _live(life: Callable[[], None]) -> Never:
    status = START_FAILED
    try:
        life()
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of this process
        traceback.print_exc()
    finally:
        with suppress(Exception):  # user code may have closed them, or put anything in their place
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
