import logging
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from horsies.codes import OperationalErrorCode
from horsies.config.app import (
    AppConfig,
    CustomQueueConfig,
    PostgresConfig,
    QueueMode,
    RecoveryConfig,
    WorkerResilienceConfig,
)
from horsies.config.payload import PayloadPolicy
from horsies.errors import ErrorCode
from tests.support.problems import only_problem, problems

URL = "postgresql://me:hunter2@db.example:5433/jobs"


@pytest.fixture(autouse=True)
def no_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HORSIES_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


class TestDefaults:
    """The documented default of each setting."""

    def test_of_an_app(self) -> None:
        config = AppConfig()
        assert config.broker == PostgresConfig()
        assert (config.queue_mode, config.custom_queues, config.cluster_wide_cap) == (QueueMode.DEFAULT, None, None)
        assert (config.prefetch_buffer, config.claim_lease_ms, config.max_claim_renew_age_ms) == (0, None, 180_000)
        assert (config.recovery, config.resilience) == (RecoveryConfig(), WorkerResilienceConfig())
        assert (config.exception_mapper, config.resend_on_transient_err) == ({}, False)
        assert config.default_unhandled_error_code is OperationalErrorCode.UNHANDLED_EXCEPTION

    def test_of_the_database(self) -> None:
        config = PostgresConfig()
        assert (config.database_url, config.session_database_url, config.schema_name) == (None, None, "horsies")
        assert (config.pool_size, config.max_overflow, config.pool_timeout, config.pool_recycle) == (10, 20, 30, 1800)
        assert (config.pool_pre_ping, config.echo) == (True, False)
        assert (config.pgbouncer_transaction_mode, config.auto_migrate, config.tcp_keepalives) == (False, True, True)

    def test_of_the_payload_policy(self) -> None:
        assert AppConfig().payload == PayloadPolicy(warn_bytes=1_048_576, reject_bytes=None)

    def test_of_a_queue(self) -> None:
        queue = CustomQueueConfig(name="mail")
        assert (queue.priority, queue.max_concurrency) == (1, 5)

    def test_of_recovery(self) -> None:
        assert RecoveryConfig().model_dump() == {
            "auto_requeue_stale_claimed": True,
            "claimed_stale_threshold_ms": 120_000,
            "auto_fail_stale_running": True,
            "running_stale_threshold_ms": 300_000,
            "check_interval_ms": 30_000,
            "runner_heartbeat_interval_ms": 30_000,
            "claimer_heartbeat_interval_ms": 30_000,
            "heartbeat_retention_hours": 24,
            "worker_state_retention_hours": 168,
            "terminal_record_retention_hours": 720,
        }

    def test_of_resilience(self) -> None:
        assert WorkerResilienceConfig().model_dump() == {
            "db_retry_initial_ms": 500,
            "db_retry_max_ms": 30_000,
            "db_retry_max_attempts": 0,
            "notify_poll_interval_ms": 5_000,
        }


class Range(NamedTuple):
    """The values that a field takes; None: no limit on that side."""

    model: type[Any]
    field: str
    low: int
    high: int | None
    code: str
    more: dict[str, Any] = {}  # noqa: RUF012 - other fields, so that the limits cause no contradiction

    def make(self, value: object) -> Any:
        return self.model(**self.more | {self.field: value})


