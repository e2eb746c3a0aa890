"""Settings of an app: which database and queues it has, how its workers behave and recover."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import Field, SecretStr, field_validator

from horsies.codes import BuiltInTaskCode, OperationalErrorCode
from horsies.config.base import Contradiction, Settings, show_value
from horsies.config.postgres import PostgresConfig
from horsies.config.queues import DEFAULT_QUEUE, CustomQueueConfig, QueueMode
from horsies.config.retry import ExceptionMapper, validate_exception_mapper
from horsies.config.schedules import ScheduleConfig
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, raise_all
from horsies.masking import mask_secrets


class RecoveryConfig(Settings):
    """When work of dead workers is handed on, and how long records are kept.

    Attributes:
        auto_requeue_stale_claimed: hand on what a dead worker had claimed and not begun.
        claimed_stale_threshold_ms: without a heartbeat for so long, a worker with claimed tasks is dead; milliseconds.
        auto_fail_stale_running: end, as WORKER_CRASHED, what a dead worker had begun.
        running_stale_threshold_ms: the same threshold for running tasks; milliseconds.
        check_interval_ms: time between two rounds of duties; milliseconds.
        runner_heartbeat_interval_ms: time between two heartbeats; milliseconds.
        claimer_heartbeat_interval_ms: the same; the smaller of the two counts.
        heartbeat_retention_hours: how long rows of dead workers are kept; None: for ever.
        worker_state_retention_hours: how long samples of workers' state are kept, of which none are taken yet.
        terminal_record_retention_hours: how long tasks that ended are kept; None: for ever.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_RECOVERY

    auto_requeue_stale_claimed: bool = True
    claimed_stale_threshold_ms: int = Field(default=120_000, ge=1_000, le=3_600_000)
    auto_fail_stale_running: bool = True
    running_stale_threshold_ms: int = Field(default=300_000, ge=1_000, le=7_200_000)
    check_interval_ms: int = Field(default=30_000, ge=1_000, le=600_000)
    runner_heartbeat_interval_ms: int = Field(default=30_000, ge=1_000, le=120_000)
    claimer_heartbeat_interval_ms: int = Field(default=30_000, ge=1_000, le=120_000)
    heartbeat_retention_hours: int | None = Field(default=24, ge=1)
    worker_state_retention_hours: int | None = Field(default=168, ge=1)
    terminal_record_retention_hours: int | None = Field(default=720, ge=1)

    def contradictions(self) -> Iterator[Contradiction]:
        """A threshold must be at least twice its interval: one late heartbeat is not a death."""
        for threshold, interval in (
            ("claimed_stale_threshold_ms", "claimer_heartbeat_interval_ms"),
            ("running_stale_threshold_ms", "runner_heartbeat_interval_ms"),
        ):
            least = 2 * getattr(self, interval)
            if getattr(self, threshold) < least:
                message = (
                    f"RecoveryConfig.{threshold} ({getattr(self, threshold):,}) is less than "
                    f"twice {interval} ({getattr(self, interval):,})"
                )
                help_text = f"set {threshold} to {least:,} or more, or {interval} lower"
                yield Contradiction.of(self.default_code, message, help_text, threshold, interval)


