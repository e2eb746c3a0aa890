"""Workflow runs page by page, one run with its nodes, the run of a task, and actions on runs. Without results."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from horsies.codec.problems import CodecError
from horsies.codec.text import decode_json
from horsies.codes import BrokerErrorCode, WorkflowStatus, WorkflowTaskStatus
from horsies.db.operations import Operation
from horsies.db.queries import runs as run_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.runs import FoundRuns, RunFactsRow, RunNodeRow, RunOfTaskRow, RunPlace
from horsies.monitoring.asking import answered, refused, wrong_limit
from horsies.monitoring.broker import Broker
from horsies.monitoring.filters import literal_pattern
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult, parse_id

_MOST_RUNS = 1000
_PLACE_TIME = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A workflow run, also a child run. Times are aware, in UTC, by the clock of the database.

    Attributes:
        run_id: The id of the run.
        name: The name of the workflow.
        definition_key: The key of its definition.
        status: The state of the run.
        on_error: The effect of a failed node on the run: ``fail`` or ``pause``.
        parent_run_id: The run that contains this one; None: it is no child run.
        parent_node_id: The node of that run.
        nodes: The number of its nodes.
        completed: How many nodes have completed.
        failed: How many nodes have failed.
        skipped: How many nodes were skipped.
        failed_node_id: The node that failed first; None: none has failed.
        error_code: The code of the error of a failed or cancelled run. None: it has none, the role of the database may
            not see it, or the run is an entry of a list.
        error_message: The message of that error; None: likewise, or it has no message.
        started_at: When the run was started.
        finished_at: When the run ended; None: it has not ended.
    """

    run_id: str
    name: str
    definition_key: str
    status: WorkflowStatus
    on_error: str
    parent_run_id: str | None
    parent_node_id: str | None
    nodes: int
    completed: int
    failed: int
    skipped: int
    failed_node_id: str | None
    error_code: str | None
    error_message: str | None
    started_at: datetime
    finished_at: datetime | None

    @property
    def ended(self) -> int:
        """How many nodes have ended."""
        return self.completed + self.failed + self.skipped


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of workflow runs; see `find_runs`.

    Attributes:
        runs: The runs, the most recently started first.
        next_before: Pass it as ``before`` to get the next page; None: this is the last one.
        is_cut: Whether the page ends because 100,000 runs were searched. Further runs may match then.
    """

    runs: tuple[RunDetails, ...]
    next_before: str | None
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ChildRun:
    """The child run of a sub-workflow node.

    Attributes:
        run_id: Its id.
        status: Its state.
        nodes: The number of its nodes.
        ended: How many of them have ended.
    """

    run_id: str
    status: WorkflowStatus
    nodes: int
    ended: int


@dataclass(frozen=True, slots=True)
class NodeDetails:
    """A node of a workflow run. Times are aware, in UTC, by the clock of the database.

    Attributes:
        index: The index of the node in the spec.
        node_id: The id of the node.
        kind: ``task``, ``map`` or ``workflow``.
        task_name: The name of its task.
        queue_name: The queue of its task.
        status: The state of the node.
        error_code: The code of its error; None: it has not failed.
        waits_for: The indexes of the nodes that it waits for.
        needed: How many of these must complete before it starts; None: all of them must end.
        task_id: The id of its task, or of the latest built-in task of a map or of a sub-workflow; None: none was sent.
        child: The child run of a sub-workflow node; None before it is built, and for other nodes.
        items: The number of items of a map; None before they are known, and for other nodes.
        ended_items: How many items have ended; None: likewise.
        started_at: When its task started; None: it has not started.
        finished_at: When the node ended; None: it has not ended.
    """

    index: int
    node_id: str
    kind: str
    task_name: str
    queue_name: str
    status: WorkflowTaskStatus
    error_code: str | None
    waits_for: tuple[int, ...]
    needed: int | None
    task_id: str | None
    child: ChildRun | None
    items: int | None
    ended_items: int | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunOfTask:
    """The workflow run to which a task belongs.

    Attributes:
        run_id: The id of the run.
        name: The name of the workflow.
        node_id: The node that has sent the task.
        item: The index of the item of a map that the task processes; None: the node is no map.
    """

    run_id: str
    name: str
    node_id: str
    item: int | None


class RunAction(StrEnum):
    """What `control_run` does to a run.

    Attributes:
        PAUSE: No further nodes start, and running tasks finish normally.
        RESUME: A paused run continues.
        CANCEL: Waiting nodes are skipped, and running tasks are stopped.
    """

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


def find_runs(
    broker: Broker,
    *,
    status: WorkflowStatus | None = None,
    workflow: str | None = None,
    before: str | None = None,
    limit: int = 100,
) -> BrokerResult[RunPage]:
    """Return a page of workflow runs, the most recently started first. Child runs are left out.

    One call searches the most recent 100,000 runs at most; the next page continues the search.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        status: The state of the runs; None: any state.
        workflow: The name or the definition key of the workflow; ``*`` stands for any characters. None: any workflow.
        before: The `next_before` of the page before; None: the first page.
        limit: The largest number of runs, 1 to 1,000.

    Returns:
        The page; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_find_runs(status, workflow, before, limit))


