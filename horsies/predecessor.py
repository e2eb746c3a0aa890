"""Names, settings and methods of the `horsies` packages 0.1 to 0.5 that this library does not have, and replacements.

Error messages quote these texts, and ``docs/moving-from-horsies-0.md`` lists them. A name stands here only as long as
this library does not have it; a test compares both with the page.
"""

from collections.abc import Mapping

_RERUN = "use app.rerun(task_id), which returns Ok(handle) or Err(error)"
_PATTERN_TYPE = "leave it out: the class of the pattern says what it is"
_NO_PARTITION_SETTINGS = "leave it out: workers create and drop the partitions of the history"
_KEPT_BY_AGE = "use RecoveryConfig(terminal_record_retention_hours=…), which counts for all ended tasks and workflows"
_NO_CHILD_POOL = "leave it out: a child process opens connections only if its tasks send or wait"
_NO_WORKER_POOL = "leave it out: a worker opens a fixed number of connections"
_ONE_RECOVERY = "leave it out: the statement that ends a task also advances its workflow, so nothing is left to recover"

REMOVED_NAMES: Mapping[str, str] = {
    "ChildProcessStartHook": "use Callable[[], object], which @app.on_child_process_start accepts",
    "Month": 'write months as text: CronSchedule("0 9 1 jan,jul *")',
    "CronEvery": 'write the field as text: CronSchedule("* * * * *")',
    "CronStep": 'write the field as text: CronSchedule("*/5 * * * *")',
    "CronValues": 'write the field as text: CronSchedule("0,30 * * * *")',
    "CronRange": 'write the field as text: CronSchedule("0 9-17 * * *"), with a step "9-17/2"',
    "CronEnumValues": 'write the field as text: CronSchedule("0 9 * jan,jul mon,fri")',
    "CronEnumRange": 'write the field as text: CronSchedule("0 9 * * mon-fri")',
    "CronEnumStep": 'write the field as text: CronSchedule("0 9 1 */3 *")',
    "DaySelector": "write both fields of the day as text, and say match= if both are restricted",
    "EveryDay": 'write both fields of the day as stars: CronSchedule("0 9 * * *")',
    "ByMonthDay": 'write the day of the month as text: CronSchedule("0 9 13 * *")',
    "ByWeekday": 'write the day of the week as text: CronSchedule("0 9 * * fri")',
    "EitherDay": 'write both days as text, either is enough: CronSchedule("0 9 13 * fri")',
    "BothDays": 'say that both days must match: CronSchedule("0 9 13 * fri", match="all")',
    "RetentionClassConfig": _KEPT_BY_AGE,
    "RetentionChoice": _KEPT_BY_AGE,
    "RetentionConfig": _KEPT_BY_AGE,
    "DatabasePing": "use await app.get_broker().ping(), which returns milliseconds",
    "WorkerPong": "use await app.get_broker().get_worker_stats(): a worker with a fresh heartbeat is alive",
    "WorkerStateSnapshot": "use WorkerStats, which await app.get_broker().get_worker_stats() returns",
    "rerun_task": _RERUN,
    "RerunTask": _RERUN,
    "RerunEnqueuePolicy": _RERUN,
    "RerunEnqueued": "match Ok(handle), and read the origin of the new task from TaskInfo.rerun_of",
    "RerunSourceLive": "match Err(error) with BrokerErrorCode.ENQUEUE_FAILED: the task has not ended",
    "RerunSourceAbsent": "match Err(error) with BrokerErrorCode.TASK_NOT_FOUND",
    "RerunNotEligible": "leave it out: every task that has ended can be sent again",
    "RerunInputUnavailable": "leave it out: arguments are kept as long as the task",
    "RerunInputCorrupt": "leave it out: arguments are kept as long as the task, as they were sent",
    "RerunKeyConflict": "leave it out: a rerun takes no key",
    "RerunKeyReplay": "leave it out: a rerun takes no key",
    "NotEligibleReason": "leave it out: every task that has ended can be sent again",
    "JsonValue": "use JsonValue of pydantic",
    "StrictJsonError": "match Err(error) with TaskSendErrorCode.VALIDATION_FAILED: a send does not raise",
}
"""Names that could be imported from ``horsies``."""

