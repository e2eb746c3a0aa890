"""Settings of an app: its database and queues, and how its workers behave and recover."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import Field, SecretStr, field_validator

from horsies.codes import BuiltInTaskCode, OperationalErrorCode
from horsies.config.base import Contradiction, Settings, show_value
from horsies.config.payload import PayloadPolicy
from horsies.config.postgres import PostgresConfig
from horsies.config.queues import DEFAULT_QUEUE, CustomQueueConfig, QueueMode
from horsies.config.retry import ExceptionMapper, validate_exception_mapper
from horsies.config.schedules import ScheduleConfig
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, raise_all
from horsies.masking import mask_secrets
from horsies.tracing.policy import TracePolicy, TraceRelation

VERSION_VARIABLE = "HORSIES_APP_VERSION"
"""The environment variable that names the version of an app whose configuration names none."""

_LONGEST_VERSION = 200
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


class RecoveryConfig(Settings):
    """How the tasks of dead workers are recovered, and how long records are kept.

    Attributes:
        auto_requeue_stale_claimed: Return tasks that a dead worker had claimed but not started to the queue.
        claimed_stale_threshold_ms: A worker with claimed tasks counts as dead after this many milliseconds without a
            heartbeat.
        auto_fail_stale_running: End the tasks that a dead worker was running, with WORKER_CRASHED.
        running_stale_threshold_ms: The same threshold for a worker with running tasks, in milliseconds.
        check_interval_ms: The time between two rounds of maintenance, in milliseconds.
        runner_heartbeat_interval_ms: The time between two heartbeats, in milliseconds.
        claimer_heartbeat_interval_ms: The same. The smaller of the two intervals applies.
        heartbeat_retention_hours: How long the rows of dead workers are kept, in hours; None: forever.
        worker_state_retention_hours: How long samples of worker state are kept, in hours. No samples are recorded yet.
        terminal_record_retention_hours: How long ended tasks are kept, in hours; None: forever.
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
        """Require each threshold to be at least twice its interval, so that one late heartbeat is tolerated."""
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
    """How a worker reconnects to the database, and how often it polls for tasks.

    Attributes:
        db_retry_initial_ms: The delay before the first reconnect, in milliseconds. It doubles with each failure.
        db_retry_max_ms: The longest delay between two connection attempts, in milliseconds.
        db_retry_max_attempts: How often a starting worker tries to connect before it gives up; 0: without limit.
        notify_poll_interval_ms: How often the worker polls for tasks without a notification, in milliseconds.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_RESILIENCE

    db_retry_initial_ms: int = Field(default=500, ge=100, le=60_000)
    db_retry_max_ms: int = Field(default=30_000, ge=500, le=300_000)
    db_retry_max_attempts: int = Field(default=0, ge=0, le=10_000)
    notify_poll_interval_ms: int = Field(default=5_000, ge=1_000, le=300_000)

    def contradictions(self) -> Iterator[Contradiction]:
        """Require the longest delay to be at least the first delay."""
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
        broker: The database.
        queue_mode: One queue named ``default``, or the queues in ``custom_queues``.
        custom_queues: The queues of ``QueueMode.CUSTOM``: at least one, with unique names.
        cluster_wide_cap: How many tasks may be in flight at the same time in the whole cluster; None: no limit.
        prefetch_buffer: How many tasks a worker may claim beyond those that it can run immediately.
        claim_lease_ms: How long a prefetched task stays claimed, in milliseconds. Required with ``prefetch_buffer``; at
            least ``RecoveryConfig.claimer_heartbeat_interval_ms``.
        max_claim_renew_age_ms: The age after which a lease is no longer renewed, in milliseconds.
        payload: The sizes above which arguments and results are logged, and arguments refused.
        recovery: Recovery of the tasks of dead workers, and retention of records.
        resilience: Reconnecting to the database, and polling.
        schedule: Tasks that are sent repeatedly; None: no schedules.
        exception_mapper: Error codes for exceptions that tasks raise. The entry of the nearest base class applies.
        default_unhandled_error_code: The error code of exceptions that match no exception mapper.
        resend_on_transient_err: Retry a send up to three times when the database cannot be reached.
        results_in_notices: Send small results in notifications, which saves a waiting program a round trip. Every role
            that may connect to the database can then read these results, and can send forged ones, which `get`
            believes. By default, each result is read from its row, and notifications contain only ids.
        app_version: The version of the app, such as a release or a commit: 1 to 200 printable characters. Workers and
            ``horsies db register`` store it with the tasks that they register, and ``horsies doctor`` shows it. None:
            the environment variable HORSIES_APP_VERSION, or if it is not set, a hash of what the app declares about its
            tasks.
        trace_relation: How the span of an attempt relates to the span that sent the task, if workers make spans with
            OpenTelemetry. ``link``: the attempt begins a trace, with a link to the sender. ``child``: it belongs to the
            trace of the sender.
        trace_baggage: Tasks carry the baggage of their sender, up to 8 KiB together with the ids of the span. Every
            role that may read the table of tasks can then read it.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_QUEUE_MODE
    codes: ClassVar[Mapping[str, ErrorCode]] = {
        "broker": ErrorCode.BROKER_INIT_FAILED,
        "cluster_wide_cap": ErrorCode.CONFIG_INVALID_CLUSTER_CAP,
        "prefetch_buffer": ErrorCode.CONFIG_INVALID_PREFETCH,
        "claim_lease_ms": ErrorCode.CONFIG_INVALID_PREFETCH,
        "max_claim_renew_age_ms": ErrorCode.CONFIG_INVALID_PREFETCH,
        "payload": ErrorCode.BROKER_INIT_FAILED,
        "recovery": ErrorCode.CONFIG_INVALID_RECOVERY,
        "resilience": ErrorCode.CONFIG_INVALID_RESILIENCE,
        "schedule": ErrorCode.CONFIG_INVALID_SCHEDULE,
        "exception_mapper": ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER,
        "default_unhandled_error_code": ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER,
        "resend_on_transient_err": ErrorCode.BROKER_INIT_FAILED,
        "results_in_notices": ErrorCode.BROKER_INIT_FAILED,
        "app_version": ErrorCode.BROKER_INIT_FAILED,
        "trace_relation": ErrorCode.BROKER_INIT_FAILED,
        "trace_baggage": ErrorCode.BROKER_INIT_FAILED,
    }

    broker: PostgresConfig = Field(default_factory=PostgresConfig)
    queue_mode: QueueMode = Field(default=QueueMode.DEFAULT, strict=False)
    custom_queues: Sequence[CustomQueueConfig] | None = None
    cluster_wide_cap: int | None = Field(default=None, ge=1)
    prefetch_buffer: int = Field(default=0, ge=0)
    claim_lease_ms: int | None = Field(default=None, ge=1_000)
    max_claim_renew_age_ms: int = Field(default=180_000, ge=1)
    payload: PayloadPolicy = Field(default_factory=PayloadPolicy)
    recovery: RecoveryConfig = Field(default_factory=RecoveryConfig)
    resilience: WorkerResilienceConfig = Field(default_factory=WorkerResilienceConfig)
    schedule: ScheduleConfig | None = None
    exception_mapper: ExceptionMapper = Field(default_factory=dict[type[BaseException], str])
    default_unhandled_error_code: BuiltInTaskCode | str = OperationalErrorCode.UNHANDLED_EXCEPTION
    resend_on_transient_err: bool = False
    results_in_notices: bool = False
    app_version: str | None = Field(default=None, min_length=1, max_length=_LONGEST_VERSION, pattern=_PRINTABLE)
    trace_relation: TraceRelation = "link"
    trace_baggage: bool = False

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
        """The queues of the app, in either queue mode."""
        return (DEFAULT_QUEUE,) if self.queue_mode is QueueMode.DEFAULT else tuple(self.custom_queues or ())

    @property
    def traces(self) -> TracePolicy:
        """The settings about traces."""
        return TracePolicy(self.trace_relation, self.trace_baggage)

    @property
    def named_version(self) -> str | None:
        """The version of the app that the setting, or else the environment, names; None: neither does."""
        return self.app_version or os.environ.get(VERSION_VARIABLE) or None

    def queue_names(self) -> tuple[str, ...]:
        """Return the names of `queues`, in the same order."""
        return tuple(queue.name for queue in self.queues)

    def contradictions(self) -> Iterator[Contradiction]:
        """Check the queues, the settings of prefetching, and the version in the environment.

        The queues must fit the queue mode and have unique names. Prefetching requires a lease and cannot be combined
        with a cluster-wide cap. A lease must be at least as long as the heartbeat interval.
        """
        yield from self._queue_contradictions()
        yield from self._version_contradictions()
        if self.prefetch_buffer and self.cluster_wide_cap is not None:
            yield Contradiction.of(
                ErrorCode.CONFIG_INVALID_CLUSTER_CAP,
                f"AppConfig.cluster_wide_cap ({self.cluster_wide_cap}) and prefetch_buffer ({self.prefetch_buffer}) "
                "cannot be combined: prefetched tasks would count towards the cap without running",
                "remove one of them",
                "cluster_wide_cap",
                "prefetch_buffer",
            )
        if self.prefetch_buffer and self.claim_lease_ms is None:
            yield Contradiction.of(
                ErrorCode.CONFIG_INVALID_PREFETCH,
                f"AppConfig.prefetch_buffer ({self.prefetch_buffer}) requires claim_lease_ms",
                "set how long a prefetched task stays claimed, for example claim_lease_ms=60_000",
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

    def _version_contradictions(self) -> Iterator[Contradiction]:
        version = self.named_version
        if version is not None and not (len(version) <= _LONGEST_VERSION and re.fullmatch(_PRINTABLE, version)):
            message = (
                f"the environment variable {VERSION_VARIABLE} must have at most {_LONGEST_VERSION} printable "
                f"characters, got {show_value(version)}"
            )
            help_text = f"set {VERSION_VARIABLE} to a release or a commit, or set AppConfig.app_version"
            yield Contradiction.of(ErrorCode.BROKER_INIT_FAILED, message, help_text, "app_version")

    def _queue_contradictions(self) -> Iterator[Contradiction]:
        queues = self.custom_queues or ()
        code = ErrorCode.CONFIG_INVALID_QUEUE_MODE
        if self.queue_mode is QueueMode.CUSTOM and not queues:
            message = "QueueMode.CUSTOM requires at least one queue in AppConfig.custom_queues"
            help_text = "add custom_queues=[CustomQueueConfig(name=…)], or remove queue_mode"
            yield Contradiction.of(code, message, help_text, "queue_mode", "custom_queues")
        if self.queue_mode is QueueMode.DEFAULT and queues:
            message = "AppConfig.custom_queues is set, but queue_mode is QueueMode.DEFAULT"
            help_text = "add queue_mode=QueueMode.CUSTOM, or remove custom_queues"
            yield Contradiction.of(code, message, help_text, "queue_mode", "custom_queues")
        for name, count in Counter(queue.name for queue in queues).items():
            if count > 1:
                message = f"AppConfig.custom_queues has {count} queues named {name!r}"
                yield Contradiction.of(code, message, "give each queue a unique name", "custom_queues")

    def log_config(self, logger: logging.Logger) -> None:
        """Log all settings at level INFO, one line per section, with passwords masked."""
        sections = {name: dict(value) for name, value in self if isinstance(value, Settings)}
        sections["broker"]["database_url"] = self.broker.masked_url()  # the URL may come from the environment
        logger.info("config %s", _key_values({name: value for name, value in self if name not in sections}))
        for name, settings in sections.items():
            logger.info("config.%s %s", name, _key_values(settings))


def validate_default_code(value: object) -> list[HorsiesError]:
    """Return the errors of a ``default_unhandled_error_code``: HRS-209 if it is malformed, HRS-212 if it is reserved.

    The rules are those for the codes of an exception mapper, except that UNHANDLED_EXCEPTION is allowed.
    """
    if value == OperationalErrorCode.UNHANDLED_EXCEPTION:
        return []
    help_text = 'use a custom UPPER_SNAKE_CASE code such as "UNEXPECTED", or omit it to use UNHANDLED_EXCEPTION'
    reasons = {
        ErrorCode.CHECK_RESERVED_CODE_COLLISION: "is reserved by horsies",
        ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER: "is not an UPPER_SNAKE_CASE string",
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
