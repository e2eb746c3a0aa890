"""An app with a queue that has a rate, and a queue with a rate of each key."""

from horsies import AppConfig, CustomQueueConfig, Horsies, QueueMode, RateLimit, TaskError, TaskResult

OF_QUEUE = RateLimit(limit=40, per_seconds=1, burst=10)
OF_KEY = RateLimit(limit=2, per_seconds=1, burst=2)

app = Horsies(
    AppConfig(
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[
            CustomQueueConfig(name="rated", max_concurrency=None, rate_limit=OF_QUEUE),
            CustomQueueConfig(name="rated_keys", max_concurrency=None, rate_limit_per_key=OF_KEY),
            CustomQueueConfig(name="turns", max_concurrency=None, takes_turns=True),
            CustomQueueConfig(name="capped_keys", max_concurrency=None, max_concurrency_per_key=2),
            CustomQueueConfig(name="plain", max_concurrency=None),
        ],
    )
)
app.discover_tasks(["bench_limits"])


@app.task("keyed_noop", queue_name="plain", key_by="key")
def keyed_noop(key: str) -> TaskResult[None, TaskError]:
    del key
    return TaskResult(ok=None)
