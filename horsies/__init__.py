"""horsies: a PostgreSQL-backed task queue with types that hold end to end and errors as values.

Names are imported from their modules at first use: who needs a few, such as the command line for its help, does not pay
for the database's driver. Type checkers read the same in ``__init__.pyi``.
"""

from importlib import import_module

_NAMES_BY_MODULE = {
    "app": "Horsies",
    "broker": "Broker WorkerStats",
    "codes": (
        "TASK_TERMINAL_STATES WORKFLOW_TASK_TERMINAL_STATES WORKFLOW_TERMINAL_STATES BrokerErrorCode "
        "BuiltInTaskCode ContractCode HandleErrorCode OnError OperationalErrorCode OutcomeCode RetrievalCode "
        "TaskAttemptOutcome TaskSendErrorCode TaskStatus WorkflowStartErrorCode WorkflowStatus WorkflowTaskStatus"
    ),
    "config": "AppConfig CustomQueueConfig PostgresConfig QueueMode RecoveryConfig WorkerResilienceConfig",
    "current": "CurrentTask current_task",
    "db.rows": "ScheduleState",
    "errors": (
        "ConfigurationError ErrorCode HorsiesError MultipleValidationErrors SourceLocation TaskDefinitionError "
        "ValidationReport WorkflowValidationError"
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
    "workflows.handle": (
        "HandleOperationError HandleResult WorkflowHandle WorkflowTaskInfo pause_workflow pause_workflow_sync "
        "resume_workflow resume_workflow_sync"
    ),
    "workflows.nodes": (
        "AnyNode MapFactory MapNode Node NodeFactory NodeKey NodeOptions SubWorkflowNode TaskNode "
        "WorkflowContextMissingIdError from_node"
    ),
    "workflows.spec": "SuccessCase SuccessPolicy WorkflowSpec",
    "workflows.starting": "WorkflowStartError WorkflowStartResult start_workflow start_workflow_async",
    "workflows.summary": "SubWorkflowError SubWorkflowSummary",
    "workflows.validate": "slugify",
    "version": "__version__",
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}
globals()["__all__"] = sorted(_MODULES, key=lambda name: (not name.isupper(), name[0] != name[0].upper(), name))


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
