"""The pages: what each shows, read from the database as plain data. Templates show the data."""

from horsies.web.pages import (
    bulk,
    definitions,
    errors,
    overview,
    queues,
    run,
    runs,
    schedules,
    send,
    system,
    task,
    tasks,
    workers,
)
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
    Page("bulk_actions", "/bulk", "Actions on tasks", bulk.load_list, ("actions",), in_navigation=False),
    Page("bulk_action", "/bulk/{bulk_id}", "Action on tasks", bulk.load, ("state", "tasks"), in_navigation=False),
    Page(
        "errors",
        "/errors",
        "Errors",
        errors.load,
        ("storms", "chosen", "groups"),
        parameters=("period", "task", "code", "new", "group"),
    ),
    Page("runs", "/runs", "Runs", runs.load, ("runs",), parameters=("status", "workflow", "before", "limit")),
    Page(
        "run",
        "/runs/{run_id}",
        "Run",
        run.load,
        ("state", "graph", "critical", "waiting", "nodes"),
        parameters=("view", "status", "after"),
        in_navigation=False,
    ),
    Page(
        "definitions",
        "/definitions",
        "Definitions",
        definitions.load,
        ("workflows", "tasks"),
        parameters=("task",),
    ),
    Page(
        "schedules", "/schedules", "Schedules", schedules.load, ("chosen", "schedules"), parameters=("view", "schedule")
    ),
    Page("workers", "/workers", "Workers", workers.load, ("workers",)),
    Page("system", "/system", "System", system.load, ("findings",)),
    Page("send", "/send", "Send", send.load, (), parameters=("task",)),
)
"""All pages, in the order of the navigation."""
