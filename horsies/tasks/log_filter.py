"""`TaskLogFilter`: adds the running task to log records."""

import logging
from typing import override

from horsies.events import NO_TASK
from horsies.tasks.current import current_task
from horsies.tracing.provider import trace_ids


class TaskLogFilter(logging.Filter):
    """Adds the running task to each log record as ``task_name``, ``task_id`` and ``task_attempt``, and its trace.

    If the program makes spans with OpenTelemetry, ``trace_id`` and ``span_id`` are those of the current span, as hex
    digits.

    Add it to a handler, not to a logger: the filters of a logger do not see the records of the loggers below it. The
    formatter can then use ``%(task_name)s``, ``%(task_id)s``, ``%(task_attempt)s``, ``%(trace_id)s`` and
    ``%(span_id)s``. Each is ``"-"`` for a record that is logged outside of a task or a span. It accepts every record.
    The handlers of ``horsies worker`` have this filter.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes to a record, and accept it.

        A record that already has a task keeps it. Such a record was logged elsewhere, for example in another process
        whose records a `logging.handlers.SocketHandler` sends here.
        """
        if not hasattr(record, "task_id"):
            task = current_task()
            record.task_name = NO_TASK if task is None else task.name
            record.task_id = NO_TASK if task is None else task.id
            record.task_attempt = NO_TASK if task is None else task.attempt
        if not hasattr(record, "trace_id"):
            record.trace_id, record.span_id = trace_ids() or (NO_TASK, NO_TASK)
        return True