async def find_runs_async(
    broker: Broker,
    *,
    status: WorkflowStatus | None = None,
    workflow: str | None = None,
    before: str | None = None,
    limit: int = 100,
) -> BrokerResult[RunPage]:
    """Like `find_runs`, for asyncio."""
    return await broker.runner.run_async(_find_runs(status, workflow, before, limit))


def run_details(broker: Broker, run_id: str) -> BrokerResult[RunDetails | None]:
    """Return what is known about a workflow run, also a child run; ``Ok(None)`` if there is no such run."""
    return broker.runner.run(_run_details(run_id))


async def run_details_async(broker: Broker, run_id: str) -> BrokerResult[RunDetails | None]:
    """Like `run_details`, for asyncio."""
    return await broker.runner.run_async(_run_details(run_id))


def node_details(broker: Broker, run_id: str) -> BrokerResult[tuple[NodeDetails, ...]]:
    """Return the nodes of a workflow run, in the order of its spec, with their tasks, items and child runs."""
    return broker.runner.run(_node_details(run_id))


async def node_details_async(broker: Broker, run_id: str) -> BrokerResult[tuple[NodeDetails, ...]]:
    """Like `node_details`, for asyncio."""
    return await broker.runner.run_async(_node_details(run_id))


def run_of_task(broker: Broker, task_id: str) -> BrokerResult[RunOfTask | None]:
    """Return the workflow run to which a task belongs; ``Ok(None)`` if it belongs to none, or if it was pruned."""
    return broker.runner.run(_run_of_task(task_id))


async def run_of_task_async(broker: Broker, task_id: str) -> BrokerResult[RunOfTask | None]:
    """Like `run_of_task`, for asyncio."""
    return await broker.runner.run_async(_run_of_task(task_id))


