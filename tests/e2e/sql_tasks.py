"""Tasks that are sent from SQL. The environment sets the version of the app."""

import os

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult, WorkerResilienceConfig

VERSION = os.environ.get("TEST_VERSION", "1")

app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=os.environ.get("HORSIES_DATABASE_URL"),
            schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies"),
        ),
        resilience=WorkerResilienceConfig(notify_poll_interval_ms=300_000),  # tests rely on notifications
        app_version=VERSION,
    )
)
app.discover_tasks(["sql_tasks"])


@app.task("add", timeout_ms=None if VERSION == "1" else 5_000)
def add(a: int, /, b: int = 2, *, note: str | None = None) -> TaskResult[str, TaskError]:
    """Return the sum and the note."""
    return TaskResult(ok=f"{a + b} {note!r}")
