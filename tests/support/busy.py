"""An app and its database in which every page of the web interface has something to show, with names of choice."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from horsies import (
    AppConfig,
    CustomQueueConfig,
    DailySchedule,
    Horsies,
    PostgresConfig,
    QueueMode,
    ScheduleConfig,
    TaskError,
    TaskResult,
    TaskSchedule,
)
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.worker import Fence, Outcome
from tests.support.factories import (
    DrivenWorker,
    define,
    ended_task,
    failed,
    pause_queue,
    postponed,
    request,
    send,
)
from tests.support.flow import declare_queue
from tests.support.runs import finish, node, start
from tests.support.sessions import Session, call, freeze_clock, move_clock

SCRIPT = "<script>top.hit=1</script>"
HOSTILE_NAME = f"\"'><svg/onload=top.hit=1>{SCRIPT}{{{{7*7}}}}%0a"
"""A name of anything, also of a queue, which would run a script in a page that does not escape it."""

HOSTILE_TEXT = (
    f"{HOSTILE_NAME}\n<img src=x onerror=top.hit=1> javascript:top.hit=1 \x1b[2J\x1b]0;x\x07\u202e\u2028</pre>"
)
"""A text of a task, which has characters that names may not have."""


@dataclass(frozen=True, slots=True)
class Busy:
    """What a database was filled with.

    Attributes:
        ids: The ids of tasks by what they do: ``waiting``, ``running``, ``ended``, ``failed`` and so on.
        runs: The ids of runs: ``run``, and ``ended_run``.
        name: The name of the task, the queue, the schedule and everything else.
    """

    ids: Mapping[str, str]
    runs: Mapping[str, str]
    name: str


def busy_app(url: str, name: str) -> Horsies:
    """Return an app with a queue, a task, a workflow and a schedule of one name."""
    schedule = TaskSchedule(name=name, task_name=name, pattern=DailySchedule(time=datetime.min.time()))
    app = Horsies(
        AppConfig(
            broker=PostgresConfig(database_url=url, auto_migrate=False),
            queue_mode=QueueMode.CUSTOM,
            custom_queues=[CustomQueueConfig(name=name, max_concurrency=4), CustomQueueConfig(name="mail")],
            schedule=ScheduleConfig(schedules=[schedule]),
        )
    )

    @app.task(name, queue_name=name)
    def charge(order_id: int = 1, note: str = name) -> TaskResult[int, TaskError]:
        return TaskResult(ok=order_id)

    @app.workflow_builder(cases=[{"order_id": 1}])
    def checkout(order_id: int) -> object:
        first = charge.node(node_id="first")(order_id)
        return app.workflow(name, [first], definition_key=name)

    assert checkout
    return app


def fill(db: Session, name: str, text: str) -> Busy:
    """Fill a database with tasks in all states, runs, errors, schedules and workers."""
    freeze_clock(db, datetime.now(UTC) - timedelta(minutes=20))
    wanted = {"name": name, "queue": name, "args": json.dumps({"order_id": 1, "note": text}).encode()}
    declare_queue(db, name)
    worker = DrivenWorker(db, caps={name: 4}, names=(name,))
    pause_queue(db, "mail")
    ids = {"ended": ended_task(db, request(**wanted))}
    for kind in ("failed", "postponed", "running"):
        ids[kind] = send(db, request(**wanted, task_key=name))
        fence = worker.claim_one()
        if kind == "failed":
            worker.finish(_failed(fence, name, text))
        elif kind == "postponed":
            worker.finish(postponed(fence, 300, code="RATE_LIMITED"))
        else:
            note = json.dumps({"done": 1, "total": 3, "note": text}).encode()
            assert call(db, task_queries.progress(fence.task_id, 1, note))
    ids |= {"waiting": send(db, request(**wanted, task_key=name)), "paused": send(db, request(queue="mail"))}
    ids |= {
        "delayed": send(db, request(**wanted, delay=3600)),
        "unserved": send(db, request(name=f"{name}2", queue=name)),
    }
    runs = {"run": _start(db, name), "ended_run": _start(db, name)}
    finish(db, DrivenWorker(db, queues=("mail",), names=("add",)), runs["ended_run"], 0)
    define(db, name, due=datetime.now(UTC) - timedelta(hours=2), queue=name)
    define(db, "hourly", due=datetime.now(UTC) + timedelta(hours=1))
    _look_odd(db, text)
    move_clock(db, 120)
    for counting in (monitoring_queries.sample(None), monitoring_queries.sample_errors()):
        assert all(iter(lambda counting=counting: call(db, counting), 0))
    return Busy({kind: str(each) for kind, each in ids.items()}, {kind: str(each) for kind, each in runs.items()}, name)


def _failed(fence: Fence, code: str, text: str) -> Outcome:
    raised = {"type": "ValueError", "message": text, "traceback": f"Traceback:\n  {text}\n" * 40}
    error = {"error_code": code, "message": text, "data": {"card": text}, "exception": raised}
    return failed(fence, code)._replace(result=json.dumps(error).encode())


def _start(db: Session, name: str) -> object:
    nodes = [
        node(node_id=name, queue="mail"),
        node(0, task_name=name, queue=name),
        node(0, kind="map", over=0, item_parameter="item", queue="mail"),
        node(1, 2, join="any", queue="mail"),
    ]
    return start(db, *nodes, name=name, definition_key=name)


def _look_odd(db: Session, text: str) -> None:
    """Give workers and attempts the texts, which come from other machines."""
    line = text.replace("\n", " ")
    db.execute("update horsies.workers set process_name = %s, hostname = %s, library_version = %s", (line, line, line))
    db.execute("update horsies.history set worker_process_name = %s, worker_hostname = %s", (line, line))
