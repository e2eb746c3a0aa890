"""`TaskLogFilter`: adds the running task to log records."""

import logging
from typing import override

from horsies.events import NO_TASK
from horsies.tasks.current import current_task


class TaskLogFilter(logging.Filter):
    """Adds the running task to each log record as ``task_name``, ``task_id`` and ``task_attempt``.

    Add it to a handler, not to a logger: the filters of a logger do not see the records of the loggers below it. The
    formatter can then use ``%(task_name)s``, ``%(task_id)s`` and ``%(task_attempt)s``. Each is ``"-"`` for a record
    that is logged outside of a task. It accepts every record. The handlers of ``horsies worker`` have this filter.
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
        return True
