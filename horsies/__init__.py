"""horsies: a PostgreSQL-backed task queue with types that hold end to end and errors as values."""

from horsies.app import Horsies
from horsies.broker import Broker, WorkerStats
from horsies.codes import (
    TASK_TERMINAL_STATES,
    BrokerErrorCode,
    BuiltInTaskCode,
    ContractCode,
    OperationalErrorCode,
    OutcomeCode,
    RetrievalCode,
    TaskAttemptOutcome,
    TaskSendErrorCode,
    TaskStatus,
)
from horsies.config import (
    AppConfig,
    CustomQueueConfig,
    PostgresConfig,
    QueueMode,
    RecoveryConfig,
    WorkerResilienceConfig,
)
from horsies.current import CurrentTask, current_task
from horsies.errors import (
    ConfigurationError,
    ErrorCode,
    HorsiesError,
    MultipleValidationErrors,
    SourceLocation,
    TaskDefinitionError,
    ValidationReport,
    WorkflowValidationError,
)
from horsies.handle import BrokerOperationError, BrokerResult, TaskHandle
from horsies.info import TaskAttemptInfo, TaskInfo
from horsies.outcome import TaskError, TaskResult
from horsies.result import Err, Ok, Result, is_err, is_ok
from horsies.retry import ExceptionMapper, RetryPolicy
from horsies.sending import TaskSendError, TaskSendOptions, TaskSendPayload, TaskSendResult
from horsies.task import TaskFunction
from horsies.version import __version__

__all__ = [
    "TASK_TERMINAL_STATES",
    "AppConfig",
    "Broker",
    "BrokerErrorCode",
    "BrokerOperationError",
    "BrokerResult",
    "BuiltInTaskCode",
    "ConfigurationError",
    "ContractCode",
    "CurrentTask",
    "CustomQueueConfig",
    "Err",
    "ErrorCode",
    "ExceptionMapper",
    "Horsies",
    "HorsiesError",
    "MultipleValidationErrors",
    "Ok",
    "OperationalErrorCode",
    "OutcomeCode",
    "PostgresConfig",
    "QueueMode",
    "RecoveryConfig",
    "Result",
    "RetrievalCode",
    "RetryPolicy",
    "SourceLocation",
    "TaskAttemptInfo",
    "TaskAttemptOutcome",
    "TaskDefinitionError",
    "TaskError",
    "TaskFunction",
    "TaskHandle",
    "TaskInfo",
    "TaskResult",
    "TaskSendError",
    "TaskSendErrorCode",
    "TaskSendOptions",
    "TaskSendPayload",
    "TaskSendResult",
    "TaskStatus",
    "ValidationReport",
    "WorkerResilienceConfig",
    "WorkerStats",
    "WorkflowValidationError",
    "__version__",
    "current_task",
    "is_err",
    "is_ok",
]
