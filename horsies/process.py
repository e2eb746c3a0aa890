"""Functions for the current process: standard streams, stop signals, sockets, limits and threads."""

import os
import re
import resource
import selectors
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
INTERRUPTED = 130

_READ_BYTES = 1 << 10
_FIRST_FREE_FILE = 3
_TASKS = Path("/proc/self/task")
_THREADED_LIBRARY = re.compile(r"/lib(gomp|omp|iomp5|openblas|mkl_\w+|tbb|arrow|torch)\b|/(cygrpc)\b")


def monotonic() -> float:
    """Return seconds of a monotonic clock that freezegun does not freeze, unlike `time.monotonic`."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def open_standard_files() -> None:
    """Open ``/dev/null`` for each standard stream that was closed when this process started.

    Otherwise the next socket would get its number, and the output of tasks and of their commands would go into that
    socket.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) < _FIRST_FREE_FILE:
        os.set_inheritable(file, True)
    os.close(file)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open until the process ends
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def flush_output() -> None:
    """Flush standard output and standard error, if they are open."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # user code may have closed or replaced the stream
            stream.flush()


def raise_open_files_limit(needed: int) -> int:
    """Raise the soft limit of open files to ``needed``, as far as the hard limit allows.

    Returns:
        The number of files that this process may open now, or ``needed`` if the limit was high enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def adopt_socket(file: int) -> socket.socket:
    """Return a blocking socket for a descriptor, regardless of `socket.setdefaulttimeout` in the user's program."""
    found = socket.socket(fileno=file)
    found.settimeout(None)
    return found


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return a pair of blocking sockets, regardless of `socket.setdefaulttimeout` in the user's program."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.settimeout(None)
    return ours, theirs


def native_threads() -> list[str]:
    """Return the names of threads that Python did not start; empty on systems that cannot list them."""
    known = {getattr(thread, "native_id", None) for thread in threading.enumerate()} | {os.getpid()}
    try:
        found = [task for task in _TASKS.iterdir() if int(task.name) not in known]
    except OSError:
        return []
    names: list[str] = []
    for task in found:
        with suppress(OSError):  # the thread has ended meanwhile
            names.append((task / "comm").read_text(encoding="utf-8", errors="replace").strip())
    return sorted(names)


def threaded_libraries() -> list[str]:
    """Return the names of loaded libraries that are known to start threads, such as OpenMP."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return sorted({found[1] or found[2] for found in _THREADED_LIBRARY.finditer(maps)})


def leave_on_stop_signals(exit_code: int = 128 + signal.SIGTERM) -> None:
    """End this process at the first stop signal, even if it is the first process of a container (PID 1).

    The kernel ignores signals to PID 1 that have no handler.

    Args:
        exit_code: the exit code after SIGTERM and SIGHUP; after Ctrl-C it is 130.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        flush_output()
        os._exit(INTERRUPTED if number == signal.SIGINT else exit_code)

    for number in STOP_SIGNALS:
        if not is_ignored_hangup(number):
            signal.signal(number, leave)


def reset_stop_signals() -> None:
    """Reset the signal handlers in a fork, and discard pending signals, which were meant for its parent."""
    signal.set_wakeup_fd(-1)
    caught = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in caught:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class StopSignals:
    """Collects stop signals from the start of a worker to its end, so that none is lost during blocking calls.

    Within a ``with`` block, signals do not end the process: they are stored, and ``fileno()`` becomes readable. This
    also works for the first process of a container (PID 1), to which the kernel delivers only signals with a handler.
    A SIGHUP that was ignored before, as with ``nohup``, stays ignored.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
        self._reader, self._writer = socket_pair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            if not is_ignored_hangup(number):
                self.catch(number)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Restore the previous handlers."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._reader.close()
        self._writer.close()

    def catch(self, number: signal.Signals) -> None:
        """Collect a further signal."""
        handler = signal.signal(number, _do_nothing)
        self._before.setdefault(number, handler)

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """The sockets that a fork of this process must close; `reset_stop_signals` resets the handlers."""
        return self._reader, self._writer

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a signal arrives."""
        return self._reader.fileno()

    def wait(self, seconds: float) -> list[signal.Signals]:
        """Wait for signals for at most ``seconds``; returns those that arrived."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            return self.take() if selector.select(seconds) else []

    def take(self) -> list[signal.Signals]:
        """Return the signals that arrived since the last call."""
        try:
            numbers = self._reader.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in self._before]


def is_ignored_hangup(number: signal.Signals) -> bool:
    """Whether a signal is SIGHUP and this process was started with SIGHUP ignored, as with ``nohup``."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal, so that Python writes its number to the wake-up socket."""