def control_run(broker: Broker, run_id: str, action: RunAction) -> BrokerResult[bool | None]:
    """Pause, resume or cancel a workflow run and its child runs. The action is recorded; see `Broker.get_audit`.

    Returns:
        Whether this call changed a run; ``Ok(None)`` if there is no such run; or an error with
        MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_control_run(run_id, action, broker.who))


async def control_run_async(broker: Broker, run_id: str, action: RunAction) -> BrokerResult[bool | None]:
    """Like `control_run`, for asyncio."""
    return await broker.runner.run_async(_control_run(run_id, action, broker.who))


def _find_runs(
    status: WorkflowStatus | None, workflow: str | None, before: str | None, limit: int
) -> Operation[BrokerResult[RunPage]]:
    if (wrong := wrong_limit(limit, 1, _MOST_RUNS)) is not None:
        return wrong
    place = None if before is None else parse_place(before)
    if before is not None and place is None:
        return refused(f"before must be the next_before of another page, got {short_repr(before)}")
    pattern = None if workflow is None else literal_pattern(workflow).replace("*", "%")

    def page(found: FoundRuns) -> RunPage:
        runs = tuple(_run(row) for row in found.runs)
        return RunPage(runs, None if found.next_place is None else _place_text(found.next_place), found.is_cut)

    return (yield from answered(run_queries.find_runs(status, pattern, place, limit))).map(page)


def parse_place(text: str) -> RunPlace | None:
    """Read the ``before`` of a list of runs; None: it is not valid."""
    time, dash, run_id = text.partition("-")
    known_id = parse_id(run_id)
    if not dash or known_id is None:
        return None
    try:
        return RunPlace(datetime.strptime(time, _PLACE_TIME).replace(tzinfo=UTC), known_id)
    except ValueError:
        return None


def _place_text(place: RunPlace) -> str:
    return f"{place.started_at.astimezone(UTC).strftime(_PLACE_TIME)}-{place.run_id}"


def _run_details(run_id: str) -> Operation[BrokerResult[RunDetails | None]]:
    known_id = parse_id(run_id)
    if known_id is None:
        return _no_id(run_id)

    def decoded(row: RunFactsRow | None) -> RunDetails | None:
        return None if row is None else _run(row)

    return (yield from answered(run_queries.run_facts(known_id))).map(decoded)


def _run(row: RunFactsRow) -> RunDetails:
    error = _error(row.error)
    return RunDetails(
        run_id=str(row.run_id),
        name=row.name,
        definition_key=row.definition_key,
        status=WorkflowStatus(row.status),
        on_error=row.on_error,
        parent_run_id=None if row.parent_id is None else str(row.parent_id),
        parent_node_id=row.parent_node,
        nodes=row.total,
        completed=row.completed,
        failed=row.failed,
        skipped=row.skipped,
        failed_node_id=row.failed_node,
        error_code=_text(error.get("error_code")),
        error_message=_text(error.get("message")),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _error(stored: bytes | None) -> dict[str, Any]:
    try:
        found = None if stored is None else decode_json(stored)
    except CodecError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _node_details(run_id: str) -> Operation[BrokerResult[tuple[NodeDetails, ...]]]:
    known_id = parse_id(run_id)
    if known_id is None:
        return _no_id(run_id)

    def decoded(rows: list[RunNodeRow]) -> tuple[NodeDetails, ...]:
        return tuple(_node(row) for row in rows)

    return (yield from answered(run_queries.run_nodes(known_id))).map(decoded)


def _node(row: RunNodeRow) -> NodeDetails:
    child = None
    if row.child_id is not None and row.child_status is not None:
        child = ChildRun(
            str(row.child_id), WorkflowStatus(row.child_status), row.child_total or 0, row.child_ended or 0
        )
    return NodeDetails(
        index=row.node_index,
        node_id=row.node_id,
        kind=row.kind,
        task_name=row.task_name,
        queue_name=row.queue,
        status=WorkflowTaskStatus(row.status),
        error_code=row.error_code,
        waits_for=tuple(row.waits_for),
        needed=row.needed,
        task_id=None if row.task_id is None else str(row.task_id),
        child=child,
        items=row.items,
        ended_items=None if row.items is None else row.items - (row.open_items or 0),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _run_of_task(task_id: str) -> Operation[BrokerResult[RunOfTask | None]]:
    known_id = parse_id(task_id)
    if known_id is None:
        return refused(f"task_id must be the id of a task, got {short_repr(task_id)}")

    def decoded(row: RunOfTaskRow | None) -> RunOfTask | None:
        return None if row is None else RunOfTask(str(row.run_id), row.name, row.node_id, row.item)

    return (yield from answered(run_queries.run_of_task(known_id))).map(decoded)


def _control_run(run_id: str, action: RunAction, who: str) -> Operation[BrokerResult[bool | None]]:
    known_id = parse_id(run_id)
    if known_id is None:
        return _no_id(run_id)

    def decoded(verdict: str) -> bool | None:
        return {"changed": True, "unchanged": False}.get(verdict)

    call = workflow_queries.workflow_control(known_id, action, who=who)
    return (yield from answered(call, BrokerErrorCode.MONITORING_QUERY_FAILED)).map(decoded)


def _no_id[T](run_id: str) -> BrokerResult[T]:
    return refused(f"run_id must be the id of a run, got {short_repr(run_id)}")