class WorkerResilienceConfig(Settings):
    """How a worker gets through times without a database.

    Attributes:
        db_retry_initial_ms: first pause before another try to connect; doubles; milliseconds.
        db_retry_max_ms: longest pause; milliseconds.
        db_retry_max_attempts: tries at start-up before the worker gives up; 0: for ever.
        notify_poll_interval_ms: how often the worker looks for work without having been notified; milliseconds.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_RESILIENCE

    db_retry_initial_ms: int = Field(default=500, ge=100, le=60_000)
    db_retry_max_ms: int = Field(default=30_000, ge=500, le=300_000)
    db_retry_max_attempts: int = Field(default=0, ge=0, le=10_000)
    notify_poll_interval_ms: int = Field(default=5_000, ge=1_000, le=300_000)

    def contradictions(self) -> Iterator[Contradiction]:
        """The longest pause must not be shorter than the first."""
        if self.db_retry_max_ms < self.db_retry_initial_ms:
            message = (
                f"WorkerResilienceConfig.db_retry_max_ms ({self.db_retry_max_ms:,}) is less than "
                f"db_retry_initial_ms ({self.db_retry_initial_ms:,})"
            )
            help_text = f"set db_retry_max_ms to {self.db_retry_initial_ms:,} or more"
            yield Contradiction.of(self.default_code, message, help_text, "db_retry_max_ms", "db_retry_initial_ms")


class AppConfig(Settings):
    """Settings of an app.

    Attributes:
        broker: the database.
        queue_mode: one queue named ``default``, or ``custom_queues``.
        custom_queues: the queues of ``QueueMode.CUSTOM``; at least one, with unique names.
        cluster_wide_cap: tasks in flight at once in the whole cluster; None: no cap.
        prefetch_buffer: tasks that a worker may claim beyond those it can run now.
        claim_lease_ms: how long a prefetched task stays claimed; milliseconds; needed with ``prefetch_buffer``, and
            at least ``RecoveryConfig.claimer_heartbeat_interval_ms``.
        max_claim_renew_age_ms: age after which a lease is no longer renewed; milliseconds.
        recovery: dead workers and retention.
        resilience: times without a database.
        schedule: tasks that are sent again and again; None: there are none.
        exception_mapper: error codes for exceptions that tasks raise, by the nearest base class that has an entry.
        default_unhandled_error_code: the code for exceptions that no mapper knows.
        resend_on_transient_err: replay a send up to three times when the database is away.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_QUEUE_MODE
    codes: ClassVar[Mapping[str, ErrorCode]] = {
        "broker": ErrorCode.BROKER_INIT_FAILED,
        "cluster_wide_cap": ErrorCode.CONFIG_INVALID_CLUSTER_CAP,
        "prefetch_buffer": ErrorCode.CONFIG_INVALID_PREFETCH,
        "claim_lease_ms": ErrorCode.CONFIG_INVALID_PREFETCH,
        "max_claim_renew_age_ms": ErrorCode.CONFIG_INVALID_PREFETCH,
        "recovery": ErrorCode.CONFIG_INVALID_RECOVERY,
        "resilience": ErrorCode.CONFIG_INVALID_RESILIENCE,
        "schedule": ErrorCode.CONFIG_INVALID_SCHEDULE,
        "exception_mapper": ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER,
        "default_unhandled_error_code": ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER,
        "resend_on_transient_err": ErrorCode.BROKER_INIT_FAILED,
    }

    broker: PostgresConfig = Field(default_factory=PostgresConfig)
    queue_mode: QueueMode = Field(default=QueueMode.DEFAULT, strict=False)
    custom_queues: Sequence[CustomQueueConfig] | None = None
    cluster_wide_cap: int | None = Field(default=None, ge=1)
    prefetch_buffer: int = Field(default=0, ge=0)
    claim_lease_ms: int | None = Field(default=None, ge=1_000)
    max_claim_renew_age_ms: int = Field(default=180_000, ge=1)
    recovery: RecoveryConfig = Field(default_factory=RecoveryConfig)
    resilience: WorkerResilienceConfig = Field(default_factory=WorkerResilienceConfig)
    schedule: ScheduleConfig | None = None
    exception_mapper: ExceptionMapper = Field(default_factory=dict[type[BaseException], str])
    default_unhandled_error_code: BuiltInTaskCode | str = OperationalErrorCode.UNHANDLED_EXCEPTION
    resend_on_transient_err: bool = False

    @field_validator("custom_queues")
    @classmethod
    def _freeze_queues(cls, value: Sequence[CustomQueueConfig] | None) -> tuple[CustomQueueConfig, ...] | None:
        return None if value is None else tuple(value)

    @field_validator("exception_mapper", mode="plain")
    @classmethod
    def _check_mapper(cls, value: Any) -> ExceptionMapper:
        raise_all(validate_exception_mapper(value))
        return dict(value)

    @field_validator("default_unhandled_error_code", mode="plain")
    @classmethod
    def _check_default_code(cls, value: Any) -> BuiltInTaskCode | str:
        raise_all(validate_default_code(value))
        unhandled = OperationalErrorCode.UNHANDLED_EXCEPTION
        return unhandled if value == unhandled else value

    @property
    def queues(self) -> tuple[CustomQueueConfig, ...]:
        """The app's queues, in either mode."""
        return (DEFAULT_QUEUE,) if self.queue_mode is QueueMode.DEFAULT else tuple(self.custom_queues or ())

    def queue_names(self) -> tuple[str, ...]:
        """The names of `queues`."""
        return tuple(queue.name for queue in self.queues)

    def contradictions(self) -> Iterator[Contradiction]:
        """Queues must fit the mode and have unique names; prefetching needs a lease and excludes a cluster cap.

        A lease must not be shorter than the interval of the heartbeats.
        """
        yield from self._queue_contradictions()
        if self.prefetch_buffer and self.cluster_wide_cap is not None:
            yield Contradiction.of(
                ErrorCode.CONFIG_INVALID_CLUSTER_CAP,
                f"AppConfig.cluster_wide_cap ({self.cluster_wide_cap}) and prefetch_buffer ({self.prefetch_buffer}) "
                "exclude each other: prefetched tasks would fill the cap without running",
                "leave one of them out",
                "cluster_wide_cap",
                "prefetch_buffer",
            )
        if self.prefetch_buffer and self.claim_lease_ms is None:
            yield Contradiction.of(
                ErrorCode.CONFIG_INVALID_PREFETCH,
                f"AppConfig.prefetch_buffer ({self.prefetch_buffer}) needs claim_lease_ms",
                "say for how long a prefetched task stays claimed, as in claim_lease_ms=60_000",
                "prefetch_buffer",
                "claim_lease_ms",
            )
        heartbeat = self.recovery.claimer_heartbeat_interval_ms
        if self.claim_lease_ms is not None and self.claim_lease_ms < heartbeat:
            yield Contradiction.of(
                ErrorCode.CONFIG_INVALID_PREFETCH,
                f"AppConfig.claim_lease_ms ({self.claim_lease_ms:,}) is less than "
                f"RecoveryConfig.claimer_heartbeat_interval_ms ({heartbeat:,})",
                f"set claim_lease_ms to {heartbeat:,} or more, or claimer_heartbeat_interval_ms lower",
                "claim_lease_ms",
                "recovery",
            )

    def _queue_contradictions(self) -> Iterator[Contradiction]:
        queues = self.custom_queues or ()
        code = ErrorCode.CONFIG_INVALID_QUEUE_MODE
        if self.queue_mode is QueueMode.CUSTOM and not queues:
            message = "QueueMode.CUSTOM needs at least one queue in AppConfig.custom_queues"
            help_text = "add custom_queues=[CustomQueueConfig(name=…)], or leave queue_mode out"
            yield Contradiction.of(code, message, help_text, "queue_mode", "custom_queues")
        if self.queue_mode is QueueMode.DEFAULT and queues:
            message = "AppConfig.custom_queues is given, and queue_mode is QueueMode.DEFAULT"
            help_text = "add queue_mode=QueueMode.CUSTOM, or leave custom_queues out"
            yield Contradiction.of(code, message, help_text, "queue_mode", "custom_queues")
        for name, count in Counter(queue.name for queue in queues).items():
            if count > 1:
                message = f"AppConfig.custom_queues has {count} queues named {name!r}"
                yield Contradiction.of(code, message, "give each queue a name of its own", "custom_queues")

    def log_config(self, logger: logging.Logger) -> None:
        """Log all settings at INFO, one line a section, passwords masked."""
        sections = {name: dict(value) for name, value in self if isinstance(value, Settings)}
        sections["broker"]["database_url"] = self.broker.masked_url()  # also where the environment gives it
        logger.info("config %s", _key_values({name: value for name, value in self if name not in sections}))
        for name, settings in sections.items():
            logger.info("config.%s %s", name, _key_values(settings))


