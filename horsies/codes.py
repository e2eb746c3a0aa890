"""Every code the library itself uses, as `str` enums: of task errors, of refused calls, of states."""

from enum import StrEnum
from typing import Final


class OperationalErrorCode(StrEnum):
    """The machinery failed, or the task did so unexpectedly: look at the logs; a retry may help."""

    UNHANDLED_EXCEPTION = "UNHANDLED_EXCEPTION"
    TASK_EXCEPTION = "TASK_EXCEPTION"
    WORKER_CRASHED = "WORKER_CRASHED"
    BROKER_ERROR = "BROKER_ERROR"
    WORKER_RESOLUTION_ERROR = "WORKER_RESOLUTION_ERROR"
    WORKER_SERIALIZATION_ERROR = "WORKER_SERIALIZATION_ERROR"
    RESULT_DESERIALIZATION_ERROR = "RESULT_DESERIALIZATION_ERROR"
    WORKFLOW_ENQUEUE_FAILED = "WORKFLOW_ENQUEUE_FAILED"
    SUBWORKFLOW_LOAD_FAILED = "SUBWORKFLOW_LOAD_FAILED"


class ContractCode(StrEnum):
    """Code and data disagree about a type: mend the program; a retry gives the same."""

    RETURN_TYPE_MISMATCH = "RETURN_TYPE_MISMATCH"
    PYDANTIC_HYDRATION_ERROR = "PYDANTIC_HYDRATION_ERROR"
    WORKFLOW_CTX_MISSING_ID = "WORKFLOW_CTX_MISSING_ID"


class RetrievalCode(StrEnum):
    """The result could not be had now: says nothing about how the task itself fared."""

    WAIT_TIMEOUT = "WAIT_TIMEOUT"
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    WORKFLOW_NOT_FOUND = "WORKFLOW_NOT_FOUND"
    RESULT_NOT_AVAILABLE = "RESULT_NOT_AVAILABLE"
    RESULT_NOT_READY = "RESULT_NOT_READY"


class OutcomeCode(StrEnum):
    """An end that was decided rather than computed: cancelled, expired, timed out, skipped."""

    TASK_CANCELLED = "TASK_CANCELLED"
    TASK_EXPIRED = "TASK_EXPIRED"
    TASK_TIMEOUT = "TASK_TIMEOUT"
    WORKFLOW_PAUSED = "WORKFLOW_PAUSED"
    WORKFLOW_FAILED = "WORKFLOW_FAILED"
    WORKFLOW_CANCELLED = "WORKFLOW_CANCELLED"
    UPSTREAM_SKIPPED = "UPSTREAM_SKIPPED"
    SUBWORKFLOW_FAILED = "SUBWORKFLOW_FAILED"
    WORKFLOW_SUCCESS_CASE_NOT_MET = "WORKFLOW_SUCCESS_CASE_NOT_MET"


type BuiltInTaskCode = OperationalErrorCode | ContractCode | RetrievalCode | OutcomeCode

BUILT_IN_CODES: Final[dict[str, BuiltInTaskCode]] = {
    str(code): code for family in (OperationalErrorCode, ContractCode, RetrievalCode, OutcomeCode) for code in family
}
"""The reserved codes: text to member."""


_ENDINGS = frozenset({"COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "SKIPPED"})


class _Status(StrEnum):
    """Of a task, a run or a node."""

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended: then it never changes again."""
        return self in _ENDINGS


class TaskStatus(_Status):
    """Where a task stands."""

    PENDING = "PENDING"  # sent, retried, or handed back
    CLAIMED = "CLAIMED"  # fetched ahead by a worker, not begun
    RUNNING = "RUNNING"  # committed before the task's code starts
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"  # not begun by its `good_until`


TASK_TERMINAL_STATES: Final = frozenset(status for status in TaskStatus if status.is_terminal)


class TaskAttemptOutcome(StrEnum):
    """How one attempt at a task ended."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"  # the task said so, or raised
    WORKER_FAILURE = "WORKER_FAILURE"  # its process died under it


class OnError(StrEnum):
    """What a run does when one of its nodes fails."""

    FAIL = "fail"  # go on until every node has ended, then FAILED
    PAUSE = "pause"  # start nothing more until somebody resumes it


class WorkflowStatus(_Status):
    """Where a run of a workflow stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # by a failed node, or because somebody said so
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


WORKFLOW_TERMINAL_STATES: Final = frozenset(status for status in WorkflowStatus if status.is_terminal)


class WorkflowTaskStatus(_Status):
    """Where a node of a run stands."""

    PENDING = "PENDING"  # waits for its dependencies
    READY = "READY"  # they have ended; held, because the run is paused
    ENQUEUED = "ENQUEUED"  # its task was sent
    RUNNING = "RUNNING"  # and runs, or waits for a retry
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"  # also when its task was cancelled or expired
    SKIPPED = "SKIPPED"  # a dependency failed, or the run was cancelled


WORKFLOW_TASK_TERMINAL_STATES: Final = frozenset(status for status in WorkflowTaskStatus if status.is_terminal)


class WorkflowStartErrorCode(StrEnum):
    """Why a workflow was not started."""

    BROKER_NOT_CONFIGURED = "BROKER_NOT_CONFIGURED"  # the spec belongs to no app
    VALIDATION_FAILED = "VALIDATION_FAILED"
    ENQUEUE_FAILED = "ENQUEUE_FAILED"  # the only one that can be replayed
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"  # the id belongs to a run of another spec
    INTERNAL_FAILED = "INTERNAL_FAILED"


class HandleErrorCode(StrEnum):
    """Why a handle of a run has no answer."""

    WORKFLOW_NOT_FOUND = "WORKFLOW_NOT_FOUND"
    DB_OPERATION_FAILED = "DB_OPERATION_FAILED"
    LOOP_RUNNER_FAILED = "LOOP_RUNNER_FAILED"
    INTERNAL_FAILED = "INTERNAL_FAILED"


class TaskSendErrorCode(StrEnum):
    """Why a send was refused."""

    SEND_SUPPRESSED = "SEND_SUPPRESSED"  # while a worker imports task modules
    VALIDATION_FAILED = "VALIDATION_FAILED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    ENQUEUE_FAILED = "ENQUEUE_FAILED"  # the only one that can be replayed
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"


class BrokerErrorCode(StrEnum):
    """Which call of the broker failed."""

    SCHEMA_INIT_FAILED = "SCHEMA_INIT_FAILED"
    ENQUEUE_FAILED = "ENQUEUE_FAILED"
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    TASK_INFO_QUERY_FAILED = "TASK_INFO_QUERY_FAILED"
    MONITORING_QUERY_FAILED = "MONITORING_QUERY_FAILED"
    CLEANUP_FAILED = "CLEANUP_FAILED"  # a cancel, or a call that hands on the work of dead workers
    CLOSE_FAILED = "CLOSE_FAILED"
    LISTENER_START_FAILED = "LISTENER_START_FAILED"
    LISTENER_SUBSCRIBE_FAILED = "LISTENER_SUBSCRIBE_FAILED"
    NO_BROKER = "NO_BROKER"