REMOVED_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "AppConfig": {
        "retention": _KEPT_BY_AGE,
    },
    "PostgresConfig": {
        "retain_rerun_input_default": "leave it out: arguments are kept as long as the task, so it can be sent again",
        "worker_pool_size": _NO_WORKER_POOL,
        "worker_max_overflow": _NO_WORKER_POOL,
        "worker_child_pool_min_size": _NO_CHILD_POOL,
        "worker_child_pool_max_size": _NO_CHILD_POOL,
        "worker_child_pool_check": _NO_CHILD_POOL,
        "tcp_user_timeout_ms": "use PostgresConfig(tcp_user_timeout=20), in seconds",
    },
    "RecoveryConfig": {
        "auto_terminate_orphaned_workflow_tasks": _ONE_RECOVERY,
        "finalizing_stale_threshold_ms": _ONE_RECOVERY,
        "crashed_worker_recovery_grace_ms": _ONE_RECOVERY,
        "phase2_quarantine_after_attempts": _ONE_RECOVERY,
        "orphan_task_audit_interval_ms": _ONE_RECOVERY,
        "worker_state_snapshot_interval_ms": "leave it out: heartbeats carry the state of a worker",
        "queue_terminal_record_retention_hours": "use terminal_record_retention_hours, which counts for all queues",
        "retention_sweep_interval_s": "use check_interval_ms, the time between two rounds of maintenance",
        "retention_delete_batch_size": _NO_PARTITION_SETTINGS,
        "retention_classes": _KEPT_BY_AGE,
        "history_leaf_horizon_days": _NO_PARTITION_SETTINGS,
        "heartbeat_leaf_horizon_hours": _NO_PARTITION_SETTINGS,
        "partition_maintenance_interval_s": "use check_interval_ms, the time between two rounds of maintenance",
        "paused_workflow_auto_cancel_after": "cancel paused workflows yourself: horsies workflows cancel RUN",
    },
    "RetentionConfig": {
        "worker_state_retention_hours": "use RecoveryConfig(worker_state_retention_hours=…)",
        "terminal_record_retention_hours": _KEPT_BY_AGE,
        "paused_workflow_auto_cancel_after": "cancel paused workflows yourself: horsies workflows cancel RUN",
        "history_leaf_horizon_days": _NO_PARTITION_SETTINGS,
        "heartbeat_leaf_horizon_hours": _NO_PARTITION_SETTINGS,
        "retention_classes": _KEPT_BY_AGE,
        "queue_retention": _KEPT_BY_AGE,
        "partition_maintenance_interval_s": "use RecoveryConfig(check_interval_ms=…)",
        "retention_sweep_interval_s": "use RecoveryConfig(check_interval_ms=…)",
        "retention_delete_batch_size": _NO_PARTITION_SETTINGS,
    },
    "RetentionClassConfig": {"key": _KEPT_BY_AGE, "duration": _KEPT_BY_AGE},
    "IntervalSchedule": {"type": _PATTERN_TYPE},
    "HourlySchedule": {"type": _PATTERN_TYPE},
    "DailySchedule": {"type": _PATTERN_TYPE},
    "WeeklySchedule": {"type": _PATTERN_TYPE},
    "MonthlySchedule": {"type": _PATTERN_TYPE},
    "CronSchedule": {
        "type": _PATTERN_TYPE,
        "minute": 'write the expression as text: CronSchedule("0,30 9-17 * * mon-fri")',
        "hour": 'write the expression as text: CronSchedule("0,30 9-17 * * mon-fri")',
        "month": 'write the expression as text: CronSchedule("0 9 1 jan,jul *")',
        "day": 'write the expression as text: CronSchedule("0 9 13 * fri"), with match="all" if both days must match',
    },
}
"""Fields of settings, by the class that had them. Fields whose class is gone are here for the page alone."""

