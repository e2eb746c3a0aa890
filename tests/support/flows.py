"""An app with tasks of several kinds, for tests of workflow definitions."""

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    QueueMode,
    RetryPolicy,
    TaskError,
    TaskResult,
    WorkflowContext,
    WorkflowMeta,
)

QUEUES = [CustomQueueConfig(name="main", priority=10), CustomQueueConfig(name="slow", priority=20)]

app = Horsies(AppConfig(queue_mode=QueueMode.CUSTOM, custom_queues=QUEUES))


@app.task("fetch", queue_name="main")
def fetch(url: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=url)


@app.task("parse", queue_name="slow", timeout_ms=5_000)
def parse(page: TaskResult[str, TaskError], *, strict: bool = False) -> TaskResult[int, TaskError]:
    return TaskResult(ok=len(page.unwrap()) + strict)


@app.task("add", queue_name="main", retry_policy=RetryPolicy.fixed([1, 2], auto_retry_for=["AGAIN"], jitter=False))
def add(
    one: TaskResult[int, TaskError] | None = None, other: TaskResult[int, TaskError] | None = None
) -> TaskResult[int, TaskError]:
    return TaskResult(ok=sum(each.unwrap() for each in (one, other) if each is not None))


@app.task("listing", queue_name="main")
def listing() -> TaskResult[list[str], TaskError]:
    return TaskResult(ok=["a", "b"])


@app.task("resize", queue_name="slow")
def resize(image: str, size: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=size * len(image))


@app.task("gather", queue_name="main")
def gather(sizes: TaskResult[list[TaskResult[int, TaskError]], TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=sum(size.unwrap() for size in sizes.unwrap()))


@app.task("report", queue_name="main")
def report(
    title: str = "", workflow_ctx: WorkflowContext | None = None, workflow_meta: WorkflowMeta | None = None
) -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"{title} {workflow_ctx} {workflow_meta}")
