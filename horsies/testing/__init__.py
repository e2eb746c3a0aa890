"""Testing code that uses horsies, on a real PostgreSQL: `TestQueue` and a plugin for pytest.

The names are imported at first use, so that the plugin costs nothing in test runs that do not use it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from horsies.testing.databases import TestDatabases
    from horsies.testing.errors import (
        DrainLimitError,
        DrainRefusedError,
        ForgottenQueueError,
        NotEndedError,
        ProcessExitRefusedError,
        QueueTestError,
        WorkerFailedError,
    )
    from horsies.testing.plugin import MakeQueue
    from horsies.testing.queue import TestQueue
    from horsies.testing.reports import DrainReport, RanAttempt
    from horsies.testing.runs import TestRun
    from horsies.testing.sent import SentTask

_MODULES = {
    "DrainLimitError": "errors",
    "DrainRefusedError": "errors",
    "DrainReport": "reports",
    "ForgottenQueueError": "errors",
    "MakeQueue": "plugin",
    "NotEndedError": "errors",
    "ProcessExitRefusedError": "errors",
    "QueueTestError": "errors",
    "RanAttempt": "reports",
    "SentTask": "sent",
    "TestDatabases": "databases",
    "TestQueue": "queue",
    "TestRun": "runs",
    "WorkerFailedError": "errors",
}

__all__ = [
    "DrainLimitError",
    "DrainRefusedError",
    "DrainReport",
    "ForgottenQueueError",
    "MakeQueue",
    "NotEndedError",
    "ProcessExitRefusedError",
    "QueueTestError",
    "RanAttempt",
    "SentTask",
    "TestDatabases",
    "TestQueue",
    "TestRun",
    "WorkerFailedError",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
