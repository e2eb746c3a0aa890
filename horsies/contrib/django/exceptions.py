"""Exceptions that describe failures for which Django has none."""

from django.tasks.exceptions import TaskException


class TaskAborted(TaskException):
    """The task ended without an exception of its function.

    A result has this class in ``errors`` if the task was cancelled, exceeded its time-out or lost its worker, for
    example. The traceback begins with the error code of horsies, such as WORKER_CRASHED.
    """
