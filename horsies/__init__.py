"""horsies: a PostgreSQL-backed task queue with types that hold end to end and errors as values.

Names are imported from their modules at first use: who needs a few, such as the command line for its help, does not pay
for the database's driver. Type checkers read plain imports.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from horsies.version import __version__

if TYPE_CHECKING:
    from horsies.app import Horsies
    from horsies.broker import Broker, WorkerStats
    from horsies.codes import (
        TASK_TERMINAL_STATES,
        WORKFLOW_TASK_TERMINAL_STATES,
        WORKFLOW_TERMINAL_STATES,
        BrokerErrorCode,
        BuiltInTaskCode,
        ContractCode,
        HandleErrorCode,
        OnError,
        OperationalErrorCode,
        OutcomeCode,
        RetrievalCode,
        TaskAttemptOutcome,
        TaskSendErrorCode,
        TaskStatus,
        WorkflowStartErrorCode,
        WorkflowStatus,
        WorkflowTaskStatus,
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
    from horsies.patterns import (
        CronSchedule,
        DailySchedule,
        HourlySchedule,
        IntervalSchedule,
        MonthlySchedule,
        SchedulePattern,
        Weekday,
        WeeklySchedule,
    )
    from horsies.result import Err, Ok, Result, is_err, is_ok
    from horsies.retry import ExceptionMapper, RetryPolicy
    from horsies.schedules import ScheduleConfig, TaskSchedule
    from horsies.sending import TaskSendError, TaskSendOptions, TaskSendPayload, TaskSendResult
    from horsies.task import TaskFunction
    from horsies.workflows.context import WorkflowContext, WorkflowMeta
    from horsies.workflows.definition import WorkflowDefinition
    from horsies.workflows.nodes import (
        AnyNode,
        MapFactory,
        MapNode,
        Node,
        NodeFactory,
        NodeKey,
        NodeOptions,
        SubWorkflowNode,
        TaskNode,
        WorkflowContextMissingIdError,
        from_node,
    )
    from horsies.workflows.spec import SuccessCase, SuccessPolicy, WorkflowSpec
    from horsies.workflows.summary import SubWorkflowError, SubWorkflowSummary
    from horsies.workflows.validate import slugify
else:
    _NAMES_BY_MODULE = {
        "app": "Horsies",
        "broker": "Broker WorkerStats",
        "codes": (
            "TASK_TERMINAL_STATES WORKFLOW_TASK_TERMINAL_STATES WORKFLOW_TERMINAL_STATES BrokerErrorCode "
            "BuiltInTaskCode ContractCode HandleErrorCode OnError OperationalErrorCode OutcomeCode RetrievalCode "
            "TaskAttemptOutcome TaskSendErrorCode TaskStatus WorkflowStartErrorCode WorkflowStatus "
            "WorkflowTaskStatus"
        ),
        "config": "AppConfig CustomQueueConfig PostgresConfig QueueMode RecoveryConfig WorkerResilienceConfig",
        "current": "CurrentTask current_task",
        "errors": (
            "ConfigurationError ErrorCode HorsiesError MultipleValidationErrors SourceLocation "
            "TaskDefinitionError ValidationReport WorkflowValidationError"
        ),
        "handle": "BrokerOperationError BrokerResult TaskHandle",
        "info": "TaskAttemptInfo TaskInfo",
        "outcome": "TaskError TaskResult",
        "patterns": (
            "CronSchedule DailySchedule HourlySchedule IntervalSchedule MonthlySchedule SchedulePattern Weekday "
            "WeeklySchedule"
        ),
        "result": "Err Ok Result is_err is_ok",
        "retry": "ExceptionMapper RetryPolicy",
        "schedules": "ScheduleConfig TaskSchedule",
        "sending": "TaskSendError TaskSendOptions TaskSendPayload TaskSendResult",
        "task": "TaskFunction",
        "workflows.context": "WorkflowContext WorkflowMeta",
        "workflows.definition": "WorkflowDefinition",
        "workflows.nodes": (
            "AnyNode MapFactory MapNode Node NodeFactory NodeKey NodeOptions SubWorkflowNode TaskNode "
            "WorkflowContextMissingIdError from_node"
        ),
        "workflows.spec": "SuccessCase SuccessPolicy WorkflowSpec",
        "workflows.summary": "SubWorkflowError SubWorkflowSummary",
        "workflows.validate": "slugify",
    }
    _HOMES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "TASK_TERMINAL_STATES",
    "WORKFLOW_TASK_TERMINAL_STATES",
    "WORKFLOW_TERMINAL_STATES",
    "AnyNode",
    "AppConfig",
    "Broker",
    "BrokerErrorCode",
    "BrokerOperationError",
    "BrokerResult",
    "BuiltInTaskCode",
    "ConfigurationError",
    "ContractCode",
    "CronSchedule",
    "CurrentTask",
    "CustomQueueConfig",
    "DailySchedule",
    "Err",
    "ErrorCode",
    "ExceptionMapper",
    "HandleErrorCode",
    "Horsies",
    "HorsiesError",
    "HourlySchedule",
    "IntervalSchedule",
    "MapFactory",
    "MapNode",
    "MonthlySchedule",
    "MultipleValidationErrors",
    "Node",
    "NodeFactory",
    "NodeKey",
    "NodeOptions",
    "Ok",
    "OnError",
    "OperationalErrorCode",
    "OutcomeCode",
    "PostgresConfig",
    "QueueMode",
    "RecoveryConfig",
    "Result",
    "RetrievalCode",
    "RetryPolicy",
    "ScheduleConfig",
    "SchedulePattern",
    "SourceLocation",
    "SubWorkflowError",
    "SubWorkflowNode",
    "SubWorkflowSummary",
    "SuccessCase",
    "SuccessPolicy",
    "TaskAttemptInfo",
    "TaskAttemptOutcome",
    "TaskDefinitionError",
    "TaskError",
    "TaskFunction",
    "TaskHandle",
    "TaskInfo",
    "TaskNode",
    "TaskResult",
    "TaskSchedule",
    "TaskSendError",
    "TaskSendErrorCode",
    "TaskSendOptions",
    "TaskSendPayload",
    "TaskSendResult",
    "TaskStatus",
    "ValidationReport",
    "Weekday",
    "WeeklySchedule",
    "WorkerResilienceConfig",
    "WorkerStats",
    "WorkflowContext",
    "WorkflowContextMissingIdError",
    "WorkflowDefinition",
    "WorkflowMeta",
    "WorkflowSpec",
    "WorkflowStartErrorCode",
    "WorkflowStatus",
    "WorkflowTaskStatus",
    "WorkflowValidationError",
    "__version__",
    "current_task",
    "from_node",
    "is_err",
    "is_ok",
    "slugify",
]
