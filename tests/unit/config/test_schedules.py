"""`TaskSchedule` and `ScheduleConfig`: their validation, and the values that they do not show."""

import logging
import pickle
from collections.abc import Callable
from datetime import time

import pytest

from horsies.config.app import AppConfig
from horsies.config.patterns import DailySchedule
from horsies.config.schedules import ScheduleConfig, TaskSchedule
from horsies.errors import ConfigurationError, ErrorCode, MultipleValidationErrors

NIGHTLY = DailySchedule(time(3))


def schedule(name: str = "nightly", **more: object) -> TaskSchedule:
    return TaskSchedule(**{"name": name, "task_name": "clean", "pattern": NIGHTLY, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: schedule(""), "TaskSchedule.name '' is not a valid"),
        (lambda: schedule("two\nlines"), "is not a valid schedule name"),
        (lambda: schedule("x" * 129), "128 bytes"),
        (lambda: schedule(pattern="daily"), "pattern must be a SchedulePattern"),
        (lambda: schedule(timezone="Europe/Berln"), "did you mean 'Europe/Berlin'?"),
        (lambda: schedule(timezone="Europe"), "there is no time zone 'Europe'"),
        (lambda: schedule(timezone="../etc/passwd"), "there is no time zone"),
        (lambda: schedule(max_catch_up_runs=0), "from 1 to 10,000, got 0"),
        (lambda: schedule(max_catch_up_runs=10_001), "from 1 to 10,000, got 10001"),
        (lambda: schedule(cron="* * * * *"), "has no field 'cron'"),
        (lambda: ScheduleConfig(check_interval_seconds=0), "from 1 to 60, got 0"),
        (lambda: ScheduleConfig(check_interval_seconds=61), "from 1 to 60, got 61"),
        (lambda: ScheduleConfig(schedules=[schedule(), schedule()]), "2 schedules named 'nightly'"),
        (lambda: AppConfig(schedule=[schedule()]), "schedule must be a ScheduleConfig"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_refused_at_the_line_of_the_user(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wrong()
    assert caught.value.code == ErrorCode.CONFIG_INVALID_SCHEDULE
    assert message in str(caught.value)
    assert caught.value.location is not None
    assert caught.value.location.file == __file__


def test_all_mistakes_in_a_schedule_are_reported_at_once() -> None:
    with pytest.raises(MultipleValidationErrors) as caught:
        schedule("", timezone="Mars", max_catch_up_runs=0)
    assert len(caught.value.report.errors) == 3


def test_it_knows_where_it_is_written_also_in_another_process() -> None:
    found = pickle.loads(pickle.dumps(schedule()))  # noqa: S301
    assert found == schedule()
    assert found.location.file == __file__


def test_arguments_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    config = AppConfig(schedule=ScheduleConfig(schedules=[schedule(args=("hunter2",), kwargs={"key": "hunter3"})]))
    with caplog.at_level(logging.INFO):
        config.log_config(logging.getLogger("test"))
    assert "nightly" in caplog.text
    assert "hunter" not in caplog.text + repr(config)
