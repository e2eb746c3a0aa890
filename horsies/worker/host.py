"""Which process this is, in terms that outlive it: what proves its death to the next worker on the same host."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from horsies.db.calls_worker import WorkerFacts
from horsies.version import __version__
from horsies.worker.settings import WorkerOptions, WorkerSettings


def worker_facts(settings: WorkerSettings, options: WorkerOptions) -> WorkerFacts:
    """What this process says of itself in the table of workers."""
    hostname = socket.gethostname()
    pid = os.getpid()
    return WorkerFacts(
        hostname=hostname,
        pid=pid,
        process_name=f"{hostname}:{pid}",
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        process_start=repr(psutil.Process(pid).create_time()),
        library_version=__version__,
        processes=options.processes,
        concurrency=options.concurrency,
        queues=options.queues or settings.queues,
        task_names=settings.task_names,
        stale_after_s=settings.stale_after_s,
    )


def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return repr(psutil.boot_time())


def _pid_namespace() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""
