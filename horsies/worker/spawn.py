"""Starting a process of the worker: as a fork of this one, or as a fresh interpreter.

The code of the new process is a *process main*: a function that is called with file descriptors. A fork calls it
directly. A fresh interpreter receives it pickled, so there it must be a function of a module, or a `functools.partial`
of one with arguments that can be pickled.
"""

import base64
import logging
import os
import pickle
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Never

from horsies.errors import ErrorCode, HorsiesError
from horsies.events import event
from horsies.process import flush_output, native_threads, reset_stop_signals, threaded_libraries
from horsies.worker.options import StartMethod
from horsies.worker.runtime.exits import flush_open_files

START_FAILED = 70

type ProcessMain = Callable[..., None]


def start_process(
    method: StartMethod, process_main: ProcessMain, files: Sequence[int], unneeded: Iterable[socket.socket]
) -> int:
    """Start a process in a new session.

    Args:
        method: ``fork`` or ``spawn``.
        process_main: called in the new process with the descriptors, as they are numbered there.
        files: descriptors to pass on; they stay open in this process.
        unneeded: sockets that a fork must close; a fresh interpreter inherits nothing but ``files``.

    Returns:
        The process id.
    """
    flush_output()
    if method == "spawn":
        return _spawn(process_main, files)
    flush_open_files()  # otherwise every fork would write its copy of the buffers again
    pid = os.fork()
    if pid == 0:
        _run_process(partial(_as_fork, process_main, files, unneeded))
    return pid


def leftover_threads_error(problem: str) -> HorsiesError | None:
    """Return an error if this process has further threads: a fork copies one thread only.

    The locks that other threads hold would stay locked in the fork for ever.

    Args:
        problem: the beginning of the error message; the names of the threads follow it.
    """
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if not others:
        return None
    return HorsiesError(
        ErrorCode.MODULE_EXEC_ERROR,
        f"{problem}: {', '.join(others)}",
        help_text="start threads, pools, clients and tracer providers in tasks, at first use or in a function with "
        "@app.on_child_process_start, not when a module is imported; or let each child import the app by itself: "
        "--start-method spawn",
    )


def log_native_threads(method: StartMethod) -> None:
    """Log the threads of native libraries, which Python does not know: as a warning if children are forked.

    A forked child does not have these threads. A library that waits for them, such as OpenMP, hangs there for ever;
    others, such as OpenBLAS, start them again. Therefore the app is not refused.
    """
    names = native_threads()
    facts: dict[str, Any] = {"threads": ",".join(names), "libraries": ",".join(threaded_libraries()) or "unknown"}
    if names and method == "spawn":
        event("app.native_threads_found", **facts, start_method=method)
    elif names:
        event(
            "app.native_threads_found",
            level=logging.WARNING,
            **facts,
            problem="importing the app started threads of native libraries, which forked children do not have: "
            "tasks that use these libraries may hang",
            help="use --start-method spawn, or use these libraries in tasks or in @app.on_child_process_start only",
        )


def monkey_patch_error(method: StartMethod) -> HorsiesError | None:
    """Return an error if the import of the app has patched the standard library with gevent or eventlet.

    gevent's loop aborts a fork of its process; a fresh interpreter makes a new loop. The replacements of eventlet for
    `select` and `threading` do not work in a worker, with either start method.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    elsewhere = "in the program that serves requests, not in a module that a worker imports"
    if method == "fork" and gevent is not None and getattr(gevent, "saved", None):
        problem = "importing the app patched the standard library with gevent, whose loop does not survive a fork"
        fix = f"call gevent.monkey.patch_all() {elsewhere}; or let each child import the app: --start-method spawn"
    elif eventlet is not None and getattr(eventlet, "already_patched", None):
        problem = "importing the app patched the standard library with eventlet, with which a worker cannot run"
        fix = f"call eventlet.monkey_patch() {elsewhere}"
    else:
        return None
    return HorsiesError(ErrorCode.MODULE_EXEC_ERROR, problem, help_text=fix)


def main() -> Never:
    """Run the process main of a fresh interpreter; see `_spawn`."""
    sys.argv, process_main, files = pickle.loads(base64.b64decode(sys.argv[1]))  # noqa: S301 - from our own parent
    _run_process(partial(process_main, *files))


def _spawn(process_main: ProcessMain, files: Sequence[int]) -> int:
    """Start an interpreter with `posix_spawn`: unlike fork and exec, it is safe in a process that has threads."""
    numbers = [number for number in range(3, 3 + 2 * len(files)) if number not in files][: len(files)]
    moves = [(os.POSIX_SPAWN_DUP2, file, number) for file, number in zip(files, numbers, strict=True)]
    message = base64.b64encode(pickle.dumps((sys.argv, process_main, numbers))).decode()
    begin = f"import sys; sys.path[:] = {sys.path!r}; from horsies.worker.spawn import main; main()"
    command = [sys.executable, "-P", "-c", begin, message]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=moves, setsid=True, setsigmask=[])


def _as_fork(process_main: ProcessMain, files: Sequence[int], unneeded: Iterable[socket.socket]) -> None:
    os.setsid()  # so that a Ctrl-C in the terminal reaches only the supervisor
    reset_stop_signals()
    for each in unneeded:
        each.close()
    process_main(*files)


def _run_process(process_main: Callable[[], None]) -> Never:
    status = START_FAILED
    try:
        process_main()
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of this process
        traceback.print_exc()
    finally:
        flush_output()
        os._exit(status)
