"""What this process has of the operating system: standard streams, stop signals, sockets and threads."""

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
    """Seconds by a clock that never stops or goes back, also in tests that freeze `time.monotonic` with freezegun."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def open_standard_files() -> None:
    """Open ``/dev/null`` for each standard stream that was closed when this process started.

    Otherwise the next socket gets its number, and what a task or a command that it runs prints goes into that socket.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) < _FIRST_FREE_FILE:
        os.set_inheritable(file, True)
    os.close(file)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open for as long as the process is
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def flush_output() -> None:
    """Write out what was printed, as far as there is somewhere to write it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # user code may have closed it, or put anything in its place
            stream.flush()


def raise_open_files_limit(needed: int) -> int:
    """Have this process open as many files as it needs, as far as the hard limit allows it.

    Returns:
        How many it may open now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def adopt_socket(file: int) -> socket.socket:
    """Make a socket of a descriptor. It blocks, whatever `socket.setdefaulttimeout` says in the user's program."""
    found = socket.socket(fileno=file)
    found.settimeout(None)
    return found


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make a pair of sockets that block, whatever `socket.setdefaulttimeout` says in the user's program."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.settimeout(None)
    return ours, theirs


def native_threads() -> list[str]:
    """Names of the threads of this process that Python does not know; empty where the system can't tell."""
    known = {getattr(thread, "native_id", None) for thread in threading.enumerate()} | {os.getpid()}
    try:
        found = [task for task in _TASKS.iterdir() if int(task.name) not in known]
    except OSError:
        return []
    names: list[str] = []
    for task in found:
        with suppress(OSError):  # it has ended meanwhile
            names.append((task / "comm").read_text(encoding="utf-8", errors="replace").strip())
    return sorted(names)


def threaded_libraries() -> list[str]:
    """Names of the loaded libraries that are known to start threads, such as OpenMP's."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return sorted({found[1] or found[2] for found in _THREADED_LIBRARY.finditer(maps)})


def leave_on_stop_signals(exit_code: int = 128 + signal.SIGTERM) -> None:
    """End this process at the first stop signal, also as the first process of a container (PID 1).

    For that process the kernel ignores signals that have no handler.

    Args:
        exit_code: for SIGTERM and SIGHUP; it is 130 for Ctrl-C.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        flush_output()
        os._exit(INTERRUPTED if number == signal.SIGINT else exit_code)

    for number in STOP_SIGNALS:
        if not is_ignored_hangup(number):
            signal.signal(number, leave)


def reset_stop_signals() -> None:
    """In a fork: forget the handlers of its parent, and signals that came meanwhile, which were meant for that."""
    signal.set_wakeup_fd(-1)
    caught = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in caught:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class StopSignals:
    """Stop signals from the first moment of a worker to its last: none is lost, whatever the process does meanwhile.

    Within a ``with`` block they are kept here instead of ending the process, and ``fileno()`` becomes readable. The
    first process of a container (PID 1) gets them too, for which the kernel ignores signals without a handler. A
    hang-up that was ignored before, as ``nohup`` does, stays ignored.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        """Take signals from now on."""
        self._reader, self._writer = socket_pair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            if not is_ignored_hangup(number):
                self.catch(number)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Put the handlers back that were there before."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._reader.close()
        self._writer.close()

    def catch(self, number: signal.Signals) -> None:
        """Take another signal, too."""
        handler = signal.signal(number, _do_nothing)
        self._before.setdefault(number, handler)

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """The sockets that a fork of this process has to close; `reset_stop_signals` drops the handlers."""
        return self._reader, self._writer

    def fileno(self) -> int:
        """The descriptor that is readable when a signal has come."""
        return self._reader.fileno()

    def wait(self, seconds: float) -> list[signal.Signals]:
        """Wait for a signal, as long as that; those that came."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            return self.take() if selector.select(seconds) else []

    def take(self) -> list[signal.Signals]:
        """The signals that came since the last call."""
        try:
            numbers = self._reader.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in self._before]


def is_ignored_hangup(number: signal.Signals) -> bool:
    """Whether a signal is a hang-up that this process was told to ignore when it was started, as ``nohup`` does."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler, so that Python writes the signal's number to the wake-up socket."""
