"""Tasks with keys, for the chaos run of limits and rates: three queues that differ in the limit of each key.

Real workers import it from a copy in the folder of the run. Environment variables contain the settings.
"""

import os
from contextlib import suppress
from pathlib import Path

from chaos_tasks import AGAIN, STALE_MS, Text, sleep

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    PostgresConfig,
    QueueMode,
    RateLimit,
    RateLimited,
    RecoveryConfig,
    TaskResult,
    WorkerResilienceConfig,
    current_task,
)

CAPS = (1, 2, 3)
RATE = RateLimit(limit=80, per_seconds=1, burst=20)
RATE_PER_KEY = RateLimit(limit=8, per_seconds=1, burst=4)

app = Horsies(
    AppConfig(
        broker=PostgresConfig(pool_timeout=5),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[
            CustomQueueConfig(
                name=f"cap_{cap}",
                max_concurrency=None,
                max_concurrency_per_key=cap,
                rate_limit=RATE,
                rate_limit_per_key=RATE_PER_KEY,
            )
            for cap in CAPS
        ],
        recovery=RecoveryConfig(
            running_stale_threshold_ms=STALE_MS,
            claimed_stale_threshold_ms=STALE_MS,
            runner_heartbeat_interval_ms=1_000,
            claimer_heartbeat_interval_ms=1_000,
            check_interval_ms=1_000,
        ),
        resilience=WorkerResilienceConfig(db_retry_initial_ms=100, db_retry_max_ms=500, notify_poll_interval_ms=10_000),
    )
)


@app.task("call", queue_name="cap_1", key_by="tenant", retry_policy=AGAIN)
def call(tenant: str, seconds: float, refused_s: float) -> Text:
    """Work for a while. With ``refused_s``, the first attempt that comes so far answers that the key is to wait."""
    sleep(seconds)
    task = current_task()
    assert task is not None
    if refused_s:
        with suppress(FileExistsError):
            Path(os.environ["CHAOS_LEDGER"], f"refused-{task.id}").touch(exist_ok=False)
            return TaskResult(err=RateLimited(retry_after=refused_s))
    return TaskResult(ok=tenant)
