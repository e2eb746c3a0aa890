"""Facts that identify the processes of a worker beyond their death, so that a local worker can prove that they died."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from horsies.db.queries.worker import WorkerFacts
from horsies.version import __version__
from horsies.worker.options import WorkerOptions, WorkerSettings


def worker_facts(settings: WorkerSettings, options: WorkerOptions, fork_server_pid: int) -> WorkerFacts:
    """Return the row of this process for the table of workers."""
    hostname = socket.gethostname()
    pid = os.getpid()
    return WorkerFacts(
        hostname=hostname,
        pid=pid,
        process_name=f"{hostname}:{pid}",
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        process_start=_starts(pid, fork_server_pid),
        library_version=__version__,
        processes=options.processes,
        concurrency=options.concurrency,
        queues={name: settings.queues[name] for name in options.queues or settings.queues},
        cluster_cap=settings.cluster_cap,
        task_names=settings.task_names,
        stale_after_s=settings.stale_after_s,
    )


def is_dead(pid: int, process_start: str) -> bool:
    """Whether a worker is certainly dead that was started on this host since the last boot.

    Both its supervisor and its fork server must be gone: the kernel kills the children only when the fork server dies.
    On other systems than Linux the kernel does not do that, so the answer is always False there.
    """
    start, _, fork_server = process_start.partition(" ")
    fork_server_pid, _, fork_server_start = fork_server.partition(":")
    if not fork_server_pid.isdecimal():
        return False
    return _is_gone(pid, start) and _is_gone(int(fork_server_pid), fork_server_start)


def _starts(pid: int, fork_server_pid: int) -> str:
    """Return the starts of supervisor and fork server, in ticks since the boot: ``start fork_server_pid:start``."""
    return f"{_start_of(pid)} {fork_server_pid}:{_start_of(fork_server_pid)}" if sys.platform == "linux" else ""


def _start_of(pid: int) -> str | None:
    """Return the start time of a process in ticks since the boot, which does not change when the clock is set.

    None: the process is not visible. Empty: it has ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name of the program, in parentheses, may contain anything
    return "" if state in {"Z", "X"} else fields[18]


def _is_gone(pid: int, start: str) -> bool:
    with suppress(PermissionError):  # the process belongs to another user
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
    return _start_of(pid) not in {None, start}  # a process that /proc hides may be alive


def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return repr(psutil.boot_time())


def _pid_namespace() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""
