"""The keeper process: stops the embedded PostgreSQL when the last process that uses it has ended.

`horsies.embedded.server` runs this file as a script. The keeper lives as long as the server, so it imports little. It
is the parent of the server: when the server dies, the keeper exits; when the keeper is killed, the kernel (of Linux)
signals the server to stop. Its standard output is the log of the server, and this open file holds the lock of the log.
"""

import ctypes
import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_FAST_STOP_S = 60
_POLL_S = 0.02


def keep(lock: str, own_folder: str, server: list[str]) -> None:
    """Run the server, detached from the caller, until no other process holds ``lock``.

    Args:
        lock: the file on which every process that uses the server holds a shared flock.
        own_folder: a separate folder for the socket, which is removed at the end; empty if there is none.
        server: the command line of the server.
    """
    if os.fork():  # the starter returns, and does not have to reap the keeper
        return
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGCHLD])  # until the handler is installed
    keeper = os.getpid()
    pid = os.fork()
    if not pid:
        _exec_server(server, keeper)
    # A signal to the whole process group is addressed to the programs in it, which still need the server to stop.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        _wait_until_unused(lock, pid)
        _stop(pid)
    finally:
        _remove(own_folder)


def _exec_server(server: list[str], keeper: int) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would lose what comes before exec
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != keeper:
        sys.exit("the keeper died before the server started")
    os.execv(server[0], server)  # noqa: S606 # an absolute path into the installed wheel


def _wait_until_unused(lock: str, pid: int) -> None:
    def leave_with_server(*_: object) -> None:
        if os.waitpid(pid, os.WNOHANG)[0]:  # SIGCHLD also comes when the server was only suspended
            sys.exit()

    signal.signal(signal.SIGCHLD, leave_with_server)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # The file stays open, and locked, until this process ends: new users wait while the server stops.
    fcntl.flock(os.open(lock, os.O_RDWR | os.O_NOFOLLOW), fcntl.LOCK_EX)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _stop(pid: int) -> None:
    fast_until = time.monotonic() + _FAST_STOP_S
    while not os.waitpid(pid, os.WNOHANG)[0]:
        # Repeat the signal: a server that has just started may miss the first one.
        os.kill(pid, signal.SIGINT if time.monotonic() < fast_until else signal.SIGQUIT)
        time.sleep(_POLL_S)


def _remove(folder: str) -> None:
    if folder:
        with suppress(OSError):
            for left_over in Path(folder).iterdir():
                left_over.unlink()
            Path(folder).rmdir()


if __name__ == "__main__":
    keep(sys.argv[1], sys.argv[2], sys.argv[3:])
