"""All codes that horsies itself uses, as `str` enums: codes of task errors, of failed calls, and states."""

from enum import StrEnum
from typing import Final


class OperationalErrorCode(StrEnum):
    """The infrastructure failed, or the task failed unexpectedly. Check the logs; a retry may succeed."""

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
    """Code and data disagree about a type. Fix the program; a retry fails in the same way."""

    RETURN_TYPE_MISMATCH = "RETURN_TYPE_MISMATCH"
    PYDANTIC_HYDRATION_ERROR = "PYDANTIC_HYDRATION_ERROR"
    WORKFLOW_CTX_MISSING_ID = "WORKFLOW_CTX_MISSING_ID"


class RetrievalCode(StrEnum):
    """The result could not be retrieved. This says nothing about the outcome of the task itself."""

    WAIT_TIMEOUT = "WAIT_TIMEOUT"
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    WORKFLOW_NOT_FOUND = "WORKFLOW_NOT_FOUND"
    RESULT_NOT_AVAILABLE = "RESULT_NOT_AVAILABLE"
    RESULT_NOT_READY = "RESULT_NOT_READY"


class OutcomeCode(StrEnum):
    """The task or run was ended by a decision or a limit: it was cancelled, expired, timed out or was skipped.

    RATE_LIMITED and SNOOZED do not end a task: it runs again later, and the attempt is not counted.
    """

    TASK_CANCELLED = "TASK_CANCELLED"
    TASK_EXPIRED = "TASK_EXPIRED"
    TASK_TIMEOUT = "TASK_TIMEOUT"
    RATE_LIMITED = "RATE_LIMITED"
    SNOOZED = "SNOOZED"
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
"""The reserved error codes, from their text to their enum member."""


_ENDINGS = frozenset({"COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "SKIPPED"})


class _Status(StrEnum):
    """The base class of the states of tasks, runs and nodes."""

    @property
    def is_terminal(self) -> bool:
        """Whether this state is final, so that it never changes again."""
        return self in _ENDINGS


class TaskStatus(_Status):
    """The state of a task."""

    PENDING = "PENDING"  # sent, waiting for a retry, or returned to the queue
    CLAIMED = "CLAIMED"  # prefetched by a worker, not started
    RUNNING = "RUNNING"  # committed before the code of the task starts
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"  # not started by its `good_until`


TASK_TERMINAL_STATES: Final = frozenset(status for status in TaskStatus if status.is_terminal)


class TaskAttemptOutcome(StrEnum):
    """How one attempt at a task ended."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"  # the task returned an error or raised an exception
    WORKER_FAILURE = "WORKER_FAILURE"  # the process that ran the task died
    POSTPONED = "POSTPONED"  # the task asked to run again later; only hooks see this, because it leaves no record


class OnError(StrEnum):
    """How a run reacts when one of its nodes fails."""

    FAIL = "fail"  # run the remaining nodes to their end; then the run is FAILED
    PAUSE = "pause"  # start no further nodes until the run is resumed


class WorkflowStatus(_Status):
    """The state of a workflow run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # by a failed node, or by a call
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


WORKFLOW_TERMINAL_STATES: Final = frozenset(status for status in WorkflowStatus if status.is_terminal)


class WorkflowTaskStatus(_Status):
    """The state of a node of a run."""

    PENDING = "PENDING"  # waits for its dependencies
    READY = "READY"  # its dependencies have ended, but the run is paused
    ENQUEUED = "ENQUEUED"  # its task was sent
    RUNNING = "RUNNING"  # its task runs or waits for a retry
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"  # also when its task was cancelled or expired
    SKIPPED = "SKIPPED"  # a dependency failed, or the run was cancelled


WORKFLOW_TASK_TERMINAL_STATES: Final = frozenset(status for status in WorkflowTaskStatus if status.is_terminal)


class WorkflowStartErrorCode(StrEnum):
    """Why a workflow was not started."""

    BROKER_NOT_CONFIGURED = "BROKER_NOT_CONFIGURED"  # the spec belongs to no app
    VALIDATION_FAILED = "VALIDATION_FAILED"
    ENQUEUE_FAILED = "ENQUEUE_FAILED"  # the only code that `retry_start` can replay
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"  # the id belongs to a run of another spec
    INTERNAL_FAILED = "INTERNAL_FAILED"


class HandleErrorCode(StrEnum):
    """Why an operation on a workflow handle failed."""

    WORKFLOW_NOT_FOUND = "WORKFLOW_NOT_FOUND"
    DB_OPERATION_FAILED = "DB_OPERATION_FAILED"
    LOOP_RUNNER_FAILED = "LOOP_RUNNER_FAILED"
    INTERNAL_FAILED = "INTERNAL_FAILED"


class TaskSendErrorCode(StrEnum):
    """Why a send failed."""

    SEND_SUPPRESSED = "SEND_SUPPRESSED"  # a worker or a check is importing task modules
    VALIDATION_FAILED = "VALIDATION_FAILED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    ENQUEUE_FAILED = "ENQUEUE_FAILED"  # the only code that `retry_send` can replay
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"
    DUPLICATE = "DUPLICATE"  # a live task of the same kind keeps a unique task from being sent


class BrokerErrorCode(StrEnum):
    """Which operation of the broker failed."""

    SCHEMA_INIT_FAILED = "SCHEMA_INIT_FAILED"
    ENQUEUE_FAILED = "ENQUEUE_FAILED"
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    TASK_INFO_QUERY_FAILED = "TASK_INFO_QUERY_FAILED"
    MONITORING_QUERY_FAILED = "MONITORING_QUERY_FAILED"
    CLEANUP_FAILED = "CLEANUP_FAILED"  # a cancellation, or a call that recovers the tasks of dead workers
    CLOSE_FAILED = "CLOSE_FAILED"
    LISTENER_START_FAILED = "LISTENER_START_FAILED"
    LISTENER_SUBSCRIBE_FAILED = "LISTENER_SUBSCRIBE_FAILED"
    NO_BROKER = "NO_BROKER"
    QUEUE_NOT_KEYED = "QUEUE_NOT_KEYED"  # limits and pauses of keys need a queue whose app declares keys
