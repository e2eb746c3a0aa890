"""Errors of the testing kit. They stand for mistakes in a test, or for what a test cannot do in its own process."""


class QueueTestError(Exception):
    """The base of all errors of the testing kit."""

    __test__ = False  # no class that pytest should collect


class ForgottenQueueError(QueueTestError):
    """A test has used the database that the configuration of an app names, because it made no queue of that app."""


class DrainRefusedError(QueueTestError):
    """`drain` cannot run here; the message names the method that can."""


class DrainLimitError(QueueTestError):
    """`drain` has run as many attempts as its ``limit``, and tasks are still due."""


class NotEndedError(QueueTestError):
    """A task or a workflow run has not ended, although nothing is due any more; the message says why."""


class ProcessExitRefusedError(QueueTestError):
    """A task tried to end or to signal the process of the test."""


class WorkerFailedError(QueueTestError):
    """The worker process of a test did not start, or did not stop in time; the message contains its log."""