QUEUE = {"name": "mail"}
SHORT = {"runner_heartbeat_interval_ms": 1_000, "claimer_heartbeat_interval_ms": 1_000}
LONG = {"claimed_stale_threshold_ms": 3_600_000, "running_stale_threshold_ms": 3_600_000}
RANGES = [
    Range(AppConfig, "cluster_wide_cap", 1, None, "HRS-201"),
    Range(AppConfig, "prefetch_buffer", 0, None, "HRS-202", {"claim_lease_ms": 30_000}),
    Range(AppConfig, "claim_lease_ms", 1_000, None, "HRS-202", {"recovery": RecoveryConfig(**SHORT)}),
    Range(AppConfig, "max_claim_renew_age_ms", 1, None, "HRS-202"),
    Range(CustomQueueConfig, "priority", 1, 100, "HRS-200", QUEUE),
    Range(CustomQueueConfig, "max_concurrency", 0, None, "HRS-200", QUEUE),
    Range(PostgresConfig, "pool_size", 1, 10_000, "HRS-211"),
    Range(PostgresConfig, "max_overflow", 0, 10_000, "HRS-211"),
    Range(PostgresConfig, "pool_recycle", 1, None, "HRS-211"),
    Range(PostgresConfig, "tcp_keepalives_idle", 1, 32_767, "HRS-211"),
    Range(PostgresConfig, "tcp_keepalives_interval", 1, 32_767, "HRS-211"),
    Range(PostgresConfig, "tcp_keepalives_count", 1, 127, "HRS-211"),
    Range(PostgresConfig, "tcp_user_timeout", 0, 2_147_483, "HRS-211"),
    Range(RecoveryConfig, "claimed_stale_threshold_ms", 1_000, 3_600_000, "HRS-204", SHORT),
    Range(RecoveryConfig, "running_stale_threshold_ms", 1_000, 7_200_000, "HRS-204", SHORT),
    Range(RecoveryConfig, "check_interval_ms", 1_000, 600_000, "HRS-204"),
    Range(RecoveryConfig, "runner_heartbeat_interval_ms", 1_000, 120_000, "HRS-204", LONG),
    Range(RecoveryConfig, "claimer_heartbeat_interval_ms", 1_000, 120_000, "HRS-204", LONG),
    Range(RecoveryConfig, "heartbeat_retention_hours", 1, None, "HRS-204"),
    Range(RecoveryConfig, "worker_state_retention_hours", 1, None, "HRS-204"),
    Range(RecoveryConfig, "terminal_record_retention_hours", 1, None, "HRS-204"),
    Range(WorkerResilienceConfig, "db_retry_initial_ms", 100, 60_000, "HRS-208", {"db_retry_max_ms": 60_000}),
    Range(WorkerResilienceConfig, "db_retry_max_ms", 500, 300_000, "HRS-208"),
    Range(WorkerResilienceConfig, "db_retry_max_attempts", 0, 10_000, "HRS-208"),
    Range(WorkerResilienceConfig, "notify_poll_interval_ms", 1_000, 300_000, "HRS-208"),
]


@pytest.mark.parametrize("each", RANGES, ids=lambda each: each.field)
class TestRanges:
    """Every number has a range. A value outside it is refused with the code of the setting."""

    def test_the_limits_are_accepted(self, each: Range) -> None:
        # The lowest thresholds contradict even the shortest interval.
        low = 2_000 if each.field.endswith("_stale_threshold_ms") else each.low
        for limit in (low, each.high or 10**9):
            assert getattr(each.make(limit), each.field) == limit

    def test_beyond_them_is_refused(self, each: Range) -> None:
        for wrong in (each.low - 1, each.high and each.high + 1):
            if wrong is not None:
                problem = only_problem(lambda wrong=wrong: each.make(wrong))
                assert problem.code == each.code
                assert problem.message.startswith(f"{each.model.__name__}.{each.field} must be a whole number")
                assert problem.message.endswith(f"got {wrong}")
                assert f"{each.low:,}" in problem.message
                assert f"{each.high or each.low:,}" in problem.message

    @pytest.mark.parametrize("wrong", ["12", True, 1.5, [1]])
    def test_other_values_than_whole_numbers_are_refused(self, each: Range, wrong: object) -> None:
        problem = only_problem(lambda: each.make(wrong))
        assert problem.code == each.code
        assert f"{each.model.__name__}.{each.field} must be a whole number" in problem.message


@pytest.mark.parametrize("field", ["heartbeat_retention_hours", "terminal_record_retention_hours"])
def test_none_keeps_records_for_ever(field: str) -> None:
    for_ever: dict[str, Any] = {field: None}
    assert getattr(RecoveryConfig(**for_ever), field) is None


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan"), "30"])
def test_the_pool_timeout_is_a_positive_number(wrong: object) -> None:
    problem = only_problem(lambda: PostgresConfig(pool_timeout=wrong))  # pyright: ignore[reportArgumentType]
    assert problem.code == ErrorCode.BROKER_INIT_FAILED
    assert problem.message == f"PostgresConfig.pool_timeout must be a number above 0, got {wrong!r}"
    assert PostgresConfig(pool_timeout=0.5).pool_timeout == 0.5


