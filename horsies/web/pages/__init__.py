"""The pages: what each shows, read from the database as plain data. Templates show the data."""

from horsies.web.pages import overview, queues, task, tasks, workers
from horsies.web.pages.page import Page

PAGES = (
    Page(
        "overview",
        "/",
        "Overview",
        overview.load,
        ("verdict", "figures", "throughput", "durations", "reasons", "errors", "queues"),
    ),
    Page("queues", "/queues", "Queues", queues.load, ("queues", "chosen"), parameters=("queue",)),
    Page("tasks", "/tasks", "Tasks", tasks.load, ("tasks",), parameters=("filter", "before", "limit")),
    Page(
        "task",
        "/tasks/{task_id}",
        "Task",
        task.load,
        ("why", "life", "facts", "outcome", "content"),
        in_navigation=False,
    ),
    Page("workers", "/workers", "Workers", workers.load, ("workers",)),
)
"""All pages, in the order of the navigation."""
