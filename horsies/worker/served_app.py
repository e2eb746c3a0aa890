"""An app in a worker: the settings for the supervisor, and the executor that runs its tasks."""

from horsies.config.app import AppConfig
from horsies.db.operations import Runner
from horsies.scheduler.plan import plan_schedules
from horsies.tasks.declarations import declarations_of, flow_of
from horsies.tasks.registry import Registry
from horsies.worker.options import WorkerSettings
from horsies.worker.runtime.executor import Executor


def worker_settings(name: str, config: AppConfig, registry: Registry, folders: tuple[str, ...] = ()) -> WorkerSettings:
    """Return the settings of an app for a worker.

    Args:
        name: the name of the app in the log.
        config: the configuration of the app.
        registry: its tasks, and the built-in tasks of workflows.
        folders: the folders that are watched with ``--reload``.

    Raises:
        HorsiesError: a schedule does not fit the tasks; see `plan_schedules`.
    """
    return WorkerSettings(
        app_name=name,
        broker=config.broker,
        recovery=config.recovery,
        resilience=config.resilience,
        queues={queue.name: queue.max_concurrency for queue in config.queues},
        cluster_cap=config.cluster_wide_cap,
        prefetch_buffer=config.prefetch_buffer,
        lease_s=None if config.claim_lease_ms is None else config.claim_lease_ms / 1000,
        max_lease_s=config.max_claim_renew_age_ms / 1000,
        task_names=tuple(registry.names),
        async_names=frozenset(name for name in registry.names if registry.get(name).is_async),
        transactional_names=frozenset(
            name for name in registry.names if registry.get(name).own_transaction is not None
        ),
        schedules=plan_schedules(config, registry),
        folders=folders,
        declarations=declarations_of(config, registry),
        results_in_notices=config.results_in_notices,
        payload=config.payload,
        flow=flow_of(config),
    )


def make_executor(config: AppConfig, registry: Registry, runner: Runner) -> Executor:
    """Return an executor for the tasks of an app.

    Args:
        config: the configuration of the app.
        registry: its tasks, and the built-in tasks of workflows.
        runner: runs the operations of the tasks.
    """
    code = config.default_unhandled_error_code
    return Executor(registry, config.exception_mapper, code, runner, config.traces)