class TestReporting:
    """The errors of a constructor: their messages and locations."""

    def test_all_problems_of_a_constructor_are_reported_together(self) -> None:
        found = problems(
            lambda: AppConfig(
                queue_mode="sometimes",  # pyright: ignore[reportArgumentType]
                cluster_wide_cap=0,
                recovery=None,  # pyright: ignore[reportArgumentType]
                resend_on_transient_err="yes",  # pyright: ignore[reportArgumentType]
            )
        )
        assert [problem.code for problem in found] == ["HRS-200", "HRS-201", "HRS-204", "HRS-211"]
        assert [problem.message for problem in found] == [
            "AppConfig.queue_mode must be QueueMode.DEFAULT or QueueMode.CUSTOM, got 'sometimes'",
            "AppConfig.cluster_wide_cap must be a whole number of at least 1, or None, got 0",
            "AppConfig.recovery must be a RecoveryConfig, got None",
            "AppConfig.resend_on_transient_err must be True or False, got 'yes'",
        ]

    def test_contradictions_among_valid_fields_are_also_reported(self) -> None:
        found = problems(
            lambda: RecoveryConfig(
                claimed_stale_threshold_ms=10_000, running_stale_threshold_ms=10_000, runner_heartbeat_interval_ms=0
            )
        )
        assert [problem.message.split()[0] for problem in found] == [
            "RecoveryConfig.runner_heartbeat_interval_ms",
            "RecoveryConfig.claimed_stale_threshold_ms",
        ]

    def test_an_error_has_the_location_of_the_call(self) -> None:
        problem = only_problem(lambda: RecoveryConfig(check_interval_ms=1))
        assert problem.location is not None
        assert Path(problem.location.file) == Path(__file__)
        assert "check_interval_ms=1)" in Path(__file__).read_text().splitlines()[problem.location.line - 1]

    def test_the_default_is_the_help(self) -> None:
        assert only_problem(lambda: RecoveryConfig(check_interval_ms=1)).help_text == (
            "omit it to use the default, 30000"
        )

    def test_a_nested_model_raises_by_itself(self) -> None:
        problem = only_problem(lambda: AppConfig(broker=PostgresConfig(pool_size=0)))
        assert problem.message.startswith("PostgresConfig.pool_size must be")

    def test_a_nested_dict_reports_with_the_rest(self) -> None:
        nested: Any = {"pool_size": 0, "echo": "no"}
        found = problems(lambda: AppConfig(broker=nested, cluster_wide_cap=0))
        assert [problem.message.split()[0] for problem in found] == [
            "PostgresConfig.pool_size",
            "PostgresConfig.echo",
            "AppConfig.cluster_wide_cap",
        ]
        assert {problem.location for problem in found} == {found[0].location}
        assert AppConfig(broker={"pool_size": 3}).broker.pool_size == 3  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize(
        ("model", "wrong", "code", "help_text"),
        [
            (AppConfig, "prefetch_bufer", "HRS-202", "did you mean 'prefetch_buffer'?"),
            (AppConfig, "clusterwide_cap", "HRS-201", "did you mean 'cluster_wide_cap'?"),
            (PostgresConfig, "databse_url", "HRS-203", "did you mean 'database_url'?"),
            (PostgresConfig, "schema_name", "HRS-211", "did you mean 'schema'?"),
            (RecoveryConfig, "check_interval", "HRS-204", "did you mean 'check_interval_ms'?"),
            (
                WorkerResilienceConfig,
                "patience",
                "HRS-208",
                "the available fields are db_retry_initial_ms, db_retry_max_attempts, db_retry_max_ms, notify_poll_interval_ms",
            ),
        ],
    )
    def test_an_unknown_field_is_refused_with_a_suggestion(
        self, model: type[Any], wrong: str, code: str, help_text: str
    ) -> None:
        problem = only_problem(lambda: model(**{wrong: URL}))
        assert (problem.code, problem.help_text) == (code, help_text)
        assert problem.message == f"{model.__name__} has no field {wrong!r}"

    def test_a_missing_field_is_named(self) -> None:
        nothing: dict[str, Any] = {}
        problem = only_problem(lambda: CustomQueueConfig(**nothing))
        assert (problem.message, problem.help_text) == (
            "CustomQueueConfig is missing the required field name",
            "pass name=, a string",
        )

    def test_no_error_refers_to_the_passed_value(self) -> None:
        problem = only_problem(lambda: AppConfig(broker=URL))  # pyright: ignore[reportArgumentType]
        assert problem.__cause__ is None
        assert problem.__context__ is None
        assert "hunter2" not in str(problem)
        assert problem.message == (
            "AppConfig.broker must be a PostgresConfig, got 'postgresql://me:***@db.example:5433/jobs'"
        )

    def test_a_config_is_frozen(self) -> None:
        config: Any = AppConfig()
        with pytest.raises(ValidationError, match="frozen"):
            config.cluster_wide_cap = 3

    def test_a_config_crosses_a_process_boundary(self) -> None:
        config = AppConfig(broker=PostgresConfig(database_url=URL), exception_mapper={TimeoutError: "TOO_SLOW"})
        assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301