def validate_default_code(value: object) -> list[HorsiesError]:
    """Find what is wrong with a ``default_unhandled_error_code``: HRS-209 malformed, HRS-212 reserved.

    What holds for the codes of an exception mapper holds for it, only that UNHANDLED_EXCEPTION is allowed.
    """
    if value == OperationalErrorCode.UNHANDLED_EXCEPTION:
        return []
    help_text = 'give an UPPER_SNAKE_CASE code of your own, as in "UNEXPECTED", or leave it out for UNHANDLED_EXCEPTION'
    reasons = {
        ErrorCode.CHECK_RESERVED_CODE_COLLISION: "is a code of the library's own",
        ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER: "is no UPPER_SNAKE_CASE string",
    }
    return [
        ConfigurationError(
            found.code, f"default_unhandled_error_code {show_value(value)} {reasons[found.code]}", help_text=help_text
        )
        for found in validate_exception_mapper({Exception: value})
    ]


def _key_values(settings: Mapping[str, object]) -> str:
    return " ".join(f"{name}={_plain(value)}" for name, value in settings.items())


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return mask_secrets(value.get_secret_value())
    if isinstance(value, Mapping):
        codes = cast("ExceptionMapper", value).items()
        return "{" + ", ".join(f"{kind.__name__}: {code}" for kind, code in codes) + "}"
    return str(value)
