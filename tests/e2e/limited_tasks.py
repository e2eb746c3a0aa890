"""An app whose keyed queue calls an API. The first call in the cluster is refused for two seconds."""

import os
import time
from contextlib import suppress
from pathlib import Path

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    PostgresConfig,
    QueueMode,
    RateLimited,
    TaskError,
    TaskResult,
)

app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=os.environ["HORSIES_DATABASE_URL"], schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies")
        ),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[CustomQueueConfig(name="apis", max_concurrency=None, max_concurrency_per_key=4)],
    )
)


@app.task("call", queue_name="apis", key_by="tenant")
def call(tenant: str) -> TaskResult[str, TaskError]:
    """Call the API. The process that creates the file is the one that is refused."""
    time.sleep(0.02)
    with suppress(FileExistsError):
        Path("refused").touch(exist_ok=False)
        return TaskResult(err=RateLimited(retry_after=2, scope="key"))
    return TaskResult(ok=tenant)