class TestQueues:
    """`queue_mode` and `custom_queues`."""

    def test_the_default_mode_has_one_queue(self) -> None:
        [queue] = AppConfig().queues
        assert (queue.name, queue.priority, queue.max_concurrency) == ("default", 100, None)
        assert AppConfig().queue_names() == ("default",)

    def test_the_custom_mode_has_those_that_are_listed(self) -> None:
        listed = [CustomQueueConfig(name="mail"), CustomQueueConfig(name="reports", priority=2)]
        config = AppConfig(queue_mode=QueueMode.CUSTOM, custom_queues=listed)
        assert config.queues == tuple(listed)
        assert config.queue_names() == ("mail", "reports")

    def test_the_list_may_change_afterwards(self) -> None:
        listed = [CustomQueueConfig(name="mail")]
        config = AppConfig(queue_mode=QueueMode.CUSTOM, custom_queues=listed)
        listed.clear()
        assert config.queue_names() == ("mail",)

    def test_the_mode_may_be_given_as_text(self) -> None:
        mode: Any = "custom"
        config = AppConfig(queue_mode=mode, custom_queues=[CustomQueueConfig(name="mail")])
        assert config.queue_mode is QueueMode.CUSTOM

    @pytest.mark.parametrize("queues", [None, []])
    def test_the_custom_mode_needs_a_queue(self, queues: list[CustomQueueConfig] | None) -> None:
        problem = only_problem(lambda: AppConfig(queue_mode=QueueMode.CUSTOM, custom_queues=queues))
        assert problem.code == ErrorCode.CONFIG_INVALID_QUEUE_MODE
        assert "at least one queue" in problem.message

    def test_the_default_mode_takes_none(self) -> None:
        problem = only_problem(lambda: AppConfig(custom_queues=[CustomQueueConfig(name="mail")]))
        assert problem.code == ErrorCode.CONFIG_INVALID_QUEUE_MODE
        assert problem.help_text == "add queue_mode=QueueMode.CUSTOM, or remove custom_queues"

    def test_names_are_unique(self) -> None:
        twice = [CustomQueueConfig(name=name) for name in ("mail", "reports", "mail")]
        problem = only_problem(lambda: AppConfig(queue_mode=QueueMode.CUSTOM, custom_queues=twice))
        assert problem.message == "AppConfig.custom_queues has 2 queues named 'mail'"

    def test_a_wrong_item_is_named_by_its_place(self) -> None:
        wrong: Any = [CustomQueueConfig(name="mail"), "reports"]
        problem = only_problem(lambda: AppConfig(queue_mode=QueueMode.CUSTOM, custom_queues=wrong))
        assert problem.message == "AppConfig.custom_queues[1] must be a CustomQueueConfig, got 'reports'"

    @pytest.mark.parametrize("name", ["mail", "Übermäßig", "a.b-c_d", "x" * 128])
    def test_names_that_can_be_used(self, name: str) -> None:
        assert CustomQueueConfig(name=name).name == name

    @pytest.mark.parametrize("name", ["", " ", "a b", "a,b", "a\0b", "a\nb", "x" * 129, "ü" * 65])
    def test_names_that_cannot(self, name: str) -> None:
        problem = only_problem(lambda: CustomQueueConfig(name=name))
        assert problem.code == ErrorCode.CONFIG_INVALID_QUEUE_MODE
        assert "is not a valid queue name" in problem.message


