"""An app with schedules, for `test_scheduler.py`. VARIANT selects another version of it."""

import os
from datetime import time

from horsies import (
    AppConfig,
    CronSchedule,
    DailySchedule,
    Horsies,
    HourlySchedule,
    IntervalSchedule,
    PayloadPolicy,
    PostgresConfig,
    ScheduleConfig,
    TaskError,
    TaskResult,
    TaskSchedule,
    WorkerResilienceConfig,
)

VARIANT = os.environ.get("VARIANT", "")
FIRST_HOUR = 3 if VARIANT == "later" else 2

app = Horsies(
    AppConfig(
        broker=PostgresConfig(schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies")),
        resilience=WorkerResilienceConfig(db_retry_initial_ms=100, db_retry_max_ms=500),
        payload=PayloadPolicy(warn_bytes=10),  # less than any arguments
        schedule=ScheduleConfig(
            enabled=VARIANT != "off",
            schedules=[
                TaskSchedule(
                    name="hourly", task_name="note", pattern=HourlySchedule(minute=5), args=["h"], catch_up_missed=True
                ),
                TaskSchedule(
                    name="often",
                    task_name="note",
                    pattern=CronSchedule("*/10 * * * *"),
                    kwargs={"key": "o"},
                    catch_up_missed=True,
                    max_catch_up_runs=100,
                ),
                TaskSchedule(
                    name="interval",
                    task_name="note",
                    pattern=IntervalSchedule(hours=7),
                    args=["i"],
                    catch_up_missed=True,
                ),
                TaskSchedule(
                    name="nightly",
                    task_name="note",
                    pattern=DailySchedule(time(FIRST_HOUR, 30)),
                    args=["n"],
                    timezone="Europe/Berlin",
                ),
                TaskSchedule(
                    name="off", task_name="note", pattern=IntervalSchedule(seconds=1), args=["x"], enabled=False
                ),
            ],
        ),
    )
)


@app.task("note")
def note(key: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=key)