REMOVED_METHODS: Mapping[str, str] = {
    "are_sends_suppressed": "leave it out: the library itself suppresses sends while modules are imported",
    "get_child_process_start_hooks": "leave it out: only workers read the hooks",
    "get_discovered_task_modules": "keep the list that you pass to app.discover_tasks",
    "get_raw_result": "use app.get_result(task_id), which decodes a result of an unknown task as plain JSON",
    "get_raw_result_async": "use await app.get_result_async(task_id)",
    "get_task_info": "use app.get_broker().get_task_info(task_id), or task.handle(task_id).info()",
    "get_task_info_async": "use await app.get_broker().get_task_info_async(task_id)",
    "get_valid_queue_names": "use app.config.queue_names()",
    "get_worker_state": "use await app.get_broker().get_worker_stats()",
    "get_worker_state_async": "use await app.get_broker().get_worker_stats()",
    "get_worker_state_history": "leave it out: no history of a worker's state is kept",
    "get_worker_state_history_async": "leave it out: no history of a worker's state is kept",
    "get_workflow_builders": "use app.check(), which runs them",
    "import_task_modules": "use app.check(), or import the modules yourself",
    "list_worker_states": "use await app.get_broker().get_worker_stats()",
    "list_worker_states_async": "use await app.get_broker().get_worker_stats()",
    "ping_database": "use await app.get_broker().ping()",
    "ping_database_async": "use await app.get_broker().ping()",
    "ping_workers": "use app.get_broker().ping_workers(), which returns the workers that answer",
    "ping_workers_async": "use await app.get_broker().ping_workers_async(), which returns the workers that answer",
    "set_role": "leave it out: nothing depends on a role",
    "suppress_sends": "leave it out: the library itself suppresses sends while modules are imported",
    "validate_queue_name": "use app.config.queue_names()",
}
"""Methods of an app."""

REMOVED_MEMBERS: Mapping[str, Mapping[str, str]] = {
    "ContractCode": {"NO_TYPE_AVAILABLE": "a result of an unknown task is decoded as plain JSON"},
    "OutcomeCode": {"WORKFLOW_EXPIRED": "workflows do not expire"},
    "WorkflowStatus": {"EXPIRED": "workflows do not expire"},
    "TaskSendErrorCode": {"ASYNC_CONTEXT": "a blocking send works in an event loop, and blocks it"},
    "BrokerErrorCode": {
        "IDEMPOTENCY_KEY_CONFLICT": "sends take no key",
        "DB_PING_FAILED": "BrokerErrorCode.MONITORING_QUERY_FAILED",
        "WORKER_PING_FAILED": "BrokerErrorCode.MONITORING_QUERY_FAILED",
        "NO_TYPE_AVAILABLE": "a result of an unknown task is decoded as plain JSON",
        "INVALID_JSON_PAYLOAD": "OperationalErrorCode.RESULT_DESERIALIZATION_ERROR",
        "INVALID_TASK_OPTIONS": "options are checked where they are written: HRS-102",
    },
    "ErrorCode": {
        "TASK_STRICT_SIGNATURE_VIOLATION": "ErrorCode.TASK_UNSUPPORTED_TYPE",
        "CONFIG_INVALID_BROKER_POOL": "ErrorCode.BROKER_INIT_FAILED",
        "CONFIG_INVALID_CHILD_HOOK": "ErrorCode.WORKER_INVALID_CHILD_HOOK",
        "CONFIG_INVALID_KEEPALIVE": "ErrorCode.BROKER_INIT_FAILED",
        "CONFIG_INVALID_RETENTION": "ErrorCode.CONFIG_INVALID_RECOVERY",
    },
}
"""Members of the old enumerations that have no equivalent of the same name, and what to use instead."""