class TestClaiming:
    """`prefetch_buffer`, `claim_lease_ms` and `cluster_wide_cap`."""

    def test_prefetching_needs_a_lease(self) -> None:
        problem = only_problem(lambda: AppConfig(prefetch_buffer=5))
        assert (problem.code, problem.message) == ("HRS-202", "AppConfig.prefetch_buffer (5) requires claim_lease_ms")
        assert AppConfig(prefetch_buffer=5, claim_lease_ms=60_000).claim_lease_ms == 60_000

    def test_a_lease_is_at_least_as_long_as_the_heartbeat(self) -> None:
        problem = only_problem(lambda: AppConfig(prefetch_buffer=5, claim_lease_ms=29_999))
        assert problem.code == ErrorCode.CONFIG_INVALID_PREFETCH
        assert problem.message.startswith(
            "AppConfig.claim_lease_ms (29,999) is less than RecoveryConfig.claimer_heartbeat_interval_ms (30,000)"
        )
        assert problem.help_text == "set claim_lease_ms to 30,000 or more, or claimer_heartbeat_interval_ms lower"
        assert AppConfig(prefetch_buffer=5, claim_lease_ms=30_000).claim_lease_ms == 30_000

    def test_prefetching_and_a_cluster_cap_exclude_each_other(self) -> None:
        problem = only_problem(lambda: AppConfig(prefetch_buffer=5, claim_lease_ms=60_000, cluster_wide_cap=3))
        assert problem.code == ErrorCode.CONFIG_INVALID_CLUSTER_CAP


class TestThresholds:
    """A threshold of recovery is at least twice its interval."""

    @pytest.mark.parametrize(
        ("threshold", "interval"),
        [
            ("claimed_stale_threshold_ms", "claimer_heartbeat_interval_ms"),
            ("running_stale_threshold_ms", "runner_heartbeat_interval_ms"),
        ],
    )
    def test_is_at_least_twice_its_interval(self, threshold: str, interval: str) -> None:
        enough: dict[str, Any] = {threshold: 20_000, interval: 10_000}
        assert getattr(RecoveryConfig(**enough), threshold) == 20_000
        too_little: dict[str, Any] = {threshold: 19_999, interval: 10_000}
        problem = only_problem(lambda: RecoveryConfig(**too_little))
        assert problem.code == ErrorCode.CONFIG_INVALID_RECOVERY
        assert problem.message == f"RecoveryConfig.{threshold} (19,999) is less than twice {interval} (10,000)"
        assert problem.help_text == f"set {threshold} to 20,000 or more, or {interval} lower"

    def test_the_longest_pause_is_not_shorter_than_the_first(self) -> None:
        problem = only_problem(lambda: WorkerResilienceConfig(db_retry_initial_ms=1_000, db_retry_max_ms=999))
        assert problem.code == ErrorCode.CONFIG_INVALID_RESILIENCE
        assert WorkerResilienceConfig(db_retry_initial_ms=1_000, db_retry_max_ms=1_000).db_retry_max_ms == 1_000


