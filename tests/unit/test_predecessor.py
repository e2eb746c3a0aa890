"""The error messages for programs that were written for the packages 0.x."""

import subprocess
import sys
from collections.abc import Callable

import pytest

import horsies
from horsies import (
    AppConfig,
    CronSchedule,
    ErrorCode,
    Horsies,
    HorsiesError,
    MultipleValidationErrors,
    PostgresConfig,
    RecoveryConfig,
)
from horsies.predecessor import REMOVED_METHODS, REMOVED_NAMES


@pytest.mark.parametrize("name", REMOVED_NAMES)
def test_an_import_of_a_removed_name_says_what_to_use(name: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(f"from horsies import {name}")  # noqa: S102 - an import like that of a program
    assert str(caught.value) == f"{name!r} of the horsies packages 0.x was removed: {REMOVED_NAMES[name]}"


def test_a_removed_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'CronValues' of the horsies packages 0.x was removed: write the field"):
        _ = horsies.CronValues  # type: ignore[attr-defined]
    assert not hasattr(horsies, "CronValues")
    assert getattr(horsies, "CronValues", None) is None


def test_an_unknown_name_is_answered_by_python() -> None:
    with pytest.raises(ImportError, match="cannot import name 'CronValue' from 'horsies'"):
        exec("from horsies import CronValue")  # noqa: S102
    with pytest.raises(AttributeError, match="module 'horsies' has no attribute 'CronValue'"):
        _ = horsies.CronValue  # type: ignore[attr-defined]


def test_the_message_ends_the_traceback_of_a_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from horsies import Horsies, RetentionConfig"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "ImportError: 'RetentionConfig' of the horsies packages 0.x was removed: "
        "use RecoveryConfig(terminal_record_retention_hours=…), which counts for all ended tasks and workflows"
    )


@pytest.mark.parametrize(
    ("make", "message", "help_text"),
    [
        (
            lambda: AppConfig(retention=None),  # type: ignore[call-arg]
            "[HRS-200] AppConfig.retention of the horsies packages 0.x was removed",
            "use RecoveryConfig(terminal_record_retention_hours=…)",
        ),
        (
            lambda: PostgresConfig(worker_child_pool_max_size=2),  # type: ignore[call-arg]
            "[HRS-211] PostgresConfig.worker_child_pool_max_size of the horsies packages 0.x was removed",
            "leave it out: a child process opens connections only if",
        ),
        (
            lambda: RecoveryConfig(retention_sweep_interval_s=300),  # type: ignore[call-arg]
            "[HRS-204] RecoveryConfig.retention_sweep_interval_s of the horsies packages 0.x was removed",
            "use check_interval_ms",
        ),
        (
            lambda: CronSchedule("* * * * *", type="cron"),  # type: ignore[call-arg]
            "[HRS-205] CronSchedule.type of the horsies packages 0.x was removed",
            "leave it out",
        ),
    ],
    ids=["app", "postgres", "recovery", "cron"],
)
def test_a_removed_setting_is_answered_by_name(make: Callable[[], object], message: str, help_text: str) -> None:
    with pytest.raises(HorsiesError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert (caught.value.help_text or "").startswith(help_text)
    assert caught.value.location is not None
    assert caught.value.location.file == __file__


def test_a_cron_schedule_made_of_fields_is_answered_field_by_field() -> None:
    with pytest.raises(MultipleValidationErrors) as caught:
        CronSchedule(minute=[0], hour=[9], month=[1], day=None)  # type: ignore[call-arg]
    found = caught.value.report.errors
    assert {error.code for error in found} == {ErrorCode.CONFIG_INVALID_SCHEDULE}
    assert [error.message.partition(" of ")[0] for error in found[1:]] == [
        f"CronSchedule.{name}" for name in ("minute", "hour", "month", "day")
    ]


@pytest.mark.parametrize("name", REMOVED_METHODS)
def test_a_removed_method_of_an_app_says_what_to_use(name: str) -> None:
    app = Horsies(AppConfig())
    with pytest.raises(AttributeError) as caught:
        getattr(app, name)
    assert str(caught.value) == f"app.{name} of the horsies packages 0.x was removed: {REMOVED_METHODS[name]}"
    assert not hasattr(app, name)


def test_an_unknown_method_of_an_app_is_answered_by_python() -> None:
    with pytest.raises(AttributeError, match="'Horsies' object has no attribute 'sned'"):
        _ = Horsies(AppConfig()).sned  # type: ignore[attr-defined]
