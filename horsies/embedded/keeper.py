"""Stops the embedded PostgreSQL when the last process that uses it is gone.

`horsies.embedded.server` runs this file as a script.

It lives as long as the server, so it imports little. It is the server's parent: when the server dies the
keeper ends, and when the keeper is killed the kernel (of Linux) tells the server to stop. Its standard output is the
server's log, whose lock it holds by that.
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
    """Run the server, detached from the caller, until nobody holds ``lock`` any more.

    Args:
        lock: file on which every user of the server keeps a shared flock.
        own_folder: folder for the socket alone, removed in the end; empty if there is none.
        server: command line of the server.
    """
    if os.fork():  # the starter goes on, and never has to reap us
        return
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGCHLD])  # until somebody listens
    keeper = os.getpid()
    pid = os.fork()
    if not pid:
        _exec_server(server, keeper)
    # Whoever signals a whole group of processes means its members, whose last work still needs the server.
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
        sys.exit("the keeper died before the server began")
    os.execv(server[0], server)  # noqa: S606 # an absolute path of our own wheel


def _wait_until_unused(lock: str, pid: int) -> None:
    def leave_with_server(*_: object) -> None:
        if os.waitpid(pid, os.WNOHANG)[0]:  # it may merely have been suspended
            sys.exit()

    signal.signal(signal.SIGCHLD, leave_with_server)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Stays open, and so held, until this process ends: who comes while the server stops has to wait.
    fcntl.flock(os.open(lock, os.O_RDWR | os.O_NOFOLLOW), fcntl.LOCK_EX)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _stop(pid: int) -> None:
    fast_until = time.monotonic() + _FAST_STOP_S
    while not os.waitpid(pid, os.WNOHANG)[0]:
        # Again and again, for a server that has only just begun may not have heard it.
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