class TestCodes:
    """`exception_mapper` and `default_unhandled_error_code`."""

    def test_a_mapper_is_kept_as_it_was(self) -> None:
        mapper: dict[type[BaseException], str] = {TimeoutError: "TOO_SLOW"}
        config = AppConfig(exception_mapper=mapper)
        mapper.clear()
        assert config.exception_mapper == {TimeoutError: "TOO_SLOW"}

    @pytest.mark.parametrize(
        ("mapper", "codes"),
        [
            ({"TimeoutError": "TOO_SLOW"}, ["HRS-209"]),
            ({TimeoutError: "too slow"}, ["HRS-209"]),
            ({TimeoutError: "BROKER_ERROR"}, ["HRS-212"]),
            ({TimeoutError: "BROKER_ERROR", OSError: 3}, ["HRS-212", "HRS-209"]),
            ([TimeoutError], ["HRS-209"]),
        ],
    )
    def test_a_wrong_mapper_is_refused(self, mapper: Any, codes: list[str]) -> None:
        found = problems(lambda: AppConfig(exception_mapper=mapper))
        assert [problem.code for problem in found] == codes
        assert all(problem.location is not None for problem in found)

    def test_a_default_code_of_ones_own(self) -> None:
        assert AppConfig(default_unhandled_error_code="UNEXPECTED").default_unhandled_error_code == "UNEXPECTED"

    def test_the_librarys_own_default_may_be_spelled_out(self) -> None:
        config = AppConfig(default_unhandled_error_code="UNHANDLED_EXCEPTION")
        assert config.default_unhandled_error_code is OperationalErrorCode.UNHANDLED_EXCEPTION

    @pytest.mark.parametrize(
        ("wrong", "code"),
        [
            ("unexpected", "HRS-209"),
            ("", "HRS-209"),
            (3, "HRS-209"),
            (None, "HRS-209"),
            ("BROKER_ERROR", "HRS-212"),
            (OperationalErrorCode.WORKER_CRASHED, "HRS-212"),
        ],
    )
    def test_a_wrong_default_code_is_refused(self, wrong: Any, code: str) -> None:
        problem = only_problem(lambda: AppConfig(default_unhandled_error_code=wrong))
        assert problem.code == code
        assert problem.message.startswith("default_unhandled_error_code ")


class TestPayloadPolicy:
    """The sizes are numbers of bytes, or None."""

    @pytest.mark.parametrize(("warn_bytes", "reject_bytes"), [(None, None), (1, 1), (10**9, 10**9), (5_000, 1_000)])
    def test_limits_that_are_accepted(self, warn_bytes: int | None, reject_bytes: int | None) -> None:
        policy = PayloadPolicy(warn_bytes=warn_bytes, reject_bytes=reject_bytes)
        assert (policy.warn_bytes, policy.reject_bytes) == (warn_bytes, reject_bytes)

    @pytest.mark.parametrize("name", ["warn_bytes", "reject_bytes"])
    @pytest.mark.parametrize("value", [0, -1, 10**9 + 1, 1.5, "1 MiB", True])
    def test_other_values_are_refused(self, name: str, value: Any) -> None:
        problem = only_problem(lambda: PayloadPolicy(**{name: value}))
        assert problem.code is ErrorCode.BROKER_INIT_FAILED
        expected = f"PayloadPolicy.{name} must be a whole number from 1 to 1,000,000,000, or None, got {value!r}"
        assert problem.message == expected

    def test_a_misspelled_limit_and_a_plain_number_are_refused(self) -> None:
        problem = only_problem(lambda: PayloadPolicy(refuse_bytes=5))  # type: ignore[call-arg]
        assert problem.message == "PayloadPolicy has no field 'refuse_bytes'"
        assert "reject_bytes" in (problem.help_text or "")
        problem = only_problem(lambda: AppConfig(payload=5))  # type: ignore[arg-type]
        assert problem.message == "AppConfig.payload must be a PayloadPolicy, got 5"


class TestLogConfig:
    """`log_config` prints every setting, and no secret."""

    def test_prints_all(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        config = AppConfig(
            broker=PostgresConfig(database_url=URL, session_database_url=URL),
            exception_mapper={TimeoutError: "TOO_SLOW"},
        )
        config.log_config(logging.getLogger("mine"))
        assert [record.name for record in caplog.records] == ["mine"] * 5
        for setting in (
            "queue_mode=QueueMode.DEFAULT",
            "exception_mapper={TimeoutError: TOO_SLOW}",
            " database_url=postgresql://me:***@db.example:5433/jobs",
            "session_database_url=postgresql://me:***@db.example:5433/jobs",
            "check_interval_ms=30000",
            "db_retry_max_ms=30000",
            "config.payload warn_bytes=1048576 reject_bytes=None",
        ):
            assert setting in caplog.text
        assert "hunter2" not in caplog.text

    def test_shows_the_url_of_the_environment(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.INFO)
        monkeypatch.setenv("DATABASE_URL", URL)
        AppConfig().log_config(logging.getLogger("mine"))
        assert "config.broker database_url=postgresql://me:***@db.example:5433/jobs" in caplog.text
